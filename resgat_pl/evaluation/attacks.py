"""AUROC of a detector, and the stability of its map, under attacks on the pixels of the test crops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.core.formats import stamp
from resgat_pl.core.output_tables import csv_table, json_text, markdown_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import Level
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import EvalSampler
from resgat_pl.data.manifest.class_counts import check_splits
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import Interval, interval
from resgat_pl.evaluation.metrics.rank import spearman
from resgat_pl.evaluation.metrics.scores import CLIPS, POOLED, Scores, evaluate
from resgat_pl.evaluation.predict import predictions, score
from resgat_pl.evaluation.provenance import environment
from resgat_pl.nn.attacks import LogitOf, fgsm, map_attack, pgd, square
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

ATTACKS: Final = ("fgsm", "pgd", "square", "map")
"""Names of the attacks; ``map`` leaves the logit as it is."""
_Attack = Callable[[LogitOf, Tensor, Tensor, float], Tensor]
_CLEAN: Final = "none"


@dataclass(frozen=True)
class Options:
    """Settings of attacks.

    Attributes:
        names: Of ``ATTACKS``.
        eps: Largest changes of a pixel, in 255ths.
        steps: Of PGD and of the attack on the map.
        queries: Of the square attack.
        most: Crops that are attacked, spread evenly over the test split; None for all.
        seed: Of the square attack.
    """

    names: tuple[str, ...]
    eps: tuple[float, ...]
    steps: int = 10
    queries: int = 100
    most: int | None = None
    seed: int = 0


class Attacked(NamedTuple):
    """A row of the table.

    Attributes:
        attack: Its name; ``none`` for the crops as they are.
        source: What the attack was made on: ``this``, the name of another checkpoint, or of another set of crops.
        eps: In 255ths.
        frame: AUROC per frame.
        video: AUROC per video.
        loss: AUROC per video of the crops as they are, minus this one, over the same videos.
        map_rank: Mean rank correlation of the contributions with those before; NaN of a detector without any.
        map_same: The same over the crops of which the verdict by the sign of the logit stayed.
    """

    attack: str
    source: str
    eps: float
    frame: Interval
    video: Interval
    loss: Interval
    map_rank: float
    map_same: float


def read_options(attacks: str, eps: str, **others: Any) -> Options:
    """Options from texts with commas.

    Raises:
        ConfigError: A name is unknown, or a number out of range.

    Example:
        >>> read_options("pgd,fgsm", "1,2").names
        ('fgsm', 'pgd')
    """
    named = {name.strip() for name in attacks.split(",") if name.strip()}
    if not named:
        raise ConfigError(f"--attacks names nothing. There are: {', '.join(ATTACKS)}.")
    if unknown := sorted(named - set(ATTACKS)):
        raise ConfigError(f"--attacks: {', '.join(unknown)} is unknown. There are: {', '.join(ATTACKS)}.")
    try:
        sizes = tuple(float(part) for part in eps.split(",") if part.strip())
    except ValueError:
        sizes = ()
    if not sizes or not all(0 < size <= 255 for size in sizes):
        raise ConfigError(f"--eps is {eps!r:.40}; give numbers above 0, in 255ths, separated by commas: 1,2,4,8.")
    options = Options(tuple(name for name in ATTACKS if name in named), sizes, **others)
    for name in ("steps", "queries", "most"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; it must be at least 1.")
    return options


def attack_table(
    detector: Detector,
    manifest: Manifest,
    options: Options,
    transfer_from: Detector | None = None,
    also: dict[str, Manifest] | None = None,
    batch_size: int = 32,
    workers: int = 0,
) -> list[Attacked]:
    """Test a detector on attacked crops of a manifest.

    Args:
        detector: The detector.
        manifest: With the splits in force.
        options: How it is attacked.
        transfer_from: Another detector, on which the same attacks are made as well; ``map`` is not.
        also: Other manifests by name, on whose test splits the detector is tested without an attack.
        batch_size: Crops at once.
        workers: Loading processes.

    Raises:
        ConfigError: The map of a detector without contributions is to be attacked, a detector judges clips, the other
            takes other pictures, or the crops chosen are of one class.
        SplitError: There is no test split, or it has one class only.
    """
    net = detector.net
    for one in filter(None, (detector, transfer_from)):
        if isinstance(one.net, VideoResGAT):
            raise ConfigError(
                f"{one.path} holds a VideoResGAT, which judges clips, and attacks are made on single crops: attack the "
                "detector of frames that it was started from."
            )
    if "map" in options.names and not (isinstance(net, ResGAT) and net.has_contributions):
        raise ConfigError("--attacks has map, and this detector has no contributions to attack: leave it out.")
    for other in (also or {}).values():  # before hours of attacks
        _rows(other, None)
    if transfer_from is not None and transfer_from.net.image_size != net.image_size:
        raise ConfigError(
            f"--transfer_from takes pictures of {transfer_from.net.image_size} px, and this detector of "
            f"{net.image_size}: attacks cannot be carried over. Choose another checkpoint."
        )
    rows = _rows(manifest, options.most)
    loader = _loader(manifest, rows, net.image_size, batch_size, workers)
    clean, _ = _test(net, manifest, rows, loader, None, "no attack")
    table = [_row(_CLEAN, "this", 0, clean, clean, (1.0, 1.0) if net.has_contributions else (np.nan, np.nan))]
    sources: dict[str, DetectorNet] = {"this": net}
    if transfer_from is not None:
        sources[str(transfer_from.path)] = transfer_from.net
    for source, victim in sources.items():
        for name in (each for each in options.names if each != "map" or victim is net):
            for size in options.eps:
                attack = _attack(name, victim, options)
                title = f"{name}, {size:g}/255, {source}"
                found, ranks = _test(net, manifest, rows, loader, _Plan(attack, victim, size / 255), title)
                table.append(_row(name, source, size, clean, found, ranks))
    for place, other in (also or {}).items():
        scores = _pooled(evaluate(score(detector, other, None, batch_size, workers, place)))
        values = scores["frame"].values["auroc"], scores["video"].values["auroc"]
        table.append(Attacked(_CLEAN, place, 0, *values, Interval(np.nan), np.nan, np.nan))
    return table


def write_attacks(table: list[Attacked], out: Path, about: dict[str, Any]) -> str:
    """Write ``attacks.md``, ``.csv`` and ``.json``, and return the first."""
    header = ["attack", "made on", "eps", "clips", "AUC, frames", "AUC, videos", "loss", "map ρ", "map ρ, same verdict"]
    body = [
        [
            row.attack,
            row.source,
            f"{row.eps:g}/255" if row.eps else "",
            f"{row.video.groups:,}",
            row.frame.brief,
            row.video.brief,
            row.loss.brief if row.attack != _CLEAN else "",
            *("" if np.isnan(rank) else f"{rank:.2f}" for rank in (row.map_rank, row.map_same)),
        ]
        for row in table
    ]
    text = "\n".join(
        [
            markdown_table(header, body),
            "",
            f"AUC in %, with 95 % bootstrap intervals over {CLIPS}. *Made on*: this one, another checkpoint, whose "
            "attacked pictures are shown to this one, or, without an attack, another data set. *map ρ*: rank "
            "correlation of the contributions with those before; the attack *map* leaves the logit as it is.",
        ]
    )
    parts = [f"{score}_{name}" for score in ("frame_auroc", "video_auroc", "video_loss") for name in Interval._fields]
    lines = [
        [row.attack, row.source, row.eps, *row.frame.cells(), *row.video.cells(), *row.loss.cells(), *row[-2:]]
        for row in table
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "attacks.md", (text + "\n").encode())
    columns = ["attack", "source", "eps", *parts, "map_rank", "map_same"]
    write_atomic(out / "attacks.csv", csv_table(columns, lines).encode())
    rows = [{name: _plain(value) for name, value in row._asdict().items()} for row in table]
    write_atomic(
        out / "attacks.json", json_text({**stamp(1), "provenance": environment(), **about, "rows": rows}).encode()
    )
    return text


class _Plan(NamedTuple):
    """An attack, the network that it is made on, and its size in [0, 1]."""

    attack: _Attack
    victim: DetectorNet
    eps: float


def _attack(name: str, victim: DetectorNet, options: Options) -> _Attack:
    if name == "map":
        attacked = cast("ResGAT", victim)  # attack_table has made sure of it
        return lambda logit_of, x, label, eps: map_attack(attacked, x, eps, options.steps)
    if name == "square":
        return lambda logit_of, x, label, eps: square(logit_of, x, label, eps, options.queries, options.seed)
    if name == "pgd":
        return lambda logit_of, x, label, eps: pgd(logit_of, x, label, eps, options.steps)
    return fgsm


def _rows(manifest: Manifest, most: int | None) -> NDArray[np.int64]:
    rows = manifest.rows_of("test")
    if not len(rows):
        raise SplitError(f"{manifest.folder} has no test split: choose another protocol with --split.")
    check_splits(manifest.counts(), ["test"])
    if most is None or most >= len(rows):
        return rows
    chosen = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
    if len(np.unique(manifest.column("label")[chosen][~manifest.untouched[chosen]])) < 2:
        raise ConfigError(f"--most {most} leaves crops of one class only in the test split: attack more of them.")
    return chosen


def _loader(manifest: Manifest, rows: NDArray[np.int64], side: int, batch: int, workers: int) -> ResumableLoader:
    faces = FaceCrops(manifest, rows, side)
    return ResumableLoader(faces, EvalSampler(faces, 1, 0), batch, workers)


def _test(
    net: DetectorNet,
    manifest: Manifest,
    rows: NDArray[np.int64],
    loader: ResumableLoader,
    plan: _Plan | None,
    title: str,
) -> tuple[dict[Level, Scores], tuple[float, float]]:
    """Scores under an attack, and how alike the maps are."""
    parts = list(_answers(net, tqdm(loader, desc=title, unit="batch", leave=False), plan))
    logits, ranks, kept = (torch.cat(each) for each in zip(*parts, strict=True))
    means = [float(values.nanmean()) if len(values) else np.nan for values in (ranks, ranks[kept])]
    return _pooled(evaluate(predictions(manifest, rows, logits))), (means[0], means[1])


def _answers(net: DetectorNet, loader: Any, plan: _Plan | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Logits, rank correlations of maps, and where the sign of the logit stayed, batch by batch."""
    device = next(net.parameters()).device
    for batch in loader:
        images, label = batch["image"].to(device).float().div_(255), batch["label"].to(device).float()
        before, first = _read(net, images)
        attacked, (after, node) = images, (before, first)
        if plan is not None:
            attacked = plan.attack(lambda x, victim=plan.victim: victim(x).logit, images, label, plan.eps)  # type: ignore[misc]
            after, node = _read(net, attacked)
        rank = torch.full((len(images),), torch.nan) if node is None or first is None else spearman(node, first).cpu()
        yield after.float().cpu(), rank, ((before > 0) == (after > 0)).cpu()


@torch.no_grad()
def _read(net: DetectorNet, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits and contributions; None of a detector without any."""
    if not net.has_contributions:
        return net(images).logit, None
    found = contributions(net, images)
    return found.output.logit, found.node


def _pooled(rows: list[Scores]) -> dict[Level, Scores]:
    return {row.level: row for row in rows if row.method == POOLED}


def _row(
    name: str,
    source: str,
    size: float,
    clean: dict[Level, Scores],
    found: dict[Level, Scores],
    ranks: tuple[float, float],
) -> Attacked:
    before, after = (scores["video"].resamples["auroc"] for scores in (clean, found))
    loss = interval(before - after, found["video"].clips("auroc"))
    values = found["frame"].values["auroc"], found["video"].values["auroc"]
    return Attacked(name, source, size, *values, loss, *ranks)


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return value.plain()
    return None if isinstance(value, float) and np.isnan(value) else value
