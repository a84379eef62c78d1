"""The figures of the paper, drawn from trained checkpoints."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resgat_pl.core.disk_full import reporting_full_disk
from resgat_pl.core.errors import ConfigError
from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.untrusted_paths import is_plain_name
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.drawing.comparison import Column, draw_comparison
from resgat_pl.explain.face_set import choose_faces, in_turn
from resgat_pl.explain.methods.gradient import GradCAM
from resgat_pl.explain.methods.graph import attention_map
from resgat_pl.explain.methods.lime import lime_map
from resgat_pl.explain.methods.pixels import Segments
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.reproduce.command import run
from resgat_pl.reproduce.experiment import Condition, Experiment, read_yaml

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


@dataclass(frozen=True)
class Plan:
    """One figure, see experiments/figures.yaml; ``columns`` are pairs of method and row of the table."""

    name: str
    title: str
    faces: Literal["balanced", "pairs"]
    count: int
    columns: list[tuple[Method, str]]


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
        What was drawn.
    """
    os.environ.setdefault("WANDB_MODE", "offline")  # nothing leaves the machine unless asked for
    settings, plans = _read(plan)
    experiment = Experiment.read(plan.parent / settings["table"])
    rows = {row.name: row for row in experiment.rows}
    chosen = _chosen(plans, only)
    _check(plan, settings, plans, experiment)
    require_folder(out, "--out")
    require_folder(table_out, "--table_out")
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    detectors: dict[str, Detector] = {}
    for figure in tqdm(chosen, unit="figure", desc=f"figures ({data})"):
        needed = dict.fromkeys(name for _, name in figure.columns)
        absent = [rows[name].root for name in needed if data == "real" and not os.environ.get(rows[name].root)]
        if absent:
            lines.append(f"{figure.name}: not drawn, {absent[0]} is not set")
            continue
        for name in needed:
            if name not in detectors:
                condition = Condition(rows[name], settings["protocol"], settings["preset"], settings["seed"], data)
                detectors[name] = Detector.load(run(experiment, condition, table_out, overrides, private).checkpoint)
        title = figure.title + (" (SYNTHETIC data)" if data == "synthetic" else "")
        with reporting_full_disk(out):
            png, pdf = _draw(figure, detectors, out / figure.name, title, settings["lime"])
        lines.append(f"{figure.name}: {png} and {pdf.name}")
    return "\n".join(lines)


def _draw(
    figure: Plan, detectors: dict[str, Detector], path: Path, title: str, lime: dict[str, Any]
) -> tuple[Path, Path]:
    first = detectors[figure.columns[-1][1]]
    manifest = first.manifest(first.data["crops"])
    rows = np.flatnonzero(manifest.column("split") == "test").astype(np.int64)
    faces = FaceCrops(manifest, rows, int(first.net.config["image_size"]))
    chosen = choose_pairs(faces, figure.count // 2) if figure.faces == "pairs" else choose_faces(faces, figure.count)
    pixels = torch.stack([faces[place]["image"] for place in chosen.tolist()])
    images = pixels.float() / 255
    columns = []
    for method, name in tqdm(figure.columns, unit="column", desc=figure.name, leave=False):
        net = detectors[name].net
        columns.append(
            Column(
                title=f"{_TITLES[method]}\n{name}",
                maps=explain(method, net, images, **lime),
                signed=method in {"contribution", "lime"},
                unit=_UNITS[method],
                lattice=None if method == "lime" else net.backbone.lattice(*images.shape[2:]),
            )
        )
    with torch.inference_mode():
        device = next(first.net.parameters()).device
        probability = first.net(images.to(device)).probability.cpu()
    methods = manifest.column("method")[rows[chosen]]
    titles = [
        f"{'fake, ' + str(method) if label else 'real'}\np = {p:.2f}"
        for label, method, p in zip(faces.labels[chosen], methods, probability.tolist(), strict=True)
    ]
    title += f"; p by {figure.columns[-1][1]}"
    masks = [faces.mask(place) for place in chosen.tolist()]
    return draw_comparison(pixels.permute(0, 2, 3, 1).numpy(), titles, columns, path, title, masks)


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
    method: Method, net: ResGAT, images: Tensor, samples: int = 1000, segments: Segments = "quickshift"
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
            nodes = attention_map(net(images)) if method == "attention" else contributions(net, images).node
    maps: NDArray[np.float32] = nodes.reshape(len(images), *net.grid.shape).float().cpu().numpy()
    return maps


def _read(path: Path) -> tuple[dict[str, Any], list[Plan]]:
    if not path.is_file():
        raise ConfigError(f"There are no figures at {path}. Those of the paper are experiments/figures.yaml.")
    content = read_yaml(path)
    try:
        settings = {key: content[key] for key in ("table", "protocol", "preset", "seed", "lime")}
        plans = [_plan(entry) for entry in content["figures"]]
        if not plans or not isinstance(settings["table"], str) or not isinstance(settings["seed"], int):
            raise ValueError("expected at least one figure, a table's path and a seed")
        samples, segments = (settings["lime"].get(name) for name in ("samples", "segments"))
        if settings["lime"].keys() - {"samples", "segments"} or not isinstance(samples, int) or samples < 1:
            raise ValueError(f"lime: {settings['lime']}, expected samples from 1 and segments")
        if segments not in get_args(Segments):
            raise ValueError(f"lime: segments {segments!r}, expected {' or '.join(get_args(Segments))}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be used ({error}): compare experiments/figures.yaml.") from None
    return settings, plans


def _plan(entry: dict[str, Any]) -> Plan:
    columns = [tuple(column.split()) for column in entry["columns"]]
    if not columns or any(len(column) != 2 or column[0] not in get_args(Method) for column in columns):
        raise ValueError(f"a column is METHOD ROW, METHOD one of {', '.join(get_args(Method))}")
    least = {"balanced": 1, "pairs": 2}.get(entry["faces"])
    if least is None:
        raise ValueError(f"faces: {entry['faces']}, expected balanced or pairs")
    if not isinstance(entry["count"], int) or entry["count"] < least:
        raise ValueError(f"count: {entry['count']!r}, expected a number from {least}")
    if not is_plain_name(entry["name"]):
        raise ValueError(f"name: {entry['name']!r}, expected a name for a file")
    return Plan(**{**entry, "columns": columns})


def _check(path: Path, settings: dict[str, Any], plans: list[Plan], experiment: Experiment) -> None:
    """Make sure that the table has all that is asked for, before anything is trained.

    Raises:
        ConfigError: It has not.
    """
    rows = {row.name for row in experiment.rows}
    for plan in plans:
        if unknown := [name for _, name in plan.columns if name not in rows]:
            raise ConfigError(f"{path}, {plan.name}: no row {unknown[0]!r} in {settings['table']}.")
    for what, known in (("protocol", experiment.protocols), ("preset", experiment.presets)):
        if settings[what] not in known:
            raise ConfigError(f"{path}: no {what} {settings[what]!r} in {settings['table']}: {', '.join(known)}.")


def _chosen(plans: list[Plan], only: str | None) -> list[Plan]:
    by_name = {plan.name: plan for plan in plans}
    names = list(by_name) if only is None else [name.strip() for name in only.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--only names nothing. There are: {', '.join(by_name)}.")
    if unknown := [name for name in names if name not in by_name]:
        raise ConfigError(f"--only: there is no figure {unknown[0]!r}. There are: {', '.join(by_name)}.")
    return [by_name[name] for name in dict.fromkeys(names)]
