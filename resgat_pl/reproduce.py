"""Training and testing every row of a table of the paper, one subprocess a run.

A run is a subprocess because under DDP the processes re-execute the command that started them: were ``fit`` called in
here, they would re-execute the whole table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.csv
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resgat_pl.data.manifest import write_atomic
from resgat_pl.errors import ConfigError, ResGATError
from resgat_pl.metrics.intervals import Interval, auroc, bootstrap, f1


@dataclass(frozen=True)
class Result:
    """What one run reached on its test split.

    Attributes:
        frames: Test crops.
        videos: Test videos.
        values: Metric → value with its 95 % interval over videos: ``frame_`` and ``video_`` ``f1_fake``, ``f1_real``,
            ``auroc``, each in [0, 1].
    """

    frames: int
    videos: int
    values: dict[str, Interval]


def reproduce(
    table: Path,
    data: Literal["real", "synthetic"] = "real",
    out: Path = Path("runs/table1"),
    overrides: list[str] | None = None,
) -> str:
    """Train and test every row of a table and print the paper's numbers beside ours.

    Rows whose data set is not there are named, with the reason, and not run. Finished rows are not repeated.

    Args:
        table: YAML file with the rows, e.g. experiments/table1.yaml.
        data: "real" takes the data sets that the rows' environment variables point at; "synthetic" writes small
            synthetic sets in the same layouts and trains the small detector on them: that shows that every step
            works, and says nothing about the paper's numbers.
        out: Folder for the runs and the finished table.
        overrides: Further options for every run, e.g. --overrides "['--trainer.max_epochs=1']".

    Returns:
        The table as Markdown; also in ``out/table.md`` and ``out/table.json``.
    """
    rows = _read_table(table)
    results: list[tuple[dict[str, Any], Result | None, str]] = []
    for row in rows:
        folder = out / data / row["name"]
        if data == "real" and not os.environ.get(row["root"]):
            results.append((row, None, f"not run: {row['root']} is not set"))
            continue
        arguments = _real(row) if data == "real" else _synthetic(row, out)
        try:
            result = train_and_test(folder, [*arguments, *(overrides or [])])
        except ResGATError as error:
            results.append((row, None, f"failed: {error}"))
            continue
        results.append((row, result, ""))
    text = _markdown(results, data)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / f"table_{data}.md", text.encode())
    document = [{"row": row["name"], "note": note, **_plain(result)} for row, result, note in results]
    write_atomic(out / f"table_{data}.json", json.dumps(document, indent=2).encode())
    return text


def train_and_test(folder: Path, arguments: Sequence[str]) -> Result:
    """Fit a detector and test its best checkpoint, or return what an earlier, identical run found.

    Args:
        folder: Folder of the run; the finished result is in ``result.json`` there.
        arguments: Options of ``resgat fit``: configurations and overrides.

    Raises:
        ConfigError: ``folder`` holds the result of other options.
        ResGATError: Training or testing failed; their own message is above.
    """
    done = folder / "result.json"
    if done.is_file():
        stored = json.loads(done.read_text())
        if stored["arguments"] != list(arguments):
            raise ConfigError(f"{done} is the result of other options. Name another folder, or remove it.")
        return Result(
            stored["frames"], stored["videos"], {name: Interval(*value) for name, value in stored["values"].items()}
        )
    root = ["--trainer.default_root_dir", str(folder)]
    before = set(folder.glob("version_*"))
    _resgat("fit", *arguments, *root)
    fitted = _newest(folder, before)
    checkpoint = fitted / "checkpoints" / "best.ckpt"
    before = set(folder.glob("version_*"))
    _resgat("test", "--config", str(fitted / "config.yaml"), "--ckpt_path", str(checkpoint))
    tested = _newest(folder, before)
    result = evaluate(tested / "predictions")
    document = {"arguments": list(arguments), "fit": fitted.name, "test": tested.name, **_plain(result)}
    write_atomic(done, json.dumps(document, indent=2).encode())
    return result


def evaluate(predictions: Path, resamples: int = 1000, seed: int = 0) -> Result:
    """Score the CSV files that ``resgat test`` wrote, with 95 % intervals from resampled videos.

    Args:
        predictions: Folder of ``frames.csv`` and ``videos.csv``.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
    """
    values: dict[str, Interval] = {}
    sizes = {}
    for level in ("frame", "video"):
        table = pyarrow.csv.read_csv(predictions / f"{level}s.csv")
        sizes[level] = len(table)
        label = table.column("label").to_numpy().astype(np.int64)
        probability = table.column("probability").to_numpy().astype(np.float64)
        group = _video_codes(table)
        called = (probability > 0.5).astype(np.int64)
        for name, metric, score, truth in (
            ("f1_fake", f1, called, label),
            ("f1_real", f1, 1 - called, 1 - label),
            ("auroc", auroc, probability, label),
        ):
            values[f"{level}_{name}"] = bootstrap(metric, score, truth, group, resamples, seed)
    return Result(sizes["frame"], sizes["video"], values)


def _video_codes(table: Any) -> NDArray[np.int64]:
    names = ("dataset", "method", "compression", "video")
    keys = np.array(
        ["\0".join(map(str, key)) for key in zip(*(table.column(n).to_pylist() for n in names), strict=True)]
    )
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _read_table(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise ConfigError(f"There is no table at {path}. The one of the paper is experiments/table1.yaml.")
    try:
        table: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    rows = table.get("rows") if isinstance(table, dict) else None
    needed = {"name", "dataset", "attention", "config", "root", "paper"}
    if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) and needed <= r.keys() for r in rows):
        raise ConfigError(f"{path} must hold a list `rows`, each with {', '.join(sorted(needed))}.")
    base = path.parent
    return [{**row, "config": str(base / row["config"]), "small": str(base / table["small_config"])} for row in rows]


def _real(row: dict[str, Any]) -> list[str]:
    return ["--config", row["config"]]


def _synthetic(row: dict[str, Any], out: Path) -> list[str]:
    """Write the synthetic set of a row's layout, once, and return the options of the small detector on it."""
    from resgat_pl.data.synth import synthesize

    root = out / "synthetic_data" / row["dataset"]
    synthesize(root, layout=row["dataset"], videos=240, fakes_per_real=1, frames=2, size=160, change=60, extent=2.4)
    return [
        "--config",
        row["small"],
        *("--net.attention", row["attention"]),
        *("--data.root", str(root), "--data.extraction.frames", "2"),
        *("--data.crops", str(out / "synthetic_data" / f"{row['dataset']}_crops")),
    ]


def _resgat(*arguments: str) -> None:
    command = [sys.executable, "-m", "resgat_pl", *arguments]
    if subprocess.run(command, check=False).returncode != 0:
        raise ResGATError(f"`resgat {' '.join(arguments)}` failed; its message is above.")


def _newest(folder: Path, before: set[Path]) -> Path:
    fresh = set(folder.glob("version_*")) - before
    if len(fresh) != 1:
        raise ResGATError(f"{folder}: expected one new run folder, found {sorted(path.name for path in fresh)}.")
    return fresh.pop()


def _plain(result: Result | None) -> dict[str, Any]:
    if result is None:
        return {}
    return {"frames": result.frames, "videos": result.videos, "values": {k: list(v) for k, v in result.values.items()}}


def _markdown(results: Sequence[tuple[dict[str, Any], Result | None, str]], data: str) -> str:
    lines = []
    if data == "synthetic":
        lines += [
            "SYNTHETIC data and a small detector: this shows that every step works. "
            "It does not test the paper's numbers.",
            "",
        ]
    lines += [
        "| row | paper F1 / AUC | F1 fake, frames | F1 real, frames | AUC, frames | AUC, videos | crops / videos |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, result, note in results:
        paper = f"{row['paper']['f1']:.2f} / {row['paper']['auc']:.2f}"
        if result is None:
            lines.append(f"| {row['name']} | {paper} | {note} | | | | |")
            continue
        names = ("frame_f1_fake", "frame_f1_real", "frame_auroc", "video_auroc")
        cells = " | ".join(str(result.values[name]) for name in names)
        lines.append(f"| {row['name']} | {paper} | {cells} | {result.frames} / {result.videos} |")
    lines += ["", "All in %, with 95 % intervals over videos. The paper's F1 is of the real class, by its code."]
    return "\n".join(lines) + "\n"
