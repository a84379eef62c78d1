"""The examples in docstrings run, and every public class has one."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "resgat_pl"
WITH_EXAMPLES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text())


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("module", [name_of(path) for path in WITH_EXAMPLES])
def test_examples_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write files
    result = doctest.testmod(import_module(module), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


FOLDERS = [name_of(path) for path in sorted(PACKAGE.rglob("__init__.py"))]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_class_that_a_folder_hands_out_has_an_example(folder: str) -> None:
    package = import_module(folder)
    handed_out = [getattr(package, name) for name in dir(package)]
    classes = [each for each in handed_out if inspect.isclass(each) and not issubclass(each, BaseException)]
    assert [each.__name__ for each in classes if ">>> " not in (inspect.getdoc(each) or "")] == []
