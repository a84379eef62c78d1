"""``resgat export``: a trained detector as one file that runs without this package's training code, checked."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, cast

import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.formats import stamp
from resgat_pl.core.parts import class_path
from resgat_pl.core.path_checks import require_out_file
from resgat_pl.core.storage import write_atomic
from resgat_pl.evaluation.detector import Detector
from resgat_pl.export.graph import compare, trace, write_onnx
from resgat_pl.export.runtime import EXPORT_VERSION, EXTRA_FILE, ExportedDetector
from resgat_pl.nn.nets import load_net
from resgat_pl.nn.safetensors_file import portable, to_safetensors
from resgat_pl.nn.video.net import VideoResGAT

Format = Literal["onnx", "torch", "safetensors", "hub"]
SUFFIX: Final[dict[Format, str]] = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors", "hub": ""}


def export(
    ckpt_path: Path,
    out: Path,
    format: Format = "onnx",  # noqa: A002 - the option's name
    int8: bool = False,
    calibration: str | Path | None = None,
    samples: int = 128,
    tolerance: float = 0.005,
    results: str | None = None,
) -> str:
    """Write a trained detector as one file that runs without PyTorch, with its explanations: ONNX, float32 or int8.

    The file takes face crops (B, 3, S, S), float in [0, 1], RGB, for any B, and gives ``logit``, ``probability``, and
    of a ResGAT the exact explanation: ``contribution`` of each node and ``bias``, which add up to the logit. It knows
    its thresholds, temperature, image size and the checkpoint's SHA-256. Run it with ``resgat_pl.export.runtime``:

      detector = ExportedDetector.load("detector.onnx"); found = detector(faces)

    Before anything is left at --out, the file is run and compared with the checkpoint.

    The format safetensors is something else: the checkpoint itself without the optimiser's state, in a format that
    cannot hold code. Every command that takes a checkpoint takes it, except for going on with training.

    The format hub is a folder with the same content, as models are shared on the Hugging Face hub: config.json,
    model.safetensors (without the encoder's weights where these are not trained and can be had elsewhere) and a model
    card with the results of resgat test. Every command takes such a folder, or hf://owner/name, as --ckpt_path.

    Args:
        ckpt_path: Checkpoint of ``resgat fit``.
        out: File to write, ``.onnx`` or, of the other formats, ``.pt2`` and ``.safetensors``; of hub, a folder.
        format: ``onnx`` for ONNX Runtime and most other engines; ``torch`` for ``torch.export.load``, which needs torch
            but nothing of this package; ``safetensors`` for sending the checkpoint to others; ``hub`` for that, too.
        int8: Compute the encoder in integers of 8 bits: a quarter of the size, and faster on CPUs. The graph attention
            and the head stay in float32, so contributions still add up. The ranges come from training crops; the loss
            of AUROC is measured on validation crops.
        calibration: Folder of the crops for int8; null takes those that the checkpoint was trained on.
        samples: Training crops to take the ranges from, as many real as fake.
        tolerance: Loss of AUROC over validation crops above which an int8 file is refused.
        results: For the model card of hub: results.json, cross.json and robustness.json, separated by commas; null
            takes each results.json of this checkpoint in the folder of its run.

    Returns:
        What was written, and how far it agrees with the checkpoint.

    Raises:
        ConfigError: The options contradict each other, a package is missing, or the result does not agree.
        WeightsError: The checkpoint cannot be used.
        SplitError: There are no training or validation crops of both classes to calibrate and check int8 with.
        ManifestError: ``results`` names a file that holds none.
    """
    out = Path(out)
    _check(out, format, int8, calibration, samples, tolerance, results)
    if format == "hub":
        from resgat_pl.export.hub import export_hub

        return export_hub(ckpt_path, out, results)
    require_out_file(out, "--out")
    if format == "onnx":
        require_packages()
    detector = Detector.load(ckpt_path)
    if format == "safetensors":
        return _write_safetensors(detector, out)
    if isinstance(detector.net, VideoResGAT):
        raise ConfigError(
            f"--format {format} writes detectors of single crops, and {ckpt_path} holds a VideoResGAT, which judges "
            "clips: take safetensors or hub, or export the detector of frames that it was started from."
        )
    net = detector.net.cpu()
    if int8:
        from resgat_pl.export.int8 import calibration_manifest, quantise

        manifest = calibration_manifest(detector, calibration)
    properties = {**_properties(detector), "precision": "int8" if int8 else "float32"}
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"detector{SUFFIX[format]}"
        program = trace(net)
        if format == "torch":
            torch.export.save(program, path, extra_files={EXTRA_FILE: json.dumps(properties)})
        else:
            write_onnx(program, path, properties)
        agreement = compare(net, ExportedDetector.load(path, trusted=True))
        agreement.require(out)
        lines = [f"float32 against the checkpoint: {agreement}"]
        if int8:
            lines += [quantise(detector, path, manifest, samples, tolerance, properties)]
        _write(out, path.read_bytes())
    return "\n".join([*lines, f"written: {out} ({out.stat().st_size / 1e6:.1f} MB, {properties['precision']})"])


def _write_safetensors(detector: Detector, out: Path) -> str:
    """Write the checkpoint itself as safetensors; read it back, and compare every tensor."""
    _write(out, to_safetensors(portable(detector.checkpoint.take())))
    expected, found = detector.net.cpu().state_dict(), load_net(out).state_dict()
    if expected.keys() != found.keys() or not all(torch.equal(found[name], expected[name]) for name in expected):
        out.unlink()
        raise ConfigError(f"{out} was removed: it does not hold what {detector.path} holds. Is the disk all right?")
    return f"written: {out} ({out.stat().st_size / 1e6:.1f} MB, all {len(found)} tensors as in the checkpoint)"


def _write(out: Path, data: bytes) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, data)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written ({error.strerror}). Free some space and give the same command again, or choose "
            "another file."
        ) from None


def require_packages() -> None:
    """Make sure that the packages for ONNX files are installed, before minutes are spent.

    Raises:
        ConfigError: Names the package that is missing.
    """
    for name in ("onnx", "onnxruntime", "onnxscript"):
        try:
            import_module(name)
        except ImportError:
            raise ConfigError(f'{name} is not installed: pip install "resgat-pl[export]"') from None


def _properties(detector: Detector) -> dict[str, Any]:
    net, config = detector.net, detector.net.config
    lattice = net.lattice(net.image_size, net.image_size)
    return {
        **stamp(1 if net.has_contributions else EXPORT_VERSION),
        "net": class_path(type(net)),
        "checkpoint_sha256": detector.checkpoint.fingerprint,
        "attention": config.get("attention"),
        "encoder": config.get("encoder"),
        "image_size": net.image_size,
        "grid": list(lattice.shape) if net.has_contributions else [0, 0],
        "centres": {"rows": lattice.rows, "columns": lattice.columns},
        "classes": ["real", "fake"],
        "thresholds": cast("dict[str, float] | None", detector.thresholds),
        "temperature": detector.temperatures["frame"],
        "video_temperature": detector.temperatures["video"],
        "validation": None if detector.validation is None else detector.validation.plain(),
    }


def _check(
    out: Path,
    kind: Format,
    int8: bool,
    calibration: str | Path | None,
    samples: int,
    tolerance: float,
    results: str | None,
) -> None:
    if kind not in SUFFIX:
        raise ConfigError(f"--format is {kind!r}; it must be {' or '.join(SUFFIX)}.")
    if (out.suffix != SUFFIX[kind]) if SUFFIX[kind] else (out.suffix in set(SUFFIX.values()) - {""}):
        meant = next((name for name, suffix in SUFFIX.items() if out.suffix == suffix), None)
        hint = f" Or say --format {meant}." if meant else ""
        needed = f"a file of the format {kind} must end in {SUFFIX[kind]}" if SUFFIX[kind] else "hub writes a folder"
        raise ConfigError(f"{out}: {needed}.{hint}")
    if results is not None and kind != "hub":
        raise ConfigError("--results is there for --format hub only: other files have no model card.")
    if int8 and kind != "onnx":
        raise ConfigError("--int8 is there for --format onnx only.")
    if calibration is not None and not int8:
        raise ConfigError("--calibration is for --int8 true: float32 needs no crops.")
    if samples < 2 or not 0 <= tolerance < 1:
        raise ConfigError(
            f"--samples is {samples} and --tolerance {tolerance}; they must be at least 2, and in [0, 1)."
        )
