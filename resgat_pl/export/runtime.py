"""Running an exported detector: numpy in, numpy out, and for ``.onnx`` files without torch.

It needs this package without its dependencies, ``numpy`` and ``onnxruntime``; ``resgat_pl.export.command`` writes the
files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.formats import WRITER, check_version

Floats = NDArray[np.float32]
OUTPUTS: Final = ("logit", "probability", "contribution", "bias")
"""Arrays that a file gives; of a detector without contributions the first two."""
EXPORT_VERSION: Final = 2
"""Newest format. Files with contributions have 1, or no number; those without have 2."""
EXTRA_FILE: Final = "resgat.json"
"""Name in a ``.pt2`` file of the properties that an ``.onnx`` file has in ``metadata_props``."""
Provider = str | tuple[str, Mapping[str, Any]]
"""Name of an execution provider of ONNX Runtime, alone or with its options."""
_CPU: Final = "CPUExecutionProvider"
_MOST_THREADS: Final = 1024
"""ONNX Runtime starts any number: with a million it would never answer."""


class ExportedOutput(NamedTuple):
    """Outputs for B images; ``contribution.sum(1) + bias`` is ``logit``, to float precision.

    Attributes:
        logit: ``(B,)`` float32; positive means fake.
        probability: ``(B,)`` float32 in [0, 1], the sigmoid of ``logit``, to which the thresholds apply.
        contribution: ``(B, N)`` float32 in logits, the contribution of each node, positive towards fake; nodes are
            numbered row by row from the top left, so ``contribution.reshape(B, *detector.grid)`` is a map. N is 0 of a
            detector without contributions.
        bias: ``(B,)`` float32, the logit without any node.

    Example:
        >>> one = np.ones(2, np.float32)
        >>> ExportedOutput(one, one / 2, np.ones((2, 4), np.float32), -3 * one).contribution.sum(1)
        array([4., 4.], dtype=float32)
    """

    logit: Floats
    probability: Floats
    contribution: Floats
    bias: Floats

    @classmethod
    def of(cls, arrays: Sequence[Floats]) -> ExportedOutput:
        """The output from a file's arrays; without contributions the whole logit is bias."""
        if len(arrays) == len(OUTPUTS):
            return cls(*arrays)
        logit, probability = arrays
        return cls(logit, probability, np.zeros((len(logit), 0), np.float32), logit)


class ExportedDetector:
    """A detector in a file of ``resgat export``.

    It can be copied, pickled and sent to other processes, which open the same file again, once in each process.

    Example:
        >>> def run(images):  # stands for a file, which ``ExportedDetector.load("detector.onnx")`` opens
        ...     count = len(images)
        ...     return [np.float32(values) for values in (
        ...         np.zeros(count), np.full(count, 0.5), np.zeros((count, 4)), np.zeros(count))]
        >>> detector = ExportedDetector(run, {"image_size": 64, "grid": [2, 2]})
        >>> found = detector(np.zeros((3, 3, 64, 64), np.float32))
        >>> found.probability
        array([0.5, 0.5, 0.5], dtype=float32)
        >>> found.contribution.reshape(-1, *detector.grid).shape
        (3, 2, 2)

    Args:
        run: Takes images ``(B, 3, S, S)`` float32 and returns the arrays of ``OUTPUTS``.
        properties: Description of the detector, from the file.

    Attributes:
        properties: ``attention``, ``checkpoint_sha256``, ``classes`` (of the labels 0 and 1), ``encoder``, ``grid``,
            ``image_size``, ``net`` (class of the detector, except in files of earlier versions), ``precision``
            (``float32`` or ``int8``), ``resgat_pl`` (the version that wrote it), ``schema`` (``EXPORT_VERSION``),
            ``temperature`` (of single images), ``video_temperature``, ``thresholds`` (by level, null where none was
            chosen), ``validation`` (the videos all were chosen on), of int8 ``calibration``, and ``centres`` except in
            files of earlier versions.
    """

    def __init__(self, run: Callable[[Floats], list[Floats]], properties: Mapping[str, Any]) -> None:
        self._run = run
        self.properties = dict(properties)

    @classmethod
    def load(
        cls,
        path: str | Path,
        threads: int | None = None,
        trusted: bool = False,
        providers: str | Sequence[Provider] | None = None,
    ) -> ExportedDetector:
        """Open a file of ``resgat export``.

        Args:
            path: An ``.onnx`` file (runs in ONNX Runtime) or a ``.pt2`` file (runs in torch, on the CPU).
            threads: Threads of one ONNX session; None takes one per core. torch has ``torch.set_num_threads``.
            trusted: Also load a ``.pt2`` file, which can run code: give True for your own only.
            providers: Execution providers of ONNX Runtime, the preferred first, such as ``CUDAExecutionProvider``,
                alone or with options; None takes the CPU. One that cannot be used is an error.

        Raises:
            WeightsError: The file is missing, damaged, not of ``resgat export``, or a ``.pt2`` file and not trusted.
            ConfigError: ONNX Runtime is not installed, ``threads`` is out of range, or a provider is not there or
                cannot be started.
        """
        path = Path(path).absolute()  # a copy in another process may have another working folder
        if threads is not None and not (type(threads) is int and 1 <= threads <= _MOST_THREADS):
            raise ConfigError(
                f"threads is {threads!r}; it must be an int of 1 to {_MOST_THREADS}, or None for one per core."
            )
        if not path.is_file():
            raise WeightsError(f"There is no exported detector {path}: check the path, or make it with resgat export.")
        if path.suffix not in {".onnx", ".pt2"}:
            raise WeightsError(f"{path} is no exported detector: give an .onnx or .pt2 file of resgat export.")
        if path.suffix == ".pt2" and not trusted:  # torch unpickles parts of it, and evaluates expressions in others
            raise WeightsError(
                f"{path} was not opened: torch runs whatever code is in a .pt2 file. If you made it yourself, say "
                "trusted=True; otherwise ask for the detector as .onnx or .safetensors, which hold no code."
            )
        if path.suffix == ".pt2" and providers is not None:
            raise ConfigError(f"providers is {providers!r}, but {path.name} runs in torch: they are for .onnx files.")
        run = _OnnxFile.of(path, threads, _listed(providers)) if path.suffix == ".onnx" else _TorchFile.of(path)
        properties = run.properties
        if "image_size" not in properties:
            raise WeightsError(f"{path} was not written by resgat export: it has no image size.")
        again = "Make it again with resgat export."
        number, writer = properties.get("schema", 1), properties.get(WRITER)
        check_version(number, EXPORT_VERSION, path, WeightsError, again=again, writer=writer, oldest=1)
        return cls(run, properties)

    @property
    def image_size(self) -> int:
        """Side in px of the images."""
        return int(self.properties["image_size"])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of nodes; none of a detector without contributions."""
        rows, columns = self.properties["grid"]
        return int(rows), int(columns)

    @property
    def centres(self) -> tuple[list[float], list[float]] | None:
        """Centres of the rows and of the columns of nodes, in px of the images from the upper left corner.

        A node's cell is the area nearest to its centre; the cells need not be equal. None of files that earlier
        versions wrote.
        """
        stored = self.properties.get("centres")
        return None if stored is None else (list(stored["rows"]), list(stored["columns"]))

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
        return ExportedOutput.of(self._run(np.ascontiguousarray(images, dtype=np.float32)))

    def calibrated(self, logit: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities, the sigmoid of logit / temperature; uncalibrated where there is no temperature.

        Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
        """
        half = np.asarray(logit, np.float64) / (2 * (self.properties["temperature"] or 1.0))
        chance: NDArray[np.float64] = (1 + np.tanh(half)) / 2  # the sigmoid, without overflow
        return chance


class _File:
    """An open file that runs. All its copies in a process share one, opened once."""

    _open: ClassVar[WeakValueDictionary[tuple[Any, ...], _File]] = WeakValueDictionary()

    def __init__(self, path: Path, *options: Any) -> None:
        self.key = (path, *options)
        self.sha256 = _sha256(path)
        self.properties: dict[str, Any] = {}

    @classmethod
    def of(cls, path: Path, *options: Any, sha256: str | None = None) -> _File:
        """Open a file, or return the one that is open already.

        Raises:
            WeightsError: It is gone, or its hash is not ``sha256``.
        """
        # By its hash too: files are replaced, and a copy must not become another detector.
        place = (cls, path, repr(options))
        known = cls._open.get(place)
        if known is not None and known.sha256 == (sha256 or _sha256(path)):
            return known
        if sha256 is not None and (not path.is_file() or _sha256(path) != sha256):
            raise WeightsError(
                f"{path} is {'another file than it was' if path.is_file() else 'gone'}, so the copy of a detector that "
                "was loaded from it cannot be made. Put the file there, or load the detector in this process."
            )
        opened = cls(path, *options)
        cls._open[place] = opened
        return opened

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self).of, *self.key, sha256=self.sha256), ()

    def __call__(self, images: Floats) -> list[Floats]:
        raise NotImplementedError


class _OnnxFile(_File):
    def __init__(self, path: Path, threads: int | None, providers: tuple[Provider, ...]) -> None:
        super().__init__(path, threads, providers)
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError('ONNX Runtime is not installed: pip install "resgat-pl[export]"') from None
        names = [entry if isinstance(entry, str) else entry[0] for entry in providers]
        there = onnxruntime.get_available_providers()
        if absent := [name for name in names if name not in there]:
            raise ConfigError(
                f"This ONNX Runtime has no execution provider {absent[0]!r}. It has {', '.join(there)}; others are in "
                "other packages, such as CUDAExecutionProvider in onnxruntime-gpu."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # its warnings are about its own optimisations
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # its errors have no common base
            raise WeightsError(f"{path} cannot be read: {error}") from None
        # Without a provider's library or device, ONNX Runtime silently uses the CPU.
        if idle := [name for name in names if name not in self.session.get_providers()]:
            raise ConfigError(
                f"The execution provider {idle[0]} could not be started: is its device there, and are its libraries? "
                f"Without providers the detector runs on the CPU."
            )
        for name, value in self.session.get_modelmeta().custom_metadata_map.items():
            with suppress(ValueError):  # others write there too, and not JSON
                self.properties[name] = json.loads(value)

    def __call__(self, images: Floats) -> list[Floats]:
        given = {output.name for output in self.session.get_outputs()}
        wanted = OUTPUTS if "contribution" in given else OUTPUTS[:2]
        arrays: list[Floats] = self.session.run(list(wanted), {"images": images})
        return arrays


class _TorchFile(_File):
    def __init__(self, path: Path) -> None:
        import torch

        super().__init__(path)
        extra = {EXTRA_FILE: ""}
        try:
            self.module = torch.export.load(path, extra_files=extra).module()
        except Exception as error:  # of the zip file, of pickle, of torch: whatever is wrong with it
            raise WeightsError(f"{path} cannot be read: {type(error).__name__}: {error}") from None
        self.properties = json.loads(extra[EXTRA_FILE] or "{}")

    def __call__(self, images: Floats) -> list[Floats]:
        import torch

        with torch.inference_mode():
            return [values.numpy() for values in self.module(torch.from_numpy(images))]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(providers: str | Sequence[Provider] | None) -> tuple[Provider, ...]:
    if providers is None:
        return (_CPU,)
    is_one = isinstance(providers, str) or not isinstance(providers, Sequence)
    entries: Sequence[Any] = [providers] if is_one else providers
    listed: list[Provider] = []
    for entry in entries:
        match entry:
            case str():
                listed.append(entry)
            case [str(name), Mapping() as options]:
                listed.append((name, dict(options)))
            case _:
                listed = []
                break
    if not listed:
        raise ConfigError(f"providers is {providers!r}; give names, or pairs of a name and its options.")
    return tuple(listed)
