"""Writes the generated blocks of the page on the architecture, and of the README, from the source.

    python docs/make_architecture.py                           # the tree, the rule and the pictures
    python docs/make_architecture.py --compare 22af1ee HEAD    # also the table that compares two revisions

A block stands between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``. Nothing of the package is imported:
sentences are first lines of docstrings, arrows are imports, and the rule is the table in ``tests/test_rooms.py``.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "architecture.md"
README: Final = ROOT / "README.md"
RULE: Final = ROOT / "tests" / "test_rooms.py"
PACKAGE: Final = "resgat_pl"
ENTRY: Final = frozenset({"__init__", "__main__"})
"""Modules of the package itself: its lazily imported names, and ``python -m``."""
OPENED: Final = ("data", "explain", "training")
"""Rooms whose folders are listed."""
KEYS: Final = frozenset({"resgat", "state_dict", "provenance", "recovery", "wandb_run_id", "pytorch-lightning_version"})
"""Keys of a checkpoint that are looked for as text; ``epoch`` and the like are words of too many other things."""
SIMILARITY: Final = "-M20%"
"""How much of a module must be unchanged for git to take it for the same one in another place."""

Sources = Mapping[str, str]
"""Path, relative to the root, → text of each Python file in the package and in the tests."""


def on_disk() -> Sources:
    """The files of the working tree."""
    paths = [path for folder in (PACKAGE, "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def at_revision(revision: str) -> Sources:
    """The files of a commit, by ``git archive``."""
    packed = _git("archive", "--format=tar", revision, PACKAGE, "tests")
    found = {}
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        for member in archive:
            if member.name.endswith(".py") and (file := archive.extractfile(member)):
                found[member.name] = file.read().decode()
    return found


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True).stdout


def rule() -> dict[str, set[str]]:
    """Room → rooms that it may import, as ``tests/test_rooms.py`` has it."""
    for node in ast.parse(RULE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MAY_IMPORT":
            assert isinstance(node.value, ast.Dict)
            return {
                ast.literal_eval(key): set() if isinstance(value, ast.Call) else ast.literal_eval(value)
                for key, value in zip(node.value.keys, node.value.values, strict=True)
                if key is not None
            }
    raise LookupError(f"{RULE} has no MAY_IMPORT")


class Package:
    """The modules of a revision and their imports.

    Attributes:
        files: Module → path.
        trees: Module → parsed source.
        imports: Module → modules of the package that it imports, inside functions and for types too.
    """

    def __init__(self, sources: Sources) -> None:
        self.files = {_module(path): path for path in sources if path.startswith(f"{PACKAGE}/")}
        self.trees = {name: ast.parse(sources[path]) for name, path in self.files.items()}
        self.imports = {name: set(self._imports(name)) - {name, PACKAGE} for name in self.files}

    def _imports(self, name: str) -> Iterator[str]:
        for node in ast.walk(self.trees[name]):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self.files)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (each if each in self.files else str(node.module) for each in whole)

    def sentence(self, name: str) -> str:
        """First line of a module's docstring, without marks and full stop."""
        text = (ast.get_docstring(self.trees[name]) or "").splitlines() or [""]
        return text[0].replace("``", "").removesuffix(".")

    def rooms(self) -> list[str]:
        """Names directly in the package: modules and folders, but for the package's own."""
        return sorted({name.split(".")[1] for name in self.files if "." in name} - ENTRY)

    def arrows(self, below: str = PACKAGE) -> dict[str, set[str]]:
        """Name directly below a folder → names there that it imports."""
        found: dict[str, set[str]] = defaultdict(set)
        depth = below.count(".") + 1
        for name, others in self.imports.items():
            parts = name.split(".")
            if not name.startswith(f"{below}.") or parts[depth] in ENTRY:
                continue
            targets = {other.split(".")[depth] for other in others if other.startswith(f"{below}.")}
            found[parts[depth]] |= targets - {parts[depth]}
        return dict(found)

    def circles(self) -> list[list[str]]:
        """Groups of modules that import each other, directly or around; folders' lazily imported names do not count."""
        graph = {
            name: set() if self.files[name].endswith("__init__.py") else set(self.imports[name]) for name in self.files
        }
        return circles(graph)


def _module(path: str) -> str:
    return ".".join(PurePosixPath(path).with_suffix("").parts).removesuffix(".__init__")


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Everything that can be reached from ``start`` by one arrow or more."""
    found: set[str] = set()
    ahead = list(graph.get(start, ()))
    while ahead:
        if (name := ahead.pop()) not in found:
            found.add(name)
            ahead += graph.get(name, ())
    return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of names of which each can be reached from each, two or more in a group."""
    ahead = {name: reachable(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in ahead[name] if name in ahead.get(other, ()))) for name in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def without_implied(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that no way over other arrows implies; all of them where there is a circle."""
    if circles(graph):
        return {name: set(others) for name, others in graph.items()}
    return {
        name: {each for each in others if not any(each in reachable(graph, other) for other in others - {each})}
        for name, others in graph.items()
    }


# What is generated


def tree(package: Package, opened: Sequence[str] = OPENED) -> str:
    """The rooms, and the folders of some of them, with a line each."""
    lines = [f"{PACKAGE}/"]
    rooms = list(rule())
    for room in rooms:
        last = room == rooms[-1]
        lines.append(_branch("", room, last, package.sentence(f"{PACKAGE}.{room}")))
        inside = _folders(package, room) if room in opened else []
        lines += [
            _branch("    " if last else "|   ", name, name == inside[-1], package.sentence(f"{PACKAGE}.{room}.{name}"))
            for name in inside
        ]
    return "\n".join(["```text", *lines, "```"])


def _branch(before: str, name: str, last: bool, sentence: str) -> str:
    return f"{before}{'`' if last else '|'}-- {name + '/':<{18 - len(before)}}{sentence}"


def _folders(package: Package, room: str) -> list[str]:
    """Folders of a room; every folder below has modules of its own."""
    inside = [name.split(".")[2:] for name in package.files if name.startswith(f"{PACKAGE}.{room}.")]
    return sorted({parts[0] for parts in inside if len(parts) > 1})


def rule_table(package: Package) -> str:
    """The import rule, and the rooms that each one imports."""
    arrows = package.arrows()
    order = list(rule())
    rows = ["| room | in one sentence | may import | imports |", "|---|---|---|---|"]
    for room, allowed in rule().items():
        sentence = package.sentence(f"{PACKAGE}.{room}")
        may = "every room" if len(allowed) == len(order) - 1 else _listed(allowed, order)
        rows.append(f"| `{room}` | {sentence} | {may} | {_listed(arrows.get(room, set()), order)} |")
    return "\n".join(rows)


def _listed(names: set[str], order: Sequence[str]) -> str:
    return ", ".join(sorted(names, key=order.index)) or "nothing"


def picture(graph: Mapping[str, set[str]], below: str) -> str:
    """A Mermaid diagram: an arrow from each name to those that use it."""
    names = sorted(set(graph).union(*graph.values()))
    lines = ["```mermaid", "flowchart LR"]
    lines += [f'    {name}["{below}{name}"]' for name in names]
    lines += [
        f"    {used} --> {name}" for name, others in sorted(without_implied(graph).items()) for used in sorted(others)
    ]
    return "\n".join([*lines, "```"])


def blocks(package: Package) -> dict[str, str]:
    """Every block that depends on the source alone, by name."""
    data = package.arrows(f"{PACKAGE}.data")
    return {
        "rooms": tree(package, ()),
        "tree": tree(package),
        "rule": rule_table(package),
        "flow": picture(package.arrows(), ""),
        "flow of data": picture(data, "data/"),
    }


def replaced(page: str, name: str, block: str) -> str:
    """A page with another text in one of its blocks; unchanged if it has no such block."""
    marks = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    whole = re.compile(f"({re.escape(marks[0])}\n).*?({re.escape(marks[1])})", re.DOTALL)
    return whole.sub(lambda found: f"{found[1]}{block}\n{found[2]}", page)


# Two revisions in numbers


def measure(sources: Sources, homes: Mapping[str, str]) -> dict[str, object]:
    """The numbers of one revision.

    Args:
        sources: Its files.
        homes: Path → room, for upward arrows.
    """
    package = Package(sources)
    allowed = rule()
    # Imports
    arrows = {name: others & set(package.rooms()) for name, others in package.arrows().items()}
    upward = [
        (name, other)
        for name, others in package.imports.items()
        for other in others
        if (room := homes.get(package.files[name])) is not None
        and (target := homes.get(package.files[other])) is not None
        and target not in {room, *allowed[room]}
        and not package.files[name].endswith("__init__.py")
    ]
    around = {name for group in circles(arrows) for name in group}
    # Sizes
    code = {path: text.count("\n") for path, text in sources.items() if path.startswith(f"{PACKAGE}/")}
    tests = {path: text.count("\n") for path, text in sources.items() if path.startswith("tests/")}
    # Docstrings
    bare = [name for name, parsed in package.trees.items() if not ast.get_docstring(parsed)]
    clauses = [line for parsed in package.trees.values() for line in first_lines(parsed) if _CLAUSE.match(line)]
    return {
        "names directly in the package": len(package.rooms()),
        "of them folders": len({name.split(".")[1] for name in package.files if name.count(".") > 1}),
        "arrows between these names": sum(map(len, arrows.values())),
        "of these names in a circle": len(around),
        "imports of modules against today's rule": len(upward),
        "circles of modules": len(package.circles()),
        "lines of code": sum(code.values()),
        "lines of tests": sum(tests.values()),
        "modules": len(code),
        "test files": sum(PurePosixPath(path).name.startswith("test_") for path in tests),
        "largest module": _largest(code),
        "largest test file": _largest(tests),
        "modules without a docstring": len(bare),
        "docstrings that begin with What, Whether, Who or Where": len(clauses),
        "modules with a key of a checkpoint as text": sum(map(has_key, package.trees.values())),
    }


_CLAUSE: Final = re.compile(r"(What|Whether|Who|Where)\b")


def _largest(lines: Mapping[str, int]) -> str:
    path = max(lines, key=lambda each: lines[each])
    return f"{lines[path]} ({path})"


def first_lines(parsed: ast.Module) -> Iterator[str]:
    """First lines of the docstrings of a module and of its public classes, functions and methods."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if getattr(node, "name", "").startswith("_"):
                continue
            if text := ast.get_docstring(node):
                yield text.splitlines()[0]


def has_key(parsed: ast.Module) -> bool:
    """True if a module writes out a key of a checkpoint: in brackets, or as first argument of ``get`` or ``pop``."""
    for node in ast.walk(parsed):
        key = None
        if isinstance(node, ast.Subscript):
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"get", "pop"}:
            key = node.args[0] if node.args else None
        if isinstance(key, ast.Constant) and key.value in KEYS:
            return True
    return False


def homes(revision: str, newest: str) -> dict[str, str]:
    """Path of each module of a revision → the room in which git finds it in the newest one."""
    found = {path: path.split("/")[1] for path in at_revision(revision) if path.startswith(f"{PACKAGE}/")}
    if revision != newest:
        changes = _git("diff", SIMILARITY, "--name-status", revision, newest, "--", PACKAGE).decode()
        for line in changes.splitlines():
            state, path, *to = line.split("\t")
            if state.startswith("R"):
                found[path] = to[0].split("/")[1]
            elif state == "D":
                found.pop(path, None)
    return {path: room for path, room in found.items() if room in rule()}


def comparison(before: str, after: str) -> str:
    """The numbers of two revisions side by side."""
    old, new = (measure(at_revision(each), homes(each, after)) for each in (before, after))
    names = [_git("rev-parse", "--short", each).decode().strip() for each in (before, after)]
    rows = [f"| | {names[0]} | {names[1]} |", "|---|---|---|"]
    rows += [f"| {name} | {_grouped(old[name])} | {_grouped(new[name])} |" for name in old]
    return "\n".join([f"Written by `python docs/make_architecture.py --compare {names[0]} {names[1]}`.", "", *rows])


def _grouped(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Write the blocks, see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--compare", nargs=2, metavar=("BEFORE", "AFTER"), help="revisions whose numbers are compared")
    given = parser.parse_args()
    written = blocks(Package(on_disk()))
    if given.compare:
        written["numbers"] = comparison(*given.compare)
        print(written["numbers"])
    for path in (PAGE, README):
        page = path.read_text(encoding="utf-8")
        for name, block in written.items():
            page = replaced(page, name, block)
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
