"""Build the package, check what is in it, and try it where nothing else is installed.

``python .ci/dist.py`` does all three steps, ``python .ci/dist.py build check try`` any of them, in this order:

- ``build``: the sdist, and the wheel from the sdist, in ``dist/``;
- ``check``: ``twine check --strict``; the files are those of the package, no more and no fewer;
- ``try``: the wheel in a new environment and an empty folder: makes data, trains a little, explains a face.

``--borrow`` takes the dependencies from the environment that runs this, where they need not be downloaded again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
STEPS = ("build", "check", "try")
BESIDE = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "CITATION.cff", "pyproject.toml", "setup.cfg"}
"""What an sdist holds beside the package."""


def build() -> None:
    """Build the sdist, and from it the wheel, as an installer does that finds no wheel."""
    for old in DIST.glob("*"):
        old.unlink()
    run([sys.executable, "-m", "build", "--outdir", str(DIST), str(ROOT)])


def check() -> None:
    """Compare the contents of both files with the package.

    Raises:
        SystemExit: Something is missing or too much.
    """
    sdist, wheel = built()
    run([sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)])
    wanted = files_of_package(ROOT)
    with zipfile.ZipFile(wheel) as file:
        found = {name for name in file.namelist() if ".dist-info/" not in name}
    report(compare(found, wanted), wheel)
    with tarfile.open(sdist) as file:
        members = [member for member in file.getmembers() if not member.isdir()]
    links = [f"link: {member.name}" for member in members if not member.isfile()]
    inside = {member.name.partition("/")[2] for member in members}
    inside = {name for name in inside if name not in BESIDE and ".egg-info/" not in name}
    report([*links, *compare(inside, wanted)], sdist)
    print(f"{len(wanted)} files in {wheel.name} ({wheel.stat().st_size:,} bytes) and {sdist.name}")


def files_of_package(root: Path) -> set[str]:
    """Modules and data of the package, as they lie in a checkout; files behind the link ``cli/shipped`` too."""
    package = root / "resgat_pl"
    paths = [*package.rglob("*"), *(package / "cli" / "shipped").glob("*")]
    return {path.relative_to(root).as_posix() for path in paths if path.is_file() and "__pycache__" not in path.parts}


def compare(found: set[str], wanted: set[str]) -> list[str]:
    """A line for each difference."""
    return [f"missing: {name}" for name in sorted(wanted - found)] + [
        f"too much: {name}" for name in sorted(found - wanted)
    ]


def report(differences: list[str], path: Path) -> None:
    """End with the differences, if there are any."""
    if differences:
        raise SystemExit("\n".join([f"{path.name} does not hold the package:", *differences]))


def built() -> tuple[Path, Path]:
    """The sdist and the wheel.

    Raises:
        SystemExit: There is not one of each.
    """
    sdists, wheels = sorted(DIST.glob("*.tar.gz")), sorted(DIST.glob("*.whl"))
    if len(sdists) != 1 or len(wheels) != 1:
        raise SystemExit(f"{DIST} must hold one sdist and one wheel: python .ci/dist.py build")
    return sdists[0], wheels[0]


def attempt(borrow: bool) -> None:
    """Install the wheel into a new environment, and use it from an empty folder."""
    _, wheel = built()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / "env"
        venv.create(home, with_pip=True)
        python = home / "bin" / "python"
        options = ["--no-deps"] if borrow else []
        run([str(python), "-m", "pip", "install", "--quiet", *options, str(wheel)])
        if borrow:
            place = next((home / "lib").glob("python*")) / "site-packages"
            (place / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        work = Path(temporary) / "work"
        work.mkdir()
        for command in COMMANDS:
            program, *words = command.split()
            run([str(home / "bin" / program), *words], work)


COMMANDS = (
    "resgat --version",
    "resgat-pl --help",
    "resgat configs",
    "resgat configs copy smoke mine.yaml",
    "resgat synth tiny --videos 8 --frames 4 --jobs 1",
    "resgat fit --config mine.yaml --data.root tiny --crops crops --trainer.default_root_dir run --trainer.max_epochs 1"
    " --trainer.limit_train_batches 2 --data.num_workers 0",
    "resgat explain tiny/original_sequences/youtube/c23/videos/000.mp4 --ckpt_path run/checkpoints/best.ckpt"
    " --out seen --frames 4",
)
"""Tried with the wheel: its configurations, split files and the page of the report come from inside it."""


def run(command: list[str], folder: Path | None = None) -> None:
    """Run a command, without this checkout on its path.

    Raises:
        SystemExit: It failed.
    """
    print("$", " ".join([Path(command[0]).name, *command[1:]]), flush=True)
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    if status := subprocess.run(command, cwd=folder, env=clean, check=False).returncode:
        raise SystemExit(f"Exit status {status}: {' '.join(command)}")


def main() -> None:
    """Do the steps that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], help="of build, check and try; default: all")
    parser.add_argument("--borrow", action="store_true", help="dependencies of this environment, not new ones")
    arguments = parser.parse_args()
    steps = arguments.steps or STEPS
    for step in STEPS:
        if step in steps:
            {"build": build, "check": check, "try": lambda: attempt(arguments.borrow)}[step]()


if __name__ == "__main__":
    main()
