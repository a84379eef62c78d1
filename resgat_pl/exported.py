"""Running an exported detector: numpy in, numpy out, and for ``.onnx`` files without torch.

What is needed is this package without its dependencies, ``numpy`` and ``onnxruntime``; ``resgat_pl.exporting``
writes the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.errors import ConfigError, WeightsError
from resgat_pl.versions import WRITER, check_version

Floats = NDArray[np.float32]
OUTPUTS: Final = ("logit", "probability", "contribution", "bias")
EXPORT_VERSION: Final = 1
"""Format of the properties; files of before it had a number are the same without it."""
EXTRA_FILE: Final = "resgat.json"
"""Where a ``.pt2`` file keeps the properties that an ``.onnx`` file has in ``metadata_props``."""


class ExportedOutput(NamedTuple):
    """What an exported detector says of B images; ``contribution.sum(1) + bias`` is ``logit``, to float precision.

    Attributes:
        logit: ``(B,)`` float32; positive means fake.
        probability: ``(B,)`` float32 in [0, 1], the sigmoid of ``logit``, which the thresholds are meant for.
        contribution: ``(B, N)`` float32 in logits, what each node brings, positive towards fake; nodes are numbered
            row by row from the top left, so ``contribution.reshape(B, *detector.grid)`` is a map.
        bias: ``(B,)`` float32, the logit of no evidence at all.
    """

    logit: Floats
    probability: Floats
    contribution: Floats
    bias: Floats


class ExportedDetector:
    """A detector in a file of ``resgat export``.

    Example:
        >>> detector = ExportedDetector.load("detector.onnx")  # doctest: +SKIP
        >>> found = detector(faces)  # doctest: +SKIP
        >>> fake = found.probability > detector.threshold  # doctest: +SKIP
        >>> maps = found.contribution.reshape(-1, *detector.grid)  # doctest: +SKIP

    Args:
        run: Takes images ``(B, 3, S, S)`` float32 and returns the arrays of ``OUTPUTS``.
        properties: What the file says of itself.

    Attributes:
        properties: ``attention``, ``checkpoint_sha256``, ``classes`` (of the labels 0 and 1), ``encoder``, ``grid``,
            ``image_size``, ``precision`` (``float32`` or ``int8``), ``resgat_pl`` (the version that wrote it),
            ``schema`` (``EXPORT_VERSION``), ``temperature`` (of single images), ``video_temperature``,
            ``thresholds`` (by level, null where none was chosen), ``validation`` (the videos all were chosen on) and,
            of int8, ``calibration``.
    """

    def __init__(self, run: Callable[[Floats], list[Floats]], properties: Mapping[str, Any]) -> None:
        self._run = run
        self.properties = dict(properties)

    @classmethod
    def load(cls, path: str | Path, threads: int | None = None, trusted: bool = False) -> ExportedDetector:
        """Open a file of ``resgat export``, to run on the CPU.

        Args:
            path: An ``.onnx`` file (runs in ONNX Runtime) or a ``.pt2`` file (runs in torch).
            threads: Threads of one ONNX session; None takes one a core. torch has ``torch.set_num_threads``.

            trusted: Also load a ``.pt2`` file, which can run code: give True for your own only.

        Raises:
            WeightsError: The file is missing, damaged, not of ``resgat export``, or a ``.pt2`` file and not trusted.
            ConfigError: ONNX Runtime is not installed, or ``threads`` is less than 1.
        """
        path = Path(path)
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}; it must be at least 1, or None for one a core.")
        if not path.is_file():
            raise WeightsError(f"There is no exported detector {path}: check the path, or make it with resgat export.")
        if path.suffix not in {".onnx", ".pt2"}:
            raise WeightsError(f"{path} is no exported detector: give an .onnx or .pt2 file of resgat export.")
        if path.suffix == ".pt2" and not trusted:  # torch unpickles parts of it, and evaluates expressions in others
            raise WeightsError(
                f"{path} was not opened: torch runs whatever code is in a .pt2 file. If you made it yourself, say "
                "trusted=True; otherwise ask for the detector as .onnx or .safetensors, which hold no code."
            )
        run, properties = _load_onnx(path, threads) if path.suffix == ".onnx" else _load_torch(path)
        if "image_size" not in properties:
            raise WeightsError(f"{path} was not written by resgat export: it does not say which images it takes.")
        again = "Make it again with resgat export."
        number, writer = properties.get("schema", EXPORT_VERSION), properties.get(WRITER)
        check_version(number, EXPORT_VERSION, path, WeightsError, again=again, writer=writer)
        return cls(run, properties)

    @property
    def image_size(self) -> int:
        """Side in px of the images."""
        return int(self.properties["image_size"])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of nodes."""
        rows, columns = self.properties["grid"]
        return int(rows), int(columns)

    @property
    def threshold(self) -> float:
        """Probability of a single image above which it counts as fake: validation's best, else 0.5."""
        return float((self.properties["thresholds"] or {}).get("frame", 0.5))

    def __call__(self, images: NDArray[np.floating]) -> ExportedOutput:
        """Judge face crops.

        Args:
            images: ``(B, 3, S, S)`` float in [0, 1], RGB, with S = ``image_size``; any B of at least 1.

        Raises:
            ConfigError: The images have another shape, type or range.
        """
        side = self.image_size
        wanted = f"The detector takes images (B, 3, {side}, {side}), float in [0, 1], RGB"
        if images.ndim != 4 or images.shape[1:] != (3, side, side) or not len(images):
            raise ConfigError(f"{wanted}; it got the shape {tuple(images.shape)}. Resize the faces first.")
        if not np.issubdtype(images.dtype, np.floating):
            raise ConfigError(f"{wanted}; it got {images.dtype}. Divide bytes by 255.")
        if not (images.min() >= 0 and images.max() <= 1):  # false of NaN as well
            raise ConfigError(f"{wanted}; it got values from {images.min():g} to {images.max():g}.")
        return ExportedOutput(*self._run(np.ascontiguousarray(images, dtype=np.float32)))

    def calibrated(self, logit: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities, the sigmoid of logit / temperature; uncalibrated where there is no temperature.

        Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
        """
        half = np.asarray(logit, np.float64) / (2 * (self.properties["temperature"] or 1.0))
        chance: NDArray[np.float64] = (1 + np.tanh(half)) / 2  # the sigmoid, without overflow
        return chance


def _load_onnx(path: Path, threads: int | None) -> tuple[Callable[[Floats], list[Floats]], dict[str, Any]]:
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError('ONNX Runtime is not installed: pip install "resgat-pl[export]"') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # its warnings are about its own optimisations
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise WeightsError(f"{path} cannot be read: {error}") from None
    properties = read_properties(session.get_modelmeta().custom_metadata_map)

    def run(images: Floats) -> list[Floats]:
        arrays: list[Floats] = session.run(list(OUTPUTS), {"images": images})
        return arrays

    return run, properties


def _load_torch(path: Path) -> tuple[Callable[[Floats], list[Floats]], dict[str, Any]]:
    import torch

    extra = {EXTRA_FILE: ""}
    try:
        module = torch.export.load(path, extra_files=extra).module()
    except Exception as error:  # of the zip file, of pickle, of torch: whatever is wrong with it
        raise WeightsError(f"{path} cannot be read: {type(error).__name__}: {error}") from None

    @torch.inference_mode()
    def run(images: Floats) -> list[Floats]:
        return [values.numpy() for values in module(torch.from_numpy(images))]

    return run, json.loads(extra[EXTRA_FILE] or "{}")


def read_properties(stored: Mapping[str, str]) -> dict[str, Any]:
    """Properties from the JSON values of ``metadata_props``; what others wrote there is left out."""
    properties = {}
    for name, value in stored.items():
        try:
            properties[name] = json.loads(value)
        except ValueError:
            continue
    return properties
