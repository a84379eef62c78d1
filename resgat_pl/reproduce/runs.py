"""Training and testing every row of a table of the paper, one subprocess a run.

A run is a subprocess because under DDP the processes re-execute the command that started them: were ``fit`` called in
here, they would re-execute the whole table.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from resgat_pl.core.errors import ConfigError, Interrupted, ResGATError, SomeRunsError, Stopped
from resgat_pl.core.parts import for_children
from resgat_pl.core.path_checks import require_files, require_folder
from resgat_pl.core.storage import locate, write_atomic
from resgat_pl.reproduce.experiment import Choice, Condition, Experiment, Row, option
from resgat_pl.reproduce.tables import Run, TableCell, write_tables


def reproduce(
    table: Path,
    protocol: str | None = None,
    preset: str | None = None,
    seeds: str | None = None,
    rows: str | None = None,
    data: Literal["real", "synthetic"] = "real",
    out: Path = Path("runs/table1"),
    overrides: list[str] | None = None,
    private: bool = False,
) -> str:
    """Train and test every row of a table and print the paper's numbers beside ours.

    Each row is trained under each protocol, preset and seed. Rows whose data set is not there are named, with the
    reason, and not run. Finished runs are not repeated, and an interrupted one goes on from its last epoch.

    Args:
        table: YAML file with the rows, e.g. experiments/table1.yaml.
        protocol: How data is divided, by the table's names and separated by commas, e.g. paper,strict; the difference
            is taken between the first and the last. The default is the table's.
        preset: How the detector is trained, by the table's names, e.g. paper_faithful,corrected.
        seeds: Seeds of the training, e.g. 0,1,2.
        rows: Names of the rows to run, e.g. ffpp_gatv1,ffpp_gatv2; the default is all.
        data: "real" takes the data sets that the rows' environment variables point at; "synthetic" writes small
            synthetic sets in the same layouts and trains the small detector on them: that shows that every step
            works, and says nothing about the paper's numbers.
        out: Folder for the runs and the finished tables.
        overrides: Further options for every run, e.g. --overrides "['--config=configs/gpu.yaml']".
        private: W&B gets the runs' metrics only, see `resgat fit --help`, and no table.

    Returns:
        The table as Markdown; also in ``out`` as Markdown, CSV and LaTeX, and as a table in W&B.

    Raises:
        SomeRunsError: Runs failed; the others are in the tables.
        ConfigError: No row's data set is there, or a name is unknown.
        Stopped: By a signal.
    """
    os.environ.setdefault("WANDB_MODE", "offline")  # nothing leaves the machine unless asked for
    experiment = Experiment.read(table)
    chosen = experiment.choose(protocol, preset, seeds, rows, data)
    _check_paths(experiment, chosen, data, out, overrides or [])
    cells: list[TableCell] = []
    failed = 0
    with tqdm(total=chosen.size, unit="run", desc=f"{table.stem} ({data})") as bar:
        for row in chosen.rows:
            absent = data == "real" and not os.environ.get(row.root)
            for name in chosen.presets:
                for kind in chosen.protocols:
                    cell = TableCell(row, name, kind, [], "")
                    cells.append(cell)
                    if absent:
                        cell.note = f"not run: {row.root} is not set"
                        bar.update(len(chosen.seeds))
                        continue
                    for seed in chosen.seeds:
                        condition = Condition(row, kind, name, seed, data)
                        try:
                            cell.runs.append(run(experiment, condition, out, overrides, private))
                        except Stopped:
                            raise
                        except ResGATError as error:
                            cell.note = f"failed: {error}"
                            failed += 1
                        bar.update()
    text = write_tables(cells, out, f"{table.stem}_{data}", data == "synthetic", publish=not private)
    if failed:
        tqdm.write(text)
        raise SomeRunsError(
            f"{failed} of {chosen.size} runs failed, see the notes in the table and the messages above. The same "
            "command tries them again and keeps the others."
        )
    if not any(cell.runs for cell in cells):
        tqdm.write(text)
        roots = " and ".join(dict.fromkeys(row.root for row in chosen.rows))
        raise ConfigError(
            f"Nothing was run, for want of {roots}: let it name the data set's folder. To see how everything works on "
            "synthetic data: --data synthetic"
        )
    return text


def _check_paths(experiment: Experiment, chosen: Choice, data: str, out: Path, overrides: Sequence[str]) -> None:
    """Look at every path before the first run: the last one would otherwise fail days later.

    Raises:
        ConfigError: A configuration or a data set is not there, or nothing can be written to ``out``.
    """
    require_folder(out, "--out")
    options = [*overrides, *(part for name in chosen.presets for part in experiment.presets[name].arguments)]
    if data == "real":
        require_files({f"row {row.name}": row.config for row in chosen.rows})
        for row in chosen.rows:
            root = os.environ.get(row.root)
            if root and not locate(root).is_dir():
                raise ConfigError(
                    f"{row.root} is {root}, which is no folder: correct it, or unset it to leave rows out."
                )
    else:
        require_files({"synthetic.config": experiment.synthetic.config})
    _digests(options)


def train_and_test(folder: Path, arguments: Sequence[str], private: bool = False) -> Run:
    """Fit a detector and test it, or return what an earlier, identical run found.

    The checkpoint that validated best is tested, or the last epoch's where the configuration has no validation. If an
    earlier, identical run was interrupted, it goes on from its last epoch.

    Args:
        folder: Folder of the run. ``request.json`` there says what was asked for, ``done.json`` which folder holds the
            test.
        arguments: Options of ``resgat fit``: configurations and overrides.
        private: W&B gets metrics only; the run is the same.

    Raises:
        ConfigError: ``folder`` holds a run of other options or of configurations that have changed since.
        ResGATError: Training or testing failed; their own message is above.
    """
    request = {"arguments": list(arguments), "configs": _digests(arguments)}
    asked, done = folder / "request.json", folder / "done.json"
    begun = (folder / "config.yaml").is_file() or any(folder.glob("version_*"))  # of earlier versions
    if asked.is_file() and (done.is_file() or begun):  # else nothing of it is there
        stored = json.loads(asked.read_text())
        if stored != request:
            raise ConfigError(
                f"{folder} holds a run of other options: {_difference(stored, request)}. Nothing is overwritten: name "
                "another folder, or remove this one."
            )
    if done.is_file():
        return Run.read(folder / json.loads(done.read_text())["test"])
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(asked, json.dumps(request, indent=2).encode())
    quiet = ["--private"] if private else []
    _resgat("fit", *quiet, *arguments, "--trainer.default_root_dir", str(folder), "--ckpt_path", "last")
    best = folder / "checkpoints" / "best.ckpt"
    _resgat("test", *quiet, "--config", str(folder / "config.yaml"), "--ckpt_path", str(best))
    tested = Run.read(folder / "test")
    write_atomic(done, json.dumps({"test": "test"}).encode())
    return tested


def run(
    experiment: Experiment,
    condition: Condition,
    out: Path,
    overrides: list[str] | None = None,
    private: bool = False,
) -> Run:
    """Train and test under one condition of an experiment, or return what an earlier run found.

    Args:
        experiment: The experiment.
        condition: Row, protocol, preset, seed and data.
        out: Folder of the experiment; the run is in ``out/<condition.place>``.
        overrides: Further options of ``resgat fit``.
        private: W&B gets metrics only.

    Raises:
        ConfigError: The folder holds a run of other options.
        ResGATError: Training or testing failed; their own message is above.
    """
    row, preset = condition.row, experiment.presets[condition.preset]
    split: dict[str, Any] = {"class_path": experiment.protocols[condition.protocol]}
    if condition.protocol == "paper" and preset.val:
        split["init_args"] = {"val": preset.val}
    seed = str(condition.seed)
    common = [*preset.arguments, *option("data.split", split), "--seed_everything", seed, "--data.seed", seed]
    if condition.data == "real":
        arguments = ["--config", row.config, *common]
    else:
        small = experiment.synthetic
        root = _synthetic_set(row, small.set, out)
        arguments = [
            *("--config", small.config, "--net.attention", row.attention),
            *common,
            *(part for name, value in small.options.items() for part in option(name, value)),
            *("--data.root", str(root), "--data.crops", str(out / "synthetic_data" / f"{row.dataset}_crops")),
        ]
    return train_and_test(out / condition.place, [*arguments, *(overrides or [])], private)


def _synthetic_set(row: Row, settings: dict[str, Any], out: Path) -> Path:
    """Write the synthetic set of a row's layout, once."""
    from resgat_pl.data.synth.generate import synthesize

    root: Path = out / "synthetic_data" / row.dataset
    synthesize(root, layout=row.dataset, **settings)
    return root


def _digests(arguments: Sequence[str]) -> dict[str, str]:
    """SHA-256 of every configuration file among the options: one that was edited makes another run."""
    files = [value for name, value in pairwise(arguments) if name == "--config"]
    files += [name.partition("=")[2] for name in arguments if name.startswith("--config=")]
    try:
        return {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in files}
    except OSError as error:
        raise ConfigError(f"The configuration {error.filename} cannot be read ({error.strerror}).") from None


def _difference(stored: dict[str, Any], request: dict[str, Any]) -> str:
    edited = [name for name, digest in request["configs"].items() if stored["configs"].get(name, digest) != digest]
    if edited:
        return f"{', '.join(edited)} was edited since"
    there, here = (" ".join(entry["arguments"]) for entry in (stored, request))
    return f"there `{there}`, here `{here}`"


def _resgat(*arguments: str) -> None:
    """Run the command; signals to this program are passed on to it, and its end is waited for.

    Raises:
        Stopped: By a signal; its state is stored.
        ResGATError: It failed.
    """
    imports = ["--import", ",".join(for_children)] if for_children else []
    status, received = _wait_for([sys.executable, "-m", "resgat_pl", *arguments, *imports])
    if received:
        kind = Interrupted if received[0] == signal.SIGINT else Stopped
        name = signal.Signals(received[0]).name
        raise kind(f"stopped by {name}; what is finished is stored. The same command goes on.")
    if status:
        raise ResGATError(f"`resgat {' '.join(arguments)}` failed; its message is above.")


def _wait_for(command: Sequence[str]) -> tuple[int, list[int]]:
    """Run a command, handing signals on to it; return its exit status and those that came."""
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: object = None) -> None:
        received.append(number)
        # A terminal sends Ctrl-C to all its processes.
        if child is not None and (number != signal.SIGINT or not sys.stdin.isatty()):
            child.send_signal(number)

    is_main = threading.current_thread() is threading.main_thread()  # no other can set handlers
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT) if is_main else ()
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        child = subprocess.Popen(command)
        for number in received:  # before the process had started
            child.send_signal(number)
        return child.wait(), received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
