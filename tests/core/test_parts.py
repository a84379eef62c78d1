"""Parts by name: what a user's name finds, what a file's name may not, and what is said of broken packages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from resgat_pl.core import parts
from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.core.parts import errors_of, find_part, import_modules, installed_parts, package_of

MODULE = """
from pathlib import Path
Path(r"{trace}").touch()

class Base:
    pass

class Part(dict):
    pass

number = 3
"""
Install = Callable[..., None]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module ``outside_part`` that has not been imported; the file that it leaves when it is."""
    trace = tmp_path / "imported"
    (tmp_path / "outside_part.py").write_text(MODULE.format(trace=trace))
    (tmp_path / "outside_broken.py").write_text("raise RuntimeError('the moon is wrong')\n")
    (tmp_path / "outside_exit.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "outside_package").mkdir()
    (tmp_path / "outside_package" / "__init__.py").write_text("from outside_package._inner import Part\n")
    (tmp_path / "outside_package" / "_inner.py").write_text("class Part(dict):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("outside_")]:
        monkeypatch.delitem(sys.modules, name)
    return trace


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Add entry points, as if packages with them were installed."""

    def install(*points: tuple[str, str]) -> None:
        added = EntryPoints([EntryPoint(name, value, "resgat_pl.splits") for name, value in points])
        monkeypatch.setattr(parts, "entry_points", added.select)

    return install


def find(name: object, named_by_user: bool = False) -> type[dict[object, object]]:
    return find_part("split", name, dict, {"own": dict}, named_by_user)


def test_own_parts_are_found_by_name_and_path() -> None:
    assert find("own") is dict
    assert find("builtins.dict") is dict


@pytest.mark.parametrize("name", ["outside_part.Part", "outside_broken.Part"])
def test_a_name_from_a_file_imports_nothing(outside: Path, name: str) -> None:
    module = name.partition(".")[0]
    with pytest.raises(ConfigError, match=rf"split protocol {name} is not part.*alone.*--import {module} "):
        find(name)
    assert not outside.exists()
    assert module not in sys.modules


def test_what_the_user_named_may_be_named_by_files(outside: Path) -> None:
    import_modules(["outside_part"])
    assert find("outside_part.Part").__name__ == "Part"
    assert outside.exists()


def test_a_name_of_the_user_is_imported(outside: Path) -> None:
    assert find("outside_part.Part", named_by_user=True).__name__ == "Part"
    assert outside.exists()


def test_a_file_does_not_reach_what_a_module_would_import_when_asked(outside: Path, tmp_path: Path) -> None:
    (tmp_path / "outside_lazy.py").write_text(
        "def __getattr__(name):\n    import outside_part\n    return getattr(outside_part, name)\n"
    )
    import_modules(["outside_lazy"])
    with pytest.raises(ConfigError, match="outside_lazy has no Part"):
        find("outside_lazy.Part")
    assert not outside.exists()
    assert find("outside_lazy.Part", named_by_user=True).__module__ == "outside_part"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("strct", r"There is no split protocol 'strct'\. There are: own; .*entry points resgat_pl\.splits\."),
        ("onw", r"Did you mean own\?"),
        ("outside_nowhere.Part", "module outside_nowhere cannot be imported.*No module named 'outside_nowhere'"),
        ("outside_broken.Part", "module outside_broken cannot be imported.*the moon is wrong"),
        ("outside_exit.Part", "module outside_exit cannot be imported.*SystemExit"),
        ("outside_part.Prt", r"has no Prt: .*Did you mean Part\?"),
        ("outside_part.Base", r"Base is no class derived from builtins\.dict"),
        ("outside_part.number", "is no class derived"),
        (3, "The split protocol is 3; it must be a name"),
        (None, "must be a name"),
    ],
)
@pytest.mark.usefixtures("outside")
def test_what_cannot_be_found(name: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find(name, named_by_user=True)


@pytest.mark.usefixtures("outside")
def test_files_are_no_modules() -> None:
    for name in ("outside_part.py", "./outside_part"):
        with pytest.raises(ConfigError, match=r"is a file.*PYTHONPATH"):
            import_modules([name])


@pytest.mark.usefixtures("outside")
def test_an_installed_part_is_found_by_name_and_by_path_also_for_files(install: Install) -> None:
    install(("mine", "outside_package:Part"), ("broken", "outside_broken:Part"))
    assert sorted(installed_parts("split")) == ["broken", "mine"]
    found = {name: find(name) for name in ("mine", "outside_package.Part", "outside_package._inner.Part")}
    assert {part.__qualname__ for part in found.values()} == {"Part"}
    with pytest.raises(ConfigError, match="not part of this package nor an entry point"):
        find("outside_part.Part")
    with pytest.raises(ConfigError, match=r"There are: broken, mine, own; "):
        find("other")


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("value", ["outside_broken:Part", "outside_exit:Part", "outside_part:Absent"])
def test_a_package_that_fails_is_named(install: Install, value: str) -> None:
    install(("mine", value))
    with pytest.raises(ConfigError, match=rf"The split protocol mine is of the package {value}, which fails"):
        find("mine")


@pytest.mark.usefixtures("outside")
def test_two_packages_with_one_name(install: Install) -> None:
    install(("mine", "outside_package:Part"), ("mine", "outside_part:Part"), ("same", "a:B"), ("same", "a:B"))
    with pytest.raises(
        ConfigError, match=r"of the packages .*class path \(outside_package\.Part and outside_part\.Part"
    ):
        find("mine")
    with pytest.raises(ConfigError, match="which fails"):  # one package that is found twice is no doubt
        find("same")


def test_errors_of_somebody_elses_part_name_it() -> None:
    def fails() -> None:
        raise KeyError("no such thing")

    fails.__module__ = "numpy.somewhere"
    with (
        pytest.raises(
            ConfigError, match=r"The face detector numpy\.somewhere\.\S+ of the package numpy fails \(KeyError"
        ),
        errors_of("face_detector", fails),
    ):
        fails()
    with pytest.raises(SplitError), errors_of("split", fails):
        raise SplitError("its own message")
    with pytest.raises(KeyError), errors_of("split", find_part):  # a bug of this package's
        raise KeyError
    assert package_of(pytest.raises) == "pytest"
