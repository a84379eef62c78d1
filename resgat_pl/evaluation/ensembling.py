"""``resgat ensemble``: one checkpoint of several, with weights fitted on validation data."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from resgat_pl import __version__
from resgat_pl.core.errors import ConfigError, LeakageError, SplitError
from resgat_pl.core.formats import WRITER
from resgat_pl.core.output_tables import markdown_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import SplitProtocol
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.calibration import fit_temperature
from resgat_pl.evaluation.metrics.torch_metrics import DetectionMetrics
from resgat_pl.evaluation.predict import row_logits
from resgat_pl.evaluation.provenance import environment
from resgat_pl.evaluation.train_test_overlap import (
    REMEMBERED,
    hashes_to_store,
    link_hashes,
    video_hashes,
    videos_of,
)
from resgat_pl.nn.checkpoint_file import CHECKPOINT_VERSION
from resgat_pl.nn.checkpoint_keys import EPOCH, LIGHTNING, NET_PREFIX, PROVENANCE, RESGAT, STATE_DICT, STEP
from resgat_pl.nn.ensemble import Ensemble
from resgat_pl.nn.video.net import VideoResGAT

_CUT: Final = ("margin", "detector", "face_detector", "min_face", "max_side", "min_score")
"""Settings of an extraction that decide what is in a crop; the size does not, since crops are resized."""
_LEAST: Final = 1e-6
"""Weights below it are 0."""


_OVERLAY: Final = "Network of an ensemble: resgat test --config RUN/config.yaml --config THIS --ckpt_path ENSEMBLE.ckpt"


class _Fit(NamedTuple):
    """Weights, and what was chosen with them; None where nothing could be."""

    factors: list[float]
    temperatures: list[float]
    entry: dict[str, Any]
    auroc: list[float]
    notes: list[str]
    seen: Mapping[str, Tensor] = MappingProxyType({})
    """Hashes, by ``REMEMBERED``, of the videos on which it was chosen."""


def ensemble(
    members: list[str],
    out: Path,
    crops: Path | None = None,
    split: SplitProtocol | None = None,
    factors: list[float] | None = None,
    batch_size: int = 32,
    workers: int = 0,
) -> str:
    """Join checkpoints to one: logit = sum of w · logit / T over the members.

    The result is a checkpoint itself, for explain, cross, robustness, benchmark-explainers and export. With crops, the
    weights w ≥ 0 are fitted on their validation split (least log-loss, every video counts once), and thresholds and
    temperatures are chosen there; no member may have been trained on its videos. T is each member's own temperature, or
    one fitted there. Where the members are sums over nodes so is the ensemble: contributions are averaged by area on
    the grid of the member with the most nodes, and add up to its logit exactly. Members made for smaller images get
    them resized; members whose crops were cut in another way are refused, and so are ensembles.

    For test, validate and predict, which take a configuration, a file of the same name with .yaml is written beside it:
    resgat test --config RUN/config.yaml --config C.yaml --ckpt_path C.ckpt, with the run of any member.

    Args:
        members: Checkpoints of ``resgat fit``, two or more; NAME=PATH gives one a name.
        out: The checkpoint to write, a .ckpt file.
        crops: Folder that ``resgat extract`` made, with a validation split; null for equal weights.
        split: How the crops are divided; null takes the splits that the first member was trained under, or the
            manifest's.
        factors: Weights to take instead of fitting them, one a member.
        batch_size: Crops at once.
        workers: Loading processes.

    Returns:
        The members with their weights as Markdown.
    """
    if out.suffix != ".ckpt":
        raise ConfigError(f"--out {out} must end in .ckpt: it is a checkpoint that the other commands read.")
    detectors = _read(members)
    if factors is not None and len(factors) != len(detectors):
        raise ConfigError(f"--factors has {len(factors)} numbers for {len(detectors)} members.")
    _check_crops(detectors)
    if crops is None:
        fit = _unfitted(detectors, factors)
    else:
        fit = _fitted(detectors, crops, split, factors, batch_size, workers)
    # The network, and its checkpoint with what all members have seen.
    net = Ensemble(
        [detector.net.spec for detector in detectors.values()],
        fit.factors,
        fit.temperatures,
        list(detectors),
        max(detector.net.image_size for detector in detectors.values()),
    )
    for mine, detector in zip(net.members, detectors.values(), strict=True):
        mine.load_state_dict(detector.net.state_dict())
    content = {
        RESGAT: {"version": CHECKPOINT_VERSION, WRITER: __version__, "net": net.spec, **fit.entry},
        STATE_DICT: {f"{NET_PREFIX}{name}": value.cpu() for name, value in net.state_dict().items()},
        PROVENANCE: _provenance(detectors, fit),
        LIGHTNING: version("lightning"),  # without it, test does not take the file
        EPOCH: 0,
        STEP: 0,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, buffer.getvalue())
    # A member's losses are of its own parts, which an ensemble has not.
    unlearnt = {"losses": [], "mask_loss_weight": 0.0}
    overlay = {"net": net.spec, "data": {"image_size": net.image_size}, "model": unlearnt}
    write_atomic(out.with_suffix(".yaml"), f"# {_OVERLAY}\n{json.dumps(overlay, indent=1)}\n".encode())
    lines = [
        [
            name,
            f"{w:.3f}",
            f"{t:.2f}",
            "" if np.isnan(a) else f"{100 * a:.1f}",
            "yes" if d.net.has_contributions else "no",
        ]
        for (name, d), w, t, a in zip(detectors.items(), fit.factors, fit.temperatures, fit.auroc, strict=False)
    ]
    if len(fit.auroc) > len(lines):
        lines.append(["**ensemble**", "", "", f"{100 * fit.auroc[-1]:.1f}", "yes" if net.adds_up else "no"])
    head = ["member", "weight", "temperature", "validation AUROC per video, %", "contributions"]
    notes = [*fit.notes, *_left_out(detectors)]
    return "\n".join([markdown_table(head, lines), "", *(f"- {note}" for note in notes), f"Written: {out}"])


def fit_factors(
    logits: NDArray[np.float64], label: NDArray[np.int64], video: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Weights w ≥ 0 with the least log-loss of σ(Σ w_e x_e) on validation data.

    Every video weighs the same, and the targets are Platt's, as of ``metrics.calibration.fit_temperature``: the loss is
    convex and its least value is at finite weights. A member that adds nothing gets 0.

    Args:
        logits: ``(E, N)`` float64, x_e = z_e / T_e of the frames.
        label: ``(N,)`` int, 1 = fake.
        video: ``(N,)`` int, codes.

    Returns:
        ``(E,)`` float64; None where a class is missing, or where no member is better than guessing.

    Example:
        >>> x = np.array([[2.0, -2.0, 1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
        >>> float(fit_factors(x, np.array([1, 0, 1, 0]), np.arange(4))[1])
        0.0
    """
    fake = label == 1
    if not (fake.any() and (~fake).any()):
        return None
    code = np.unique(video, return_inverse=True)[1]
    weight = 1.0 / np.bincount(code)[code]
    target = np.where(fake, 1 - 1 / (weight[fake].sum() + 2), 1 / (weight[~fake].sum() + 2))

    def loss(factors: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = factors @ logits
        value = weight * (np.logaddexp(0, z) - target * z)
        return float(value.sum()), logits @ (weight * (expit(z) - target))

    start = np.zeros(len(logits))  # where a member stays that changes nothing
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(logits), tol=1e-12)
    factors = np.where(found.x < _LEAST, 0.0, found.x)
    return factors if factors.any() else None


def _read(members: Sequence[str]) -> dict[str, Detector]:
    """Detectors by name; the default name is that of the file, with as many folders as it takes to differ."""
    pairs = []
    for entry in members:
        name, sign, path = entry.partition("=")
        # a sign behind a slash belongs to the path
        pairs.append((name, Path(path)) if sign and "/" not in name else ("", Path(entry)))
    if len(pairs) < 2:
        raise ConfigError("An ensemble has two checkpoints or more: resgat ensemble A.ckpt B.ckpt --out C.ckpt")
    bare = [path for name, path in pairs if not name]
    depth = next((n for n in range(1, 20) if len({path.parts[-n:] for path in bare}) == len(bare)), 20)
    names = [name or "/".join(path.parts[-depth:]) for name, path in pairs]
    if len(set(names)) < len(names):
        raise ConfigError("A member is named twice: give each another name, NAME=PATH, and no checkpoint twice.")
    found = {name: Detector.load(path) for name, (_, path) in zip(names, pairs, strict=True)}
    for name, detector in found.items():
        if isinstance(detector.net, Ensemble):
            raise ConfigError(f"{name} is an ensemble itself: name its members instead.")
        if isinstance(detector.net, VideoResGAT):
            raise ConfigError(f"{name} holds a VideoResGAT, which judges clips: members judge single crops.")
    return found


def _check_crops(detectors: Mapping[str, Detector]) -> None:
    """Refuse members that expect other crops: a face is cut out once, for all of them."""
    first: tuple[str, dict[str, Any]] | None = None
    for name, detector in detectors.items():
        spec = ((detector.provenance or {}).get("data") or {}).get("extraction")
        if not spec:
            continue  # unknown, and assumed to be like the others
        mine = {key: spec[key] for key in _CUT if key in spec}
        if first is None:
            first = name, mine
        different = [
            f"{key} {first[1].get(key)} and {mine.get(key)}" for key in _CUT if first[1].get(key) != mine.get(key)
        ]
        if different:
            raise ConfigError(
                f"{first[0]} and {name} were trained on crops that were cut out differently ({'; '.join(different)}), "
                "and a face is cut out once for all members: train them on crops of one kind."
            )


def _left_out(detectors: Mapping[str, Detector]) -> list[str]:
    """Sentences on what members say beside the logit, which an ensemble does not."""
    parts = {"outputs": "kinds and regions (net.outputs)", "node_gate": "a mask (net.mask_head)"}
    return [
        f"{name} has {what}, which the ensemble has not: explain this member for them."
        for name, detector in detectors.items()
        for part, what in parts.items()
        if getattr(detector.net, part, None) is not None
    ]


def _unfitted(detectors: Mapping[str, Detector], factors: list[float] | None) -> _Fit:
    count = len(detectors)
    temperatures = [detector.temperatures["frame"] or 1.0 for detector in detectors.values()]
    note = "Weights as given" if factors else "Equal weights"
    note += ": without --crops nothing was fitted, and the threshold is 0.5, uncalibrated."
    entry = {"thresholds": None, "temperature": None, "video_temperature": None, "validation": None}
    return _Fit(factors or [1 / count] * count, temperatures, entry, [np.nan] * count, [note])


def _fitted(
    detectors: Mapping[str, Detector],
    crops: Path,
    split: SplitProtocol | None,
    factors: list[float] | None,
    batch_size: int,
    workers: int,
) -> _Fit:
    first, *_ = detectors.values()
    manifest = first.manifest(crops, split)
    rows = manifest.rows_of("val")
    if not len(rows):
        raise SplitError(f"{crops} has no validation split to fit the weights on: choose a protocol with --split.")
    for name, detector in detectors.items():
        _check_untrained(name, detector, manifest)
    label, video = manifest.column("label")[rows].astype(np.int64), manifest.video_codes[rows]
    frames = ~manifest.untouched[rows]
    logits = np.stack(
        [
            row_logits(detector, FaceCrops(manifest, rows, detector.net.image_size), batch_size, workers, name)
            .double()
            .numpy()
            for name, detector in detectors.items()
        ]
    )
    temperatures = [
        detector.temperatures["frame"] or fit_temperature(z[frames], label[frames], video[frames]) or 1.0
        for detector, z in zip(detectors.values(), logits, strict=True)
    ]
    scaled = logits / np.array(temperatures)[:, None]
    notes: list[str] = []
    if factors is None:
        found = fit_factors(scaled[:, frames], label[frames], video[frames])
        factors = [1 / len(detectors)] * len(detectors) if found is None else found.tolist()
        notes += ["Equal weights: validation has one class only, or no member is better than guessing."] * (
            found is None
        )
    notes += [
        f"{name} has the weight 0: on validation it adds nothing to the others, or misleads."
        for name, w in zip(detectors, factors, strict=True)
        if not w
    ]
    joint = np.array(factors) @ scaled
    levels = _levels(joint, manifest, rows)
    chosen = {level: metric.best_threshold for level, metric in levels.items()}
    validation = levels["video"].validation
    entry = {
        "thresholds": {level: value for level, value in chosen.items() if value is not None} or None,
        "temperature": levels["frame"].temperature,
        "video_temperature": levels["video"].temperature,
        "validation": None if validation is None else validation.plain(),
    }
    auroc = [float(_levels(z, manifest, rows)["video"].compute()["video_auroc"]) for z in (*scaled, joint)]
    notes += [
        f"{name} does not list what it was trained on: it may know these videos, and then gets too much weight."
        for name, detector in detectors.items()
        if not isinstance((detector.provenance or {}).get("train_videos"), Tensor)
    ]
    notes.append(f"Fitted on the validation split of {crops}, so these AUROCs flatter the ensemble: test it on others.")
    seen = {name: hashes for name, hashes in hashes_to_store(manifest).items() if name.startswith("val")}
    return _Fit(factors, temperatures, entry, auroc, notes, seen)


def _levels(logits: NDArray[np.float64], manifest: Manifest, rows: NDArray[np.int64]) -> dict[str, DetectionMetrics]:
    """The metrics of training, fed with the logits of rows."""
    columns = (
        torch.from_numpy(np.ascontiguousarray(values))
        for values in (
            manifest.column("label")[rows].astype(np.float32),
            rows,
            manifest.video_codes[rows],
            manifest.track_codes[rows],
            manifest.untouched[rows],
        )
    )
    given = (torch.from_numpy(logits).float(), *columns)
    levels = {"frame": DetectionMetrics("frame"), "video": DetectionMetrics("video")}
    for metric in levels.values():
        metric.update(*given)
        metric.compute()  # sets threshold and temperature
    return levels


def _check_untrained(name: str, detector: Detector, manifest: Manifest) -> None:
    """Refuse to fit weights on videos that a member was trained on: it would get too much of them."""
    stored = detector.provenance or {}
    videos = videos_of(manifest, "val")
    for key, hashes in (("train_videos", video_hashes([v.key for v in videos])), ("train_links", link_hashes(videos))):
        seen = stored.get(key)
        if isinstance(seen, Tensor) and bool(torch.isin(hashes, seen).any()):
            raise LeakageError(
                f"{name} was trained on videos of the validation split of {manifest.folder}, or on people or originals "
                "in them: fit the weights on videos that no member was trained on, or give --factors."
            )


def _provenance(detectors: Mapping[str, Detector], fit: _Fit) -> dict[str, Any]:
    """Provenance of all members: hashes of the videos that any has seen, left out where one does not list its own.

    The videos that weights and thresholds were chosen on are among those of the validation.
    """
    stored = [detector.provenance or {} for detector in detectors.values()]
    found: dict[str, Any] = {
        **environment(),
        "config": "",
        "leaky": sorted({str(kind) for each in stored for kind in each.get("leaky", ())}),
        "members": [
            {"name": name, "sha256": detector.checkpoint.fingerprint, "weight": w, "temperature": t}
            for (name, detector), w, t in zip(detectors.items(), fit.factors, fit.temperatures, strict=True)
        ],
    }
    if any(each.get("incomplete") for each in stored):
        found["incomplete"] = True
    for key in REMEMBERED:
        tables = [each.get(key) for each in stored]
        if all(isinstance(table, Tensor) for table in tables):
            known = [table for table in tables if isinstance(table, Tensor)]
            known += [fit.seen[key]] if key in fit.seen else []
            found[key] = torch.unique(torch.cat(known))
    if data := [each["data"] for each in stored if each.get("data")]:
        found["data"] = _joined(data)
    return found


def _joined(data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The training data of the first member, with the data sets of the others."""
    first = dict(data[0])
    same = all(
        (each.get("manifest"), each.get("splits")) == (first.get("manifest"), first.get("splits")) for each in data
    )
    if same:
        return first
    sets: list[Any] = []
    for each in data:
        sets += [entry for entry in each.get("sets") or [] if entry not in sets]
    # No manifest is that of all: a test takes the splits of its own manifest.
    first |= {"manifest": "", "splits": "", "protocol": {}, "counts": {}, "sets": sets}
    first["people_unknown"] = {k: v for each in data for k, v in (each.get("people_unknown") or {}).items()}
    return first
