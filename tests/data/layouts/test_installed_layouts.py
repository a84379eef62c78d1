"""Layouts of installed packages: detected like this package's, and known by the name of their data set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from resgat_pl.core import parts
from resgat_pl.core.errors import ConfigError, LayoutError
from resgat_pl.core.types import REAL, VideoRecord
from resgat_pl.data.layouts import detect
from resgat_pl.data.layouts.detect import default_layout, detect_layout, layout_of
from resgat_pl.data.layouts.dfdc import DFDC
from resgat_pl.data.splits import groups
from resgat_pl.data.splits.known_people import has_known_people, noted, unknown_people

from ...helpers.folders import touch

MODULE = """
from resgat_pl.core.types import REAL, VideoRecord
from resgat_pl.data.layouts.base import Layout, videos_in

class Studio(Layout):
    name = "studio"
    expected = "takes/ with videos"
    people = True
    same_source = (("a", "b"),)
    people_note = "takes are anonymous"
    def matches(self, root):
        return (root / "takes").is_dir()
    def scan(self, root):
        found = videos_in(root / "takes")
        return [VideoRecord("studio", "original", "", n, REAL, "video", (p,), (n,)) for n, p in found], []

class Failing(Studio):
    name = "failing"
    def matches(self, root):
        raise KeyError("no such thing")

class Needy(Studio):
    name = "needy"
    def __init__(self, needed):
        pass
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install classes of a package as layouts; names that were looked up before are looked up again."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "outside_layouts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(detect, "_derived", lambda kind: iter(()))  # those that other tests have imported
    caches = (layout_of, default_layout, groups._source_of)

    def install(**classes: str) -> None:
        points = [EntryPoint(name, f"outside_layouts:{kind}", "resgat_pl.layouts") for name, kind in classes.items()]
        monkeypatch.setattr(parts, "entry_points", EntryPoints(points).select)
        for cache in caches:
            cache.cache_clear()

    yield install
    sys.modules.pop("outside_layouts", None)
    for cache in caches:
        cache.cache_clear()


def test_a_layout_that_was_imported_is_known() -> None:
    class Here(DFDC):
        name = "only here"

    assert layout_of("only here") is Here
    layout_of.cache_clear()


def video(name: str) -> VideoRecord:
    return VideoRecord("studio", "original", "", name, REAL, "video", (), (name,))


def test_an_installed_layout_is_detected(install: Install, tmp_path: Path) -> None:
    install(studio="Studio")
    touch(tmp_path / "root", "takes/a.mp4", "takes/b.mp4")
    found = detect_layout(tmp_path / "root")
    assert type(found).__name__ == "Studio"
    assert [record.key for record in found.index(tmp_path / "root").records] == [
        "studio/original/-/a",
        "studio/original/-/b",
    ]
    touch(tmp_path / "root", "real/a.mp4", "fake/a.mp4")
    with pytest.raises(LayoutError, match=r"\(folder and studio\): choose one with --layout"):
        detect_layout(tmp_path / "root")


def test_what_is_looked_for_names_installed_ones(install: Install, tmp_path: Path) -> None:
    install(studio="Studio")
    touch(tmp_path / "root", "other/a.txt")
    with pytest.raises(Exception, match="studio: takes/ with videos"):
        detect_layout(tmp_path / "root")


@pytest.mark.parametrize(
    ("kind", "error"), [("Failing", "KeyError: 'no such thing'"), ("Needy", "TypeError"), ("No", "")]
)
def test_a_package_that_fails_is_named(install: Install, tmp_path: Path, kind: str, error: str) -> None:
    install(broken=kind)
    touch(tmp_path / "root", "real/a.mp4")
    with pytest.raises(ConfigError, match=rf"outside_layouts.* fails \(.*{error}"):
        detect_layout(tmp_path / "root")


def test_a_data_set_is_known_by_the_name_of_its_layout(install: Install) -> None:
    assert layout_of("dfdc") is DFDC
    install()
    assert layout_of("studio") is None
    assert not has_known_people(video("a"))
    assert unknown_people([video("a")]) == {"studio": "nothing says which videos show the same person"}
    assert "source studio/a+b" not in groups.links(video("a"))
    install(studio="Studio", needy="Needy")
    found = layout_of("studio")
    assert found is not None
    assert "source studio/a+b" in groups.links(video("b"))
    assert unknown_people([video("a")]) == {"studio": "takes are anonymous"}
    assert default_layout("needy") is None
    # in the manifest: the package may be missing where it is read
    assert noted(found()) == {"studio": True}
    assert noted(DFDC()) == {}
    assert detect.installed_layouts()[1] is found
