"""Rubbish for configurations, tables and figure plans: only an error that says what is wrong may come out, no hang."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from resgat_pl.errors import ResGATError
from resgat_pl.experiment import Experiment
from resgat_pl.figures import _read as read_figures

from ..runs import CONF
from .fuzzing import JSON, Fuzz

pytestmark = pytest.mark.timeout(3000)
REPOSITORY = CONF.parent.parent


def paths(tree: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if prefix:
        yield prefix
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from paths(value, (*prefix, key))


@st.composite
def mutated(draw: Any, files: list[Path]) -> str:
    """The text of a YAML file with some of its values, keys or characters changed."""
    file = draw(st.sampled_from(files))
    if draw(st.integers(0, 5)) == 0:
        text = file.read_text()
        place = draw(st.integers(0, len(text)))
        return (
            text[:place]
            + draw(st.text(max_size=3) | st.sampled_from(["{", "- ", ": ", "\t", "&a", "*a", "!!x", "${"]))
            + text[place:]
        )
    tree = copy.deepcopy(yaml.safe_load(file.read_text()))
    for _ in range(draw(st.integers(1, 3))):
        places = list(paths(tree))
        if not places:
            break
        *parents, last = draw(st.sampled_from(places))
        owner = tree
        for key in parents:
            owner = owner[key]
        action = draw(st.sampled_from(["value", "value", "delete", "key"]))
        if action == "value":
            owner[last] = draw(
                JSON | st.sampled_from(["${x}", "${oc.env:NOT_THERE}", "${", -1, 0, 1e400, "resgat_pl", "os.system"])
            )
        elif action == "delete":
            del owner[last]
        elif isinstance(owner, dict):
            owner[draw(st.text(max_size=5) | st.just(f"{last}x"))] = owner.pop(last)
    try:
        return yaml.safe_dump(tree)
    except yaml.YAMLError:
        return repr(tree)


@pytest.mark.filterwarnings("ignore")
def test_configurations(fuzz: Fuzz, tmp_path: Path, ffpp_crops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed, checked and instantiated as for training; the network itself is not built, which takes a second."""
    from resgat_pl.cli import main
    from resgat_pl.training_cli import ResGATCLI

    monkeypatch.setenv("FFPP_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ResGATCLI, "_run_subcommand", lambda self, subcommand: None)
    monkeypatch.setattr("resgat_pl.nn.resgat.Encoder", _NoEncoder)
    files = sorted((REPOSITORY / "configs").glob("*.yaml")) + sorted(CONF.glob("*.yaml"))
    file = tmp_path / "run.yaml"

    def check(text: str) -> None:
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            status = main(["fit", "--config", str(file), "--data.root", "null", "--data.crops", str(ffpp_crops),
                           "--trainer.accelerator", "cpu", "--trainer.logger", "false"])  # fmt: skip
        if status:
            raise ResGATError(errors.getvalue())

    fuzz("a changed configuration", mutated(files), check, 12, 500)


class _NoEncoder:
    def __new__(cls, *arguments: Any) -> Any:
        raise ResGATError("the configuration was read, and the network would be built now")


def test_tables_and_figures(fuzz: Fuzz, tmp_path: Path) -> None:
    file = tmp_path / "table.yaml"

    def check(text: str) -> None:
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        with contextlib.suppress(ResGATError):
            read_figures(file)
        Experiment.read(file)

    files = [REPOSITORY / "experiments" / name for name in ("table1.yaml", "figures.yaml")]
    fuzz("a changed table or figure plan", mutated(files), check, 40, 700)
