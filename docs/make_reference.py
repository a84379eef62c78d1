"""Writes the generated blocks of the pages in ``docs/reference`` from the program itself.

    python docs/make_reference.py

A block stands between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``: options of every command, columns of
the manifest, errors, shipped configurations, and the public names of every folder. ``tests/docs/test_reference.py``
fails while a block is not current.
"""

from __future__ import annotations

import ast
import inspect
import io
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Final

import pyarrow as pa

from resgat_pl.cli.commands import TOOLS, TRAINER
from resgat_pl.cli.configs import configs
from resgat_pl.cli.main import main
from resgat_pl.core import errors
from resgat_pl.data.manifest.schema import SCHEMA
from resgat_pl.explain import registry
from resgat_pl.explain.base import Explainer
from resgat_pl.explain.methods import baselines

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "docs" / "reference"
OPTION: Final = re.compile(r"  (-\S.*?)(?:  +(\S.*))?")
SHARED: Final = "fit"
"""The command whose options ``validate``, ``test`` and ``predict`` have, too."""
COLUMNS: Final = {
    "dataset": "Name of the data set's layout, such as `ffpp`",
    "method": "How the video was manipulated; `original` for genuine videos",
    "compression": "Setting under which the data set published the video, such as `c23`; empty where there is one",
    "video": "Name of the video; with `dataset`, `method` and `compression` it is the video's key",
    "source_video": "Key of the genuine video that a fake was made of; null for genuine ones, or where it is unknown",
    "identities": "Who is in the video, or its clip where people are unknown; those that share one stay in one split",
    "part": "Folder of DFDC; empty elsewhere",
    "official_split": "Split that the data set prescribes",
    "split": "Split that the protocol gave at the extraction; training may use another one (`data.split`)",
    "label": "1 fake, 0 real",
    "track": "Number of the person in the video, 0 for the largest face; a fake has the numbers of its original",
    "frame_index": "Number of the frame, from 0",
    "time": "Seconds from the first frame",
    "box": "Square that was cut out: left, top, right, bottom, in pixels of the frame",
    "landmarks": "x and y of eyes, nose tip and corners of the mouth, in [0, 1] of the crop",
    "sharpness": "Variance of the Laplacian of the crop: low is blurred",
    "crop_path": "File of the crop, relative to the manifest's folder",
    "mask_path": "File of the manipulation mask, likewise; null where there is none",
    "altered": "Whether this very face was altered; null where that is not known, as in older manifests",
}


def help_of(command: str) -> list[tuple[str, str]]:
    """Options of a command, as its ``--help`` prints them, and what each means; headings have no option."""
    text = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"  # one line each
    try:
        with redirect_stdout(text):
            main([command, "--help"])
    except SystemExit:
        pass
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return list(_options(text.getvalue().split("\noptions:\n", 1)[1]))


def _options(text: str) -> Iterator[tuple[str, str]]:
    option, meaning = "", ""
    for line in text.splitlines():
        if found := OPTION.fullmatch(line):
            if option:
                yield option, meaning
            option, meaning = found[1], found[2] or ""
        elif line.startswith("   "):
            meaning = f"{meaning} {line.strip()}".strip()
        else:
            if option:
                yield option, meaning
            option = ""
            if line.endswith(":"):
                yield "", line.rstrip(":")
    if option:
        yield option, meaning


def bullets(entries: list[tuple[str, str]]) -> str:
    """Options as a list, headings in bold."""
    lines = []
    for option, meaning in entries:
        if option.startswith(("-h, ", "--print_config")):
            continue
        lines += [f"- `{option}`: {plain(meaning)}".removesuffix(": ")] if option else ["", f"**{plain(meaning)}**", ""]
    return "\n".join(lines).strip("\n")


def plain(text: str) -> str:
    """Help as Markdown: code spans as they are, all other marks escaped."""
    text = re.sub(r"<class '([\w.]*\.)?(\w+)'>", r"\2", text)
    text = re.sub(r"known subclasses: [^)]*", _few, text)
    spans = re.split(r"(``.+?``|`[^`]+`)", text)
    return "".join(span if at % 2 else re.sub(r"([\\<>*_\[\]$`|])", r"\\\1", span) for at, span in enumerate(spans))


def _few(found: re.Match[str]) -> str:
    """Known subclasses of a class, or their number where there are more than anybody reads."""
    count = found[0].count(",") + 1
    return found[0] if count <= 20 else f"{count} known subclasses"


def command_block(command: str, fit: list[tuple[str, str]]) -> str:
    """What a command does, an example, and its options."""
    if command in TOOLS:
        tool = TOOLS[command]
        function = getattr(import_module(tool.module), tool.function)
        first = (inspect.getdoc(function) or "").splitlines()[0]
        about, example, options = plain(first), tool.example, help_of(command)
        if tool.places:
            about += f" By position: {', '.join(f'`{place}`' for place in tool.places)}."
    else:
        about, example = TRAINER[command]
        about = f"{about[0].upper()}{about[1:]}."
        options = fit if command == SHARED else [entry for entry in help_of(command) if entry not in fit]
        if command != SHARED:
            about += f" The options of `resgat {SHARED}`, and:"
    return "\n".join([about, "", "```bash", example, "```", "", bullets(options)])


def manifest_block() -> str:
    """The columns of the manifest."""
    rows = ["| column | type | may be null | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{field.name}` | {_type(field.type)} | {'yes' if field.nullable else 'no'} | {COLUMNS[field.name]} |"
        for field in SCHEMA
    ]
    return "\n".join(rows)


def _type(kind: pa.DataType) -> str:
    return str(kind).replace("fixed_size_list<item: ", "list<").replace("list<item: ", "list<").replace(">", "\\>")


def errors_block() -> str:
    """The errors that a user may see, with the exit status of each."""
    rows = ["| class | subclass of | exit status | raised when |", "|---|---|---|---|"]
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.ResGATError):
            first = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
            rows.append(f"| `{name}` | `{kind.__mro__[1].__name__}` | {kind.status} | {plain(first)} |")
    return "\n".join(rows)


def configs_block() -> str:
    """The shipped configurations, one line each."""
    entries = (row.split(maxsplit=1) for row in configs().splitlines())
    return "\n".join(["| name | for |", "|---|---|", *(f"| `{name}` | {plain(about)} |" for name, about in entries)])


def explainers_block() -> str:
    """All explanation methods and baselines, with what their numbers are."""
    rows = ["| method | numbers | signed | exact | what its map shows |", "|---|---|---|---|---|"]
    found = {name: kind for name, kind in vars(baselines).items() if kind.__class__ is type(Explainer)}
    none = {name: kind for name, kind in found.items() if not inspect.isabstract(kind)}
    for name, method in {**registry.methods(), **none}.items():
        shown = f"*{name}*" if name in none else f"`{name}`"
        signed, exact = ("yes" if each else "no" for each in (method.signed, method.exact))
        rows.append(f"| {shown} | {method.unit} | {signed} | {exact} | {plain(registry.describe(method))} |")
    return "\n".join(rows)


def api_block(room: str) -> str:
    """The public names of a room's folders, for autodoc."""
    folders = sorted(path.parent for path in (ROOT / "resgat_pl" / room).rglob("__init__.py"))
    modules = [".".join(folder.relative_to(ROOT).parts) for folder in folders]
    owner = {id(getattr(import_module(each), name)): each for each in modules for name in public_names(each)}
    parts = [plain((import_module(modules[0]).__doc__ or "").partition("\n")[0]), ""]
    for module in modules:
        names = {name: owner[id(getattr(import_module(module), name))] for name in public_names(module)}
        if names:
            here = [_directive(module, name) for name, home in names.items() if home == module]
            there = [f"`{name}` is described under {home}." for name, home in names.items() if home != module]
            parts += [f"## {module}", "", *there, ""] + (["```{eval-rst}", *here, "```", ""] if here else [])
    return "\n".join(parts).strip()


def public_names(module: str) -> list[str]:
    """Classes, functions and constants that a folder hands out."""
    package = import_module(module)
    found = {name: getattr(package, name) for name in dir(package) if not name.startswith("_")}
    own = {name: each for name, each in found.items() if not callable(each) or each.__module__.startswith("resgat_pl")}
    return sorted(name for name, each in own.items() if not inspect.ismodule(each))


def _directive(module: str, name: str) -> str:
    kind = getattr(import_module(module), name)
    if inspect.isclass(kind):
        return f".. autoclass:: {module}.{name}\n   :members:\n   :show-inheritance:\n"
    if callable(kind):
        return f".. autofunction:: {module}.{name}\n"
    text = inspect.cleandoc(_described(ROOT / Path(*module.split(".")), name)).replace("\n", "\n   ")
    return f".. py:data:: {module}.{name}\n   :type: {type(kind).__name__}\n\n   {text}\n"


def _described(folder: Path, name: str) -> str:
    """The text below a constant, wherever in a folder it is defined."""
    for path in sorted(folder.rglob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for line, after in pairwise(body):
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
            if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                return str(after.value.value)
    raise LookupError(f"{folder}: {name} has no text below it that says what it is")


ROOMS: Final = ("core", "data", "nn", "evaluation", "explain", "export", "training", "reproduce")


def blocks() -> dict[str, str]:
    """Every generated block, by name."""
    fit = help_of(SHARED)
    found = {f"resgat {command}": command_block(command, fit) for command in (*TRAINER, *TOOLS)}
    found |= {"manifest": manifest_block(), "errors": errors_block(), "configs": configs_block()}
    found["explainers"] = explainers_block()
    return found | {f"api of {room}": api_block(room) for room in ROOMS}


def replaced(page: str, written: dict[str, str]) -> str:
    """A page with its blocks written again.

    Raises:
        KeyError: It has a block of another name.
    """
    mark = re.compile(r"(<!-- generated: ([^>]+?) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
    return mark.sub(lambda found: f"{found[1]}\n{written[found[2]]}\n\n{found[3]}", page)


def pages() -> list[Path]:
    """The pages with blocks."""
    return [path for path in sorted(FOLDER.rglob("*.md")) if "<!-- generated: " in path.read_text(encoding="utf-8")]


if __name__ == "__main__":
    contents = blocks()
    for path in pages():
        path.write_text(replaced(path.read_text(encoding="utf-8"), contents), encoding="utf-8")
