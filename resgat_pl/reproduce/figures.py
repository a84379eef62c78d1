"""The figures of the paper, drawn from trained checkpoints."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resgat_pl.core.disk_full import reporting_full_disk
from resgat_pl.core.errors import ConfigError
from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.storage import write_atomic
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.drawing.overlay import Scale, overlay, spread
from resgat_pl.explain.drawing.sheet import Strip, draw_sheet, outlined
from resgat_pl.explain.face_set import choose_faces, in_turn
from resgat_pl.explain.methods.gradient import GradCAM
from resgat_pl.explain.methods.graph import attention_map
from resgat_pl.explain.methods.lime import lime_map
from resgat_pl.explain.methods.pixels import Segments
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.reproduce.experiment import (
    Condition,
    Experiment,
    choose_names,
    read_settings,
    require_plain_name,
)
from resgat_pl.reproduce.runs import run

Method = Literal["attention", "contribution", "grad_cam", "lime"]
_TITLES: dict[Method, str] = {
    "attention": "attention",
    "contribution": "exact contribution",
    "grad_cam": "Grad-CAM",
    "lime": "LIME",
}
_UNITS: dict[Method, str] = {
    "attention": "1 = the mean of all nodes",
    "contribution": "logits, red: fake",
    "grad_cam": "logits",
    "lime": "probability, red: fake",
}


@dataclass
class Lime:
    """Settings of LIME: pictures per face, and what is switched on and off in them."""

    samples: int
    segments: Segments

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"lime.samples is {self.samples}, must be at least 1")


@dataclass
class FigurePlan:
    """One figure; each of ``columns`` is METHOD ROW, what is drawn and the row of the table whose checkpoint it is."""

    name: str
    title: str
    faces: Literal["balanced", "pairs"]
    count: int
    columns: list[str]

    def __post_init__(self) -> None:
        require_plain_name(self.name)
        if not self.columns or any(len(column) != 2 or column[0] not in _TITLES for column in self.maps):
            raise ValueError(f"{self.name}: a column is METHOD ROW, METHOD one of {', '.join(_TITLES)}")
        if self.count < (least := {"balanced": 1, "pairs": 2}[self.faces]):
            raise ValueError(f"{self.name}: count is {self.count}, must be at least {least}")

    @property
    def maps(self) -> list[tuple[Method, str]]:
        """Method and row of each column."""
        return [cast("tuple[Method, str]", tuple(column.split())) for column in self.columns]


@dataclass
class Plan:
    """The figures to draw, and the runs of a table whose checkpoints they show, see experiments/figures.yaml."""

    table: str
    protocol: str
    preset: str
    seed: int
    lime: Lime
    figures: list[FigurePlan]

    def __post_init__(self) -> None:
        if not self.figures:
            raise ValueError("figures must not be empty")


def figures(
    plan: Path,
    data: Literal["real", "synthetic"] = "real",
    only: str | None = None,
    table_out: Path = Path("runs/table1"),
    out: Path = Path("runs/figures"),
    overrides: list[str] | None = None,
    private: bool = False,
) -> str:
    """Draw the figures of the paper from trained checkpoints, as PNG and PDF.

    All columns show the same faces, which a rule chooses, and each column has one colour scale for all faces. The
    columns of one row of the table are of one checkpoint. Checkpoints are those of `resgat reproduce`; missing ones are
    trained first. Figures whose data set is not there are named, with the reason, and not drawn.

    Args:
        plan: YAML file, e.g. experiments/figures.yaml.
        data: "real" or "synthetic", as for `resgat reproduce`.
        only: Names of the figures to draw, separated by commas; the default is all.
        table_out: Folder of `resgat reproduce`.
        out: Folder for the figures.
        overrides: The same further options that `resgat reproduce` got.
        private: W&B gets the metrics only of what is trained here.

    Returns:
        The files that were drawn.
    """
    os.environ.setdefault("WANDB_MODE", "offline")  # nothing leaves the machine unless asked for
    settings = read_settings(plan, Plan, "experiments/figures.yaml")
    experiment = Experiment.read(plan.parent / settings.table)
    rows = {row.name: row for row in experiment.rows}
    _check(plan, settings, experiment)
    by_name = {figure.name: figure for figure in settings.figures}
    chosen = [by_name[name] for name in choose_names("only", only, by_name)]
    require_folder(out, "--out")
    require_folder(table_out, "--table_out")
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    detectors: dict[str, Detector] = {}
    for figure in tqdm(chosen, unit="figure", desc=f"figures ({data})"):
        needed = dict.fromkeys(name for _, name in figure.maps)
        absent = [rows[name].root for name in needed if data == "real" and not os.environ.get(rows[name].root)]
        if absent:
            lines.append(f"{figure.name}: not drawn, {absent[0]} is not set")
            continue
        for name in needed:
            if name not in detectors:
                condition = Condition(rows[name], settings.protocol, settings.preset, settings.seed, data)
                detectors[name] = Detector.load(run(experiment, condition, table_out, overrides, private).checkpoint)
        title = figure.title + (" (SYNTHETIC data)" if data == "synthetic" else "")
        with reporting_full_disk(out):
            png, pdf = _draw(figure, detectors, out / figure.name, title, settings.lime)
        lines.append(f"{figure.name}: {png} and {pdf.name}")
    return "\n".join(lines)


def _draw(figure: FigurePlan, detectors: dict[str, Detector], path: Path, title: str, lime: Lime) -> tuple[Path, Path]:
    """Write a figure as PNG and PDF: a column for each of the plan's, all of the same faces."""
    # The faces.
    last = figure.maps[-1][1]
    judge = detectors[last]
    manifest = judge.manifest(judge.data["crops"])
    rows = np.flatnonzero(manifest.column("split") == "test").astype(np.int64)
    faces = FaceCrops(manifest, rows, judge.net.image_size)
    chosen = choose_pairs(faces, figure.count // 2) if figure.faces == "pairs" else choose_faces(faces, figure.count)
    stacked = torch.stack([faces[place]["image"] for place in chosen.tolist()])
    pixels, images = stacked.permute(0, 2, 3, 1).numpy(), stacked.float() / 255
    with torch.inference_mode():
        device = next(judge.net.parameters()).device
        probability = judge.net(images.to(device)).probability.tolist()
    methods = manifest.column("method")[rows[chosen]]
    titles = [
        f"{f'fake, {method}' if label else 'real'}\np = {p:.2f}"
        for label, method, p in zip(faces.labels[chosen], methods, probability, strict=True)
    ]
    shown = [outlined(face, faces.mask(place)) for face, place in zip(pixels, chosen.tolist(), strict=True)]
    strips = [Strip("face\noutline: manipulated", shown, titles)]

    # Their maps.
    for method, name in tqdm(figure.maps, unit="column", desc=figure.name, leave=False):
        net = detectors[name].net
        maps = explain(method, net, images, lime.samples, lime.segments)
        if not np.isfinite(maps).all():
            raise ConfigError(f"{path.name}: {method} of {name} has values that are not finite; its training diverged.")
        scale = Scale.of(maps, signed=method in {"contribution", "lime"})
        size = images.shape[2], images.shape[3]
        heats = maps if method == "lime" else [spread(nodes, net.lattice(*size), size) for nodes in maps]
        overlays = [overlay(face, heat, scale) for face, heat in zip(pixels, heats, strict=True)]
        strips.append(Strip(f"{_TITLES[method]}\n{name}", overlays, scale=scale, unit=_UNITS[method]))

    # The width of a page of two columns and, as far as the text stays legible, its height.
    side = min(1.6, max(0.7, min(6.5 / len(strips), 9.0 / len(chosen))))
    files = draw_sheet(strips, f"{title}; p by {last}", ("png", "pdf"), side, dpi=300, upright=True)
    targets = path.with_suffix(".png"), path.with_suffix(".pdf")
    for target, content in zip(targets, files, strict=True):
        write_atomic(target, content)
    return targets


def choose_pairs(faces: FaceCrops, count: int) -> NDArray[np.int64]:
    """Choose genuine crops and the same frame of a fake made from each, by rule: spread over methods and originals.

    Returns:
        ``(2 n,)`` int64 positions in ``faces``: real, fake, real, fake …; n is ``count`` or less.

    Raises:
        ConfigError: No fake has its original in ``faces``.
    """
    pairs = faces.pairs()
    if not len(pairs):
        raise ConfigError("No fake of the test split has its original beside it: choose faces: balanced instead.")
    videos = faces.manifest.video_codes[faces.rows[pairs[:, 0]]]
    starts = np.unique(videos, return_index=True)[1]
    middles = [int((a + b) // 2) for a, b in zip(starts, [*starts[1:], len(pairs)], strict=True)]
    methods = faces.manifest.column("method")[faces.rows[pairs[middles, 0]]]
    rng = np.random.default_rng(0)
    queues = [rng.permutation(np.array(middles)[methods == method]).tolist() for method in sorted(set(methods))]
    taken: list[int] = []
    used: set[int] = set()  # an original is shown once
    for fake, real in pairs[in_turn(queues)].tolist():
        if real not in used and len(taken) < 2 * count:
            used.add(real)
            taken += [real, fake]
    return np.array(taken, np.int64)


def explain(
    method: Method, net: DetectorNet, images: Tensor, samples: int = 1000, segments: Segments = "quickshift"
) -> NDArray[np.float32]:
    """Maps of one method.

    Args:
        method: Which.
        net: Network in evaluation mode.
        images: ``(B, 3, S, S)`` float in [0, 1], RGB, on the CPU.
        samples: Of LIME, pictures a face.
        segments: Of LIME, what is switched on and off.

    Returns:
        ``(B, h, w)`` float32, by node; LIME's by pixel.
    """
    device = next(net.parameters()).device
    images = images.to(device)
    if method == "lime":
        return np.stack([lime_map(net, image, samples, segments).cpu().numpy() for image in images])
    if method == "grad_cam":
        nodes = GradCAM(net, relu=True).attribute(images).node_map
    else:
        with torch.no_grad():
            found = contributions(net, images)
            read = attention_map(found.output) if method == "attention" else found.node
            nodes = net.levels(*images.shape[2:]).summed(read)
    maps: NDArray[np.float32] = nodes.float().cpu().numpy()
    return maps


def _check(path: Path, plan: Plan, experiment: Experiment) -> None:
    """Check that the table has the plan's protocol, preset and rows, before anything is trained.

    Raises:
        ConfigError: It lacks one.
    """
    named: dict[str, tuple[list[str], Collection[str]]] = {
        "protocol": ([plan.protocol], experiment.protocols),
        "preset": ([plan.preset], experiment.presets),
        "row": ([name for figure in plan.figures for _, name in figure.maps], [row.name for row in experiment.rows]),
    }
    for what, (names, known) in named.items():
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"{path}: no {what} {unknown[0]!r} in {plan.table}. There are: {', '.join(known)}.")
