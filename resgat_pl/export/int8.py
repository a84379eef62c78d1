"""Static quantisation of an exported detector's encoder to int8, and what it costs in AUROC.

Weights get one scale per channel, activations one per tensor, from the ranges seen on training crops (Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.storage import locate
from resgat_pl.core.types import FAKE, REAL, Split
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.class_counts import check_splits
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.binary import measure
from resgat_pl.evaluation.metrics.calibration import calibrated
from resgat_pl.export.graph import TOLERANCE, additivity, rewrite_properties
from resgat_pl.export.runtime import ExportedDetector, Floats

QUANTISED: Final = ("Conv", "Relu", "Clip", "Add", "MaxPool")
CHECKED: Final = 2048
"""Most validation crops on which AUROC is compared."""
_BATCH: Final = 16  # crops at once


def calibration_manifest(detector: Detector, crops: str | Path | None) -> Manifest:
    """The crops to take ranges from and to check AUROC on.

    Args:
        detector: The checkpoint.
        crops: Their folder; None takes those that the checkpoint was trained on.

    Raises:
        ManifestError: There is no manifest.
        SplitError: The training or validation split lacks a class.
    """
    manifest = detector.manifest(locate(crops or detector.data["crops"]))
    check_splits(manifest.counts(), ["train", "val"])
    return manifest


def quantise(
    detector: Detector,
    path: Path,
    manifest: Manifest,
    samples: int,
    tolerance: float,
    properties: dict[str, Any],
) -> str:
    """Replace an exported float32 detector by its int8 version.

    Args:
        detector: The checkpoint.
        path: The ``.onnx`` file.
        manifest: From ``calibration_manifest``.
        samples: Training crops to take ranges from.
        tolerance: Loss of AUROC that is allowed.
        properties: Of the file; the description of the calibration is added.

    Returns:
        A sentence on how well they agree.

    Raises:
        ConfigError: AUROC falls by more than ``tolerance``, or contributions do not add up.
    """
    taken = _choose(manifest, "train", samples)
    to_int8(path, batches(manifest, taken, detector.net.image_size))
    properties["calibration"] = {
        "manifest": manifest.fingerprint(),
        "splits": manifest.split_fingerprint(),
        "crops": len(taken),
    }
    rewrite_properties(path, properties)
    return _judge(detector, ExportedDetector.load(path), manifest, tolerance)


def to_int8(path: Path, images: Iterator[Floats]) -> None:
    """Make the encoder of an exported ``.onnx`` file int8, in place.

    Args:
        path: The file.
        images: Batches ``(b, 3, S, S)`` float32 in [0, 1] to take the ranges from.

    Raises:
        ConfigError: There is no convolution.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    nodes = encoder_nodes(onnx.load(path))
    if not nodes:  # ONNX Runtime would take all
        raise ConfigError("int8 is for convolutions, and this detector has none: use float32.")
    feeds = ({"images": batch} for batch in images)
    with _quiet():
        quantize_static(
            path,
            path,
            SimpleNamespace(get_next=lambda: next(feeds, None)),  # a CalibrationDataReader
            quant_format=QuantFormat.QDQ,
            # Unsigned activations are the fast ones on x86. Without VNNI instructions (AVX2) two of their products
            # with 8-bit weights can overflow the 16 bits they are summed in: weights of 7 bits cannot.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_quantize=nodes,
        )


def encoder_nodes(model: Any) -> list[str]:
    """Names of an ``onnx.ModelProto``'s nodes that become int8: ``QUANTISED`` ones that lead to a convolution.

    Behind the last convolution everything stays float32: the attention, whose softmax magnifies errors, and the head,
    so that contributions add up to the logit exactly as before.
    """
    leads = set()
    wanted: set[str] = set()
    for node in reversed(model.graph.node):  # in topological order
        if node.op_type == "Conv" or wanted.intersection(node.output):
            leads.add(node.name)
            wanted.update(node.input)
    return [node.name for node in model.graph.node if node.name in leads and node.op_type in QUANTISED]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence advice to do what torch's exporter has done already, and a division without effect.

    A range is also computed for the attention scores that are masked with −∞, and not used.
    """
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            yield
    finally:
        root.setLevel(before)


def batches(manifest: Manifest, rows: NDArray[np.int64], size: int) -> Iterator[Floats]:
    """Images ``(b, 3, size, size)`` float32 in [0, 1] of rows of a manifest."""
    faces = FaceCrops(manifest, rows, size)
    for start in range(0, len(rows), _BATCH):
        chosen = range(start, min(start + _BATCH, len(rows)))
        yield np.stack([faces[index]["image"].numpy() for index in chosen]).astype(np.float32) / np.float32(255)


def _choose(manifest: Manifest, split: Split, count: int) -> NDArray[np.int64]:
    """Up to ``count`` rows of a split, half of either class where there are enough, spread over the whole of it."""
    members = manifest.column("split") == split
    parts = []
    for label in (REAL, FAKE):
        rows = np.flatnonzero(members & (manifest.column("label") == label) & ~manifest.untouched)
        wanted = min(-(-count // 2), len(rows))
        parts.append(rows[np.linspace(0, len(rows) - 1, wanted).astype(np.int64)])
    return np.sort(np.concatenate(parts)).astype(np.int64)


def _judge(detector: Detector, exported: ExportedDetector, manifest: Manifest, tolerance: float) -> str:
    rows = _choose(manifest, "val", CHECKED)
    label = manifest.column("label")[rows].astype(np.int64)
    eager: list[Floats] = []
    integer: list[Floats] = []
    apart = 0.0
    for images in batches(manifest, rows, exported.image_size):
        with torch.inference_mode():
            eager.append(detector.net(torch.from_numpy(images)).logit.numpy())
        found = exported(images)
        integer.append(found.logit)
        apart = float(np.maximum(apart, additivity(found) / max(1.0, float(np.abs(found.logit).max()))))
    first, second = np.concatenate(eager), np.concatenate(integer)
    before, after = (measure(calibrated(logits, None), label)["auroc"] for logits in (first, second))
    text = (
        f"int8 against the checkpoint, {len(rows):,} validation crops: AUROC {after:.4f} instead of {before:.4f} "
        f"({after - before:+.4f}); largest difference of a logit {np.abs(first - second).max():.2f}"
    )
    if not before - after <= tolerance or not apart <= TOLERANCE:
        raise ConfigError(
            f"Nothing was written: the int8 detector is not good enough. {text}; a loss of {tolerance} is allowed "
            f"(--tolerance). More training crops for the ranges (--samples) can help, or use float32."
        )
    return text
