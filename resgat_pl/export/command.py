"""``resgat export``: a trained detector as one file that runs without this package's training code, checked."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.formats import stamp
from resgat_pl.core.path_checks import require_out_file
from resgat_pl.core.privacy import without_paths
from resgat_pl.core.storage import write_atomic
from resgat_pl.evaluation.detector import Detector
from resgat_pl.export.onnx_file import TOLERANCE, _apart, additivity, rewrite_properties
from resgat_pl.export.runtime import EXPORT_VERSION, EXTRA_FILE, OUTPUTS, ExportedDetector, ExportedOutput
from resgat_pl.nn.checkpoint_keys import PROVENANCE, RESGAT
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.safetensors_file import to_safetensors

Format = Literal["onnx", "torch", "safetensors"]
SUFFIX: Final[dict[Format, str]] = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}


def export(
    checkpoint: Path,
    out: Path,
    format: Format = "onnx",  # noqa: A002 - the option's name
    int8: bool = False,
    calibration: str | Path | None = None,
    samples: int = 128,
    tolerance: float = 0.005,
) -> str:
    """Write a trained detector as one file that runs without PyTorch, with its explanations: ONNX, float32 or int8.

    The file takes face crops (B, 3, S, S), float in [0, 1], RGB, for any B, and gives ``logit``, ``probability``, and
    the exact explanation: ``contribution`` of each node and ``bias``, which add up to the logit. It knows its
    thresholds, temperature, image size and the checkpoint's SHA-256. Run it with ``resgat_pl.export.runtime``:

      detector = ExportedDetector.load("detector.onnx"); found = detector(faces)

    Before anything is left at OUT, the file is run and compared with the checkpoint.

    The format safetensors is something else: the checkpoint itself without the optimiser's state, in a format that
    cannot hold code. Every command that takes a checkpoint takes it, except for going on with training.

    Args:
        checkpoint: Checkpoint of ``resgat fit``.
        out: File to write, ``.onnx`` or, of the other formats, ``.pt2`` and ``.safetensors``.
        format: ``onnx`` for ONNX Runtime and most other engines; ``torch`` for ``torch.export.load``, which needs torch
            but nothing of this package; ``safetensors`` for sending the checkpoint to others.
        int8: Compute the encoder in integers of 8 bits: a quarter of the size, and faster on CPUs. The graph attention
            and the head stay in float32, so contributions still add up. The ranges come from training crops; the loss
            of AUROC is measured on validation crops.
        calibration: Folder of the crops for int8; null takes those that the checkpoint was trained on.
        samples: Training crops to take the ranges from, as many real as fake.
        tolerance: Loss of AUROC over validation crops above which an int8 file is refused.

    Returns:
        What was written, and how far it agrees with the checkpoint.

    Raises:
        ConfigError: The options contradict each other, a package is missing, or the result does not agree.
        WeightsError: The checkpoint cannot be used.
        SplitError: There are no training or validation crops of both classes to calibrate and check int8 with.
    """
    out = Path(out)
    _check(out, format, int8, calibration, samples, tolerance)
    require_out_file(out, "OUT")
    if format == "onnx":
        require_packages()
    detector = Detector.load(checkpoint)
    if format == "safetensors":
        return _write_safetensors(detector, out)
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
            _write_onnx(program, path, properties)
        agreement = compare(net, ExportedDetector.load(path, trusted=True))
        agreement.require(out)
        lines = [f"float32 against the checkpoint: {agreement}"]
        if int8:
            lines += [quantise(detector, path, manifest, samples, tolerance, properties)]
        _write(out, path.read_bytes())
    return "\n".join([*lines, f"written: {out} ({out.stat().st_size / 1e6:.1f} MB, {properties['precision']})"])


def _write_safetensors(detector: Detector, out: Path) -> str:
    """Write the checkpoint itself as safetensors; read it back, and compare every tensor."""
    content = detector.checkpoint.take()
    if isinstance(content.get(PROVENANCE), dict):  # made to be sent to others, who need not know this machine's folders
        content[PROVENANCE] = {
            name: value if isinstance(value, Tensor) else without_paths(value)
            for name, value in content[PROVENANCE].items()
        }
    content[RESGAT] = without_paths(content[RESGAT])
    _write(out, to_safetensors(content))
    expected, found = detector.net.cpu().state_dict(), ResGAT.load(out).state_dict()
    if expected.keys() != found.keys() or not all(torch.equal(found[name], expected[name]) for name in expected):
        out.unlink()
        raise ConfigError(f"{out} was not kept: it does not hold what {detector.path} holds. Is the disk all right?")
    return f"written: {out} ({out.stat().st_size / 1e6:.1f} MB, all {len(found)} tensors as in the checkpoint)"


def _write(out: Path, data: bytes) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, data, durable=True)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written ({error.strerror}). Make room and give the same command again, or choose "
            "another file."
        ) from None


class ExportGraph(nn.Module):
    """What is exported: the prediction with its decomposition over nodes; what nobody reads is left out of the file."""

    def __init__(self, net: ResGAT) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``OUTPUTS`` of images ``(B, 3, S, S)`` float in [0, 1], RGB."""
        found = contributions(self.net, images)
        return found.output.logit, found.output.probability, found.node, found.bias


def trace(net: ResGAT) -> ExportedProgram:
    """The computation on images of the network's size and any number of them."""
    side = int(net.config["image_size"])
    # Two images: a size of 1 would be taken for a constant. Fitting the grid beforehand keeps its tables constants.
    example = torch.zeros(2, 3, side, side)
    with torch.no_grad():
        net(example)
    return torch.export.export(
        ExportGraph(net).eval(), (example,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=True
    )


@dataclass(frozen=True)
class Agreement:
    """Largest differences between a file and the checkpoint.

    Attributes:
        logit: Of the logits.
        contribution: Of the contributions and the bias.
        additivity: Between the file's own logit and the sum of its contributions and bias.
        scale: Largest logit, at least 1.
        images: Images that were compared.
    """

    logit: float
    contribution: float
    additivity: float
    scale: float
    images: int

    def __str__(self) -> str:
        return (
            f"largest difference of {self.images} images: logit {self.logit:.1e}, contribution "
            f"{self.contribution:.1e}; of the sum of contributions from the logit {self.additivity:.1e}"
        )

    def require(self, out: Path) -> None:
        """Refuse a file that says something else than the checkpoint.

        Raises:
            ConfigError: Gives the differences.
        """
        worst = float(np.max([self.logit, self.contribution, self.additivity]))  # NaN if one is
        if not worst <= TOLERANCE * self.scale:  # true of NaN as well
            raise ConfigError(
                f"{out} was not written: the exported detector does not agree with the checkpoint ({self}; allowed is "
                f"{TOLERANCE * self.scale:.1e}). Try the other --format, or other versions of torch and onnxruntime."
            )


def compare(net: ResGAT, exported: ExportedDetector) -> Agreement:
    """Run both on the same images: five and then one of them, since the number must not matter."""
    side, random = exported.image_size, torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 8, 8, generator=random)
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    noise = 0.1 * torch.rand(smooth.shape, generator=random)
    images = (0.9 * smooth + noise).clamp(0, 1)
    with torch.inference_mode():
        expected = ExportedOutput(*(values.numpy() for values in ExportGraph(net)(images)))
    found = exported(images.numpy())
    one = exported(images[:1].numpy())
    logit = float(np.max([_apart(found.logit, expected.logit), _apart(one.logit, expected.logit[:1])]))
    pairs = (
        (found.contribution, expected.contribution),
        (found.bias, expected.bias),
        (one.contribution, expected.contribution[:1]),
    )
    nodes = float(np.max([_apart(mine, theirs) for mine, theirs in pairs]))
    scale = max(1.0, float(np.abs(expected.logit).max()))
    return Agreement(logit, nodes, additivity(found), scale, len(images))


def _write_onnx(program: ExportedProgram, path: Path, properties: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's and onnxscript's own use of what they deprecate
        exported = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=list(OUTPUTS), verbose=False
        )
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    exported.save(path)
    rewrite_properties(path, properties)


def require_packages() -> None:
    """Make sure that what ONNX files need is there, before minutes are spent.

    Raises:
        ConfigError: Names the package that is missing.
    """
    for name in ("onnx", "onnxruntime", "onnxscript"):
        try:
            import_module(name)
        except ImportError:
            raise ConfigError(f'{name} is not installed: pip install "resgat-pl[export]"') from None


def _properties(detector: Detector) -> dict[str, Any]:
    config = detector.net.config
    lattice = detector.net.backbone.lattice(config["image_size"], config["image_size"])
    return {
        **stamp(EXPORT_VERSION),
        "checkpoint_sha256": hashlib.sha256(detector.path.read_bytes()).hexdigest(),
        "attention": config["attention"],
        "encoder": config["encoder"],
        "image_size": config["image_size"],
        "grid": list(lattice.shape),
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
) -> None:
    if kind not in SUFFIX:
        raise ConfigError(f"--format is {kind!r}; it must be {' or '.join(SUFFIX)}.")
    if out.suffix != SUFFIX[kind]:
        meant = next((name for name, suffix in SUFFIX.items() if out.suffix == suffix), None)
        hint = f" Or say --format {meant}." if meant else ""
        raise ConfigError(f"{out}: a file of the format {kind} must end in {SUFFIX[kind]}.{hint}")
    if int8 and kind != "onnx":
        raise ConfigError("--int8 is there for --format onnx only.")
    if calibration is not None and not int8:
        raise ConfigError("--calibration is for --int8 true: float32 needs no crops.")
    if samples < 2 or not 0 <= tolerance < 1:
        raise ConfigError(
            f"--samples is {samples} and --tolerance {tolerance}; they must be at least 2, and in [0, 1)."
        )
