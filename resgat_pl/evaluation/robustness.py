"""AUROC of a detector on test pictures that are compressed, blurred, noisy or shrunk."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path

from matplotlib.figure import Figure
from tqdm import tqdm

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.formats import stamp
from resgat_pl.core.output_tables import csv_table, json_text, markdown_table
from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import Level
from resgat_pl.data.splits.protocols import SplitProtocol
from resgat_pl.data.splits.skipped import Coverage, coverage
from resgat_pl.evaluation.attacks import Options, attack_table, read_options, write_attacks
from resgat_pl.evaluation.corruptions import STRENGTHS, Corruption
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import Interval, interval
from resgat_pl.evaluation.metrics.scores import CLIPS, POOLED, Scores, evaluate
from resgat_pl.evaluation.predict import score
from resgat_pl.evaluation.provenance import environment
from resgat_pl.evaluation.train_test_overlap import describe, people_unknown


@dataclass(frozen=True)
class Point:
    """One corruption at one strength.

    Attributes:
        kind: Kind of corruption; empty for the pictures as they are.
        strength: 1 to 5; 0 for the pictures as they are.
        label: What the strength is.
        frame: AUC per frame.
        video: AUC per video.
        loss: AUC per video of the pictures as they are, minus this one; resampled together, over the same videos.
    """

    kind: str
    strength: int
    label: str
    frame: Interval
    video: Interval
    loss: Interval


def robustness(
    ckpt_path: Path,
    crops: str | Path | None = None,
    split: SplitProtocol | None = None,
    kinds: str = ",".join(STRENGTHS),
    out: Path = Path("runs/robustness"),
    batch_size: int = 32,
    workers: int = 0,
    allow_leakage: bool = False,
    attacks: str | None = None,
    eps: str = "1,2,4,8",
    steps: int = 10,
    queries: int = 100,
    most: int | None = None,
    transfer_from: Path | None = None,
    also: str | None = None,
) -> str:
    """Test a checkpoint on damaged pictures, or on attacked ones.

    Damage is JPEG, blur, noise, resizing and H.264, each at five strengths. With --attacks pictures are attacked
    instead, see ``resgat_pl.nn.attacks``: the table has AUC as it is, attacked, attacked on another checkpoint, and on
    other data sets, and how much the map of the contributions changed.

    The damage is done to the stored crops, before they are resized for the network; for the strengths see
    ``resgat_pl.evaluation.corruptions``. H.264 means one intra frame per crop, not a re-encoded video.

    Args:
        ckpt_path: Checkpoint of ``resgat fit``.
        crops: Folder that ``resgat extract`` made; null takes the crops the checkpoint was trained on.
        split: How they are divided; null takes the protocol that the checkpoint was trained under, or the manifest's.
        kinds: Kinds of damage, separated by commas.
        out: Folder for ``robustness.md``, ``.csv``, ``.json`` and the plot as ``.png`` and ``.pdf``; with attacks for
            ``attacks.md``, ``.csv`` and ``.json``.
        batch_size: Crops at once.
        workers: Loading processes.
        allow_leakage: Test also on videos that the checkpoint was trained on.
        attacks: Attacks instead of damage, separated by commas: fgsm, pgd, square, and map, which changes the map and
            leaves the logit as it is.
        eps: Largest changes of a pixel by the attacks, in 255ths, separated by commas.
        steps: Of pgd and map.
        queries: Of square.
        most: Crops that are attacked, spread evenly over the test split; null for all.
        transfer_from: Another checkpoint: the attacks are made on it as well, and shown to this one.
        also: Other crops, separated by commas, on which the checkpoint is tested without an attack.

    Returns:
        The table as Markdown.
    """
    _refuse_unused(attacks, kinds, eps, steps, queries, most=most, transfer_from=transfer_from, also=also)
    if attacks is not None:
        options = read_options(attacks, eps, steps=steps, queries=queries, most=most)
        require_folder(out, "--out")
        return _attacked(ckpt_path, crops, split, options, out, transfer_from, also, allow_leakage, batch_size, workers)
    named = {name.strip() for name in kinds.split(",") if name.strip()}
    chosen = [kind for kind in STRENGTHS if kind in named]
    if not named:
        raise ConfigError(f"--kinds names nothing. There are: {', '.join(STRENGTHS)}.")
    if unknown := named - set(STRENGTHS):
        raise ConfigError(f"--kinds: {', '.join(sorted(unknown))} is unknown. There are: {', '.join(STRENGTHS)}.")
    require_folder(out, "--out")
    detector = Detector.load(ckpt_path)
    manifest = detector.manifest(crops or detector.data["crops"], split)
    leaky = detector.leaks_on(manifest, allow_leakage)
    people = people_unknown(detector.provenance, manifest)

    def measure(corruption: Corruption | None, title: str) -> dict[Level, Scores]:
        found = score(detector, manifest, corruption, batch_size, workers, title)
        return {row.level: row for row in evaluate(found) if row.method == POOLED}

    clean = measure(None, "clean")
    points = [_point("", 0, "as it is", clean, clean)]
    damages = [(kind, strength, label) for kind in chosen for strength, label in enumerate(STRENGTHS[kind], 1)]
    for kind, strength, label in tqdm(damages, unit="test", desc="robustness"):
        found = measure(Corruption(kind, strength), f"{kind}, {label}")
        points.append(_point(kind, strength, label, clean, found))
    videos = coverage(manifest, clean["video"].real + clean["video"].fake)
    text = _markdown(points, describe(leaky, people), videos)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "robustness.md", (text + "\n").encode())
    write_atomic(out / "robustness.csv", _csv(points).encode())
    document = {
        **stamp(1),
        "provenance": environment(),
        "checkpoint": str(detector.path),
        "checkpoint_sha256": detector.checkpoint.fingerprint,
        "crops": str(manifest.folder),
        "splits": manifest.split_fingerprint(),
        "leaky": leaky,
        "people_unknown": people,
        "videos": videos.plain(),
        "points": [
            {name: value.plain() if isinstance(value, Interval) else value for name, value in vars(point).items()}
            for point in points
        ],
    }
    write_atomic(out / "robustness.json", json_text(document).encode())
    _plot(points, out / "robustness")
    return text


def _refuse_unused(attacks: str | None, kinds: str, eps: str, steps: int, queries: int, **of_attacks: object) -> None:
    """Refuse options that were given and would have no effect.

    Args:
        attacks: See ``robustness``, as the others.
        kinds: Of damage.
        eps: Of attacks, as all that follow.
        steps: See there.
        queries: See there.
        **of_attacks: By name, options that are None where they are not given.

    Raises:
        ConfigError: Names the option.
    """
    if attacks is not None:
        if kinds != ",".join(STRENGTHS):
            raise ConfigError("--kinds is of damage, and --attacks is given in its place: leave one of them out.")
        return
    usual = signature(robustness).parameters
    given = [name for name, value in of_attacks.items() if value is not None]
    values = {"eps": eps, "steps": steps, "queries": queries}
    given += [name for name, value in values.items() if value != usual[name].default]
    if given:
        raise ConfigError(f"--{given[0]} is of attacks, and --attacks is not given: add it, for example fgsm,pgd.")


def _attacked(
    ckpt_path: Path,
    crops: str | Path | None,
    split: SplitProtocol | None,
    options: Options,
    out: Path,
    transfer_from: Path | None,
    also: str | None,
    allow_leakage: bool,
    batch_size: int,
    workers: int,
) -> str:
    """Attack instead of damage."""
    detector = Detector.load(ckpt_path)
    other = None if transfer_from is None else Detector.load(transfer_from)
    manifest = detector.manifest(crops or detector.data["crops"], split)
    leaky = detector.leaks_on(manifest, allow_leakage)
    others = {place: detector.manifest(place) for part in (also or "").split(",") if (place := part.strip())}
    for one in others.values():
        leaky = sorted({*leaky, *detector.leaks_on(one, allow_leakage)})
    table = attack_table(detector, manifest, options, other, others, batch_size, workers)
    about = {
        "checkpoint": str(detector.path),
        "checkpoint_sha256": detector.checkpoint.fingerprint,
        "transfer_from_sha256": None if other is None else other.checkpoint.fingerprint,
        "crops": str(manifest.folder),
        "splits": manifest.split_fingerprint(),
        "leaky": leaky,
        "options": asdict(options),
    }
    stamps = "".join(f"\n\n{line}." for line in describe(leaky, people_unknown(detector.provenance, manifest)))
    return write_attacks(table, out, about) + stamps


def _point(kind: str, strength: int, label: str, clean: dict[Level, Scores], found: dict[Level, Scores]) -> Point:
    before, after = (scores["video"].resamples["auroc"] for scores in (clean, found))
    loss = interval(before - after, found["video"].clips("auroc"))
    return Point(kind, strength, label, found["frame"].values["auroc"], found["video"].values["auroc"], loss)


def _markdown(points: list[Point], stamps: list[str], videos: Coverage) -> str:
    header = ["damage", "strength", "clips", "AUC, frames", "AUC, videos", "loss against undamaged, videos"]
    body = []
    for point in points:
        cells = [point.kind or "none", point.label, f"{point.video.groups:,}", point.frame.brief, point.video.brief]
        body.append([*cells, point.loss.brief if point.strength else ""])
    lines = [
        markdown_table(header, body),
        "",
        f"In %, with 95 % bootstrap intervals over {CLIPS}; the loss is taken resample by resample.",
        "",
        f"{videos}.",
        *(f"{line}." for line in stamps),
    ]
    return "\n".join(lines)


def _csv(points: list[Point]) -> str:
    columns = [f"{score}_{name}" for score in ("frame_auroc", "video_auroc", "video_loss") for name in Interval._fields]
    rows = [
        [point.kind, point.strength, point.label, *point.frame.cells(), *point.video.cells(), *point.loss.cells()]
        for point in points
    ]
    return csv_table(["kind", "strength", "label", *columns], rows)


def _plot(points: list[Point], path: Path) -> None:
    """One panel per kind, all on one axis of AUC; the band is the 95 % interval."""
    kinds = list(dict.fromkeys(point.kind for point in points if point.kind))
    figure = Figure(figsize=(2.4 * len(kinds) + 0.6, 2.9), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for panel, kind in zip(panels, kinds, strict=True):
        mine = [points[0], *(point for point in points if point.kind == kind)]
        places = [point.strength for point in mine]
        value, low, high = ([100 * point.video[part] for point in mine] for part in range(3))
        panel.axhline(50, color="0.7", linewidth=0.8, linestyle=":")
        panel.fill_between(places, low, high, alpha=0.2, linewidth=0, color="C0")
        panel.plot(places, value, marker="o", markersize=4, color="C0")
        panel.set_title(kind)
        panel.set_xticks(places, [point.label for point in mine], rotation=60, ha="right", fontsize=8)
        panel.grid(axis="y", linewidth=0.3)
    panels[0].set_ylabel("AUC per video, %")
    for suffix, varying in (("png", "Software"), ("pdf", "CreationDate")):
        file = io.BytesIO()
        figure.savefig(file, format=suffix, metadata={varying: None})
        write_atomic(path.with_suffix(f".{suffix}"), file.getvalue())
