"""One detector prepared for the benchmark: its test crops scored, faces chosen, and results cached on disk."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import errors_of
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.scores import POOLED, evaluate
from resgat_pl.evaluation.predict import predictions, score
from resgat_pl.explain import registry
from resgat_pl.explain.base import Explainer
from resgat_pl.explain.benchmark.areas import EXTENTS
from resgat_pl.explain.benchmark.beside import (
    GenuineFaces,
    ValidationFaces,
    choose_genuine,
    choose_validation,
    load_genuine,
    load_validation,
)
from resgat_pl.explain.benchmark.faces import BenchmarkFaces, choose_detected_fakes, judge_faces, load_faces, pixels
from resgat_pl.explain.benchmark.leaderboard import FaceScores
from resgat_pl.explain.benchmark.measure import Factory, MethodScores, measure_method, score_maps
from resgat_pl.explain.benchmark.scores import ORACLE, SWAPPED
from resgat_pl.explain.benchmark.swaps import excess
from resgat_pl.explain.methods.baselines import Random

_VERSION: Final = 5
"""Raised when the measuring changes, so that stored results are measured again."""
_TRAIN_MASKS: Final = 500
"""Training masks that the mean mask is made of, at most."""
_CERTAIN: Final = 1e-9
"""Thresholds nearer to 0 or 1 have no finite logit."""
_UNTUNED: Final = "so there is no threshold, and IoU and false regions are blank; --trained_on names crops with one"
_UNTURNED: Final = "so there is no verdict to turn to, and flips and implanted are blank"
_REFERENCES: Final = 32
"""Genuine training faces for the methods that compare with other faces, at most."""


class ResultCache:
    """Results on disk: one file each, whose name is the hash of everything they depend on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: dict[str, Any], make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Read the result of this key, or make and store it."""
        text = json.dumps({**key, "version": _VERSION}, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        if not path.is_file():
            file = io.BytesIO()
            arrays: dict[str, Any] = {"key": np.array(text), **make()}
            np.savez_compressed(file, **arrays)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, file.getvalue())
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files if name != "key"}


class DetectorBenchmark:
    """One checkpoint, its test crops, and the faces on which methods are measured.

    ``prepare`` scores the test split, ``choose`` the faces; after both, ``measure`` and ``oracle`` explain them.

    Args:
        detector: The detector, from a checkpoint.
        manifest: The crops, divided; the test split is used, and the training split for methods that compare.
        cache: Earlier results.
        seed: Of the choice of faces and of methods that draw.
        batch_size: Images at once.
        workers: Loading processes.
        home: Crops whose validation split the thresholds are chosen on, and whose training split gives the mean mask
            and the faces that methods compare with; None takes ``manifest``.
        false_alarms: Share of the genuine test faces that may be called fake, which sets the threshold of the verdict;
            None takes the checkpoint's.
    """

    def __init__(
        self,
        detector: Detector,
        manifest: Manifest,
        cache: ResultCache,
        seed: int,
        batch_size: int,
        workers: int,
        home: Manifest | None = None,
        false_alarms: float | None = None,
    ) -> None:
        self.detector, self.manifest, self.cache = detector, manifest, cache
        self.home = manifest if home is None else home
        self.false_alarms = false_alarms
        self.seed, self.batch_size, self.workers = seed, batch_size, workers
        # Convolutions on a CPU run up to twice as fast in this order of the pixels.
        self.net = detector.net.to(memory_format=torch.channels_last)
        self.threshold = (detector.thresholds or {}).get("frame", 0.5)
        self.crops = FaceCrops(manifest, manifest.examples_of("test"), self.net.image_size)  # as frames are scored

    def prepare(self) -> Self:
        """Score the test split, or read the scores of the same split and checkpoint; read training masks and faces."""
        self.key: dict[str, Any] = {
            "checkpoint": self.detector.checkpoint.fingerprint,
            "manifest": self.manifest.fingerprint(),
            "splits": self.manifest.split_fingerprint(),
        }
        self.probability = self.cache.get({**self.key, "what": "test"}, self._score)["probability"]
        if self.false_alarms is not None:
            genuine = self.probability[self.crops.labels == REAL]
            allowed = np.quantile(genuine, 1 - self.false_alarms, method="higher")
            self.threshold = float(np.clip(allowed, _CERTAIN, 1 - _CERTAIN))
        self.key |= {"seed": self.seed, "threshold": self.threshold}
        self.key |= {"home": [self.home.fingerprint(), self.home.split_fingerprint()]}
        self.detected = self.probability > self.threshold
        self.mean_mask, self.reference = self._training()
        return self

    def _score(self) -> dict[str, NDArray[Any]]:
        found = score(self.detector, self.manifest, None, self.batch_size, self.workers, "test split")
        return {"probability": found["frame"].probability}

    @property
    def detected_rows(self) -> set[int]:
        """Rows of the manifest with the fakes that the detector calls fake."""
        return set(self.crops.rows[self.detected & (self.crops.labels == FAKE)].tolist())

    def choose(self, count: int, among: set[int] | None = None) -> None:
        """Choose the faces to explain, at most ``count``.

        Args:
            count: Their number.
            among: Rows of the manifest to choose from; None for all that are detected.

        Raises:
            SplitError: There is none.
        """
        allowed = self.detected if among is None else np.isin(self.crops.rows, sorted(among))
        places = choose_detected_fakes(self.crops, allowed, count, self.seed)
        self.key["rows"] = _hash(self.crops.rows[places])
        cut = float(torch.tensor(self.threshold, dtype=torch.float64).logit())
        judge = partial(judge_faces, self.net, self.crops, places, self.batch_size, cut, self.seed)
        judged = self.cache.get({**self.key, "what": "faces"}, judge)
        self.effects_ms = float(judged["ms"])
        self.faces: BenchmarkFaces = load_faces(self.net, self.crops, places, judged, cut)
        # Besides the fakes: faces on which nothing should be named, and those on which thresholds are chosen.
        others = choose_genuine(self.crops, places, count, self.seed)
        self.genuine: GenuineFaces = load_genuine(self.crops, places, others)
        self.validation: ValidationFaces = self._validation(count, cut)
        self.key["genuine"] = _hash(self.crops.rows[others])

    def _validation(self, count: int, cut: float) -> ValidationFaces:
        crops = FaceCrops(self.home, self.home.rows_of("val"), self.net.image_size)

        def choose() -> dict[str, NDArray[Any]]:
            options = (count, cut, self.seed, self.batch_size)
            return {"places": choose_validation(self.net, crops, *options)}

        places = self.cache.get({**self.key, "what": "validation", "count": count}, choose)["places"]
        genuine = choose_genuine(crops, places, count, self.seed)[:count]
        self.key["validation"] = _hash(crops.rows[np.concatenate([places, genuine])])
        return load_validation(crops, places, genuine)

    def forget(self) -> None:
        """Give the memory of the faces back; ``choose`` loads them again."""
        del self.faces, self.genuine, self.validation

    def about(self, label: str) -> dict[str, Any]:
        """The detector as the leaderboard describes it."""
        found = predictions(self.manifest, self.crops.rows, torch.from_numpy(self.probability).logit())
        scores = evaluate(found, self.detector.thresholds, seed=self.seed)
        pooled: dict[str, Interval] = {row.level: row.values["auroc"] for row in scores if row.method == POOLED}
        turned = (self.faces.real_logit <= self.faces.cut)[self.faces.paired].double().mean()
        fakes = self.crops.labels == FAKE
        return {
            "label": label,
            "checkpoint": str(self.detector.path),
            "sha256": self.key["checkpoint"],
            "splits": self.key["splits"],
            **pooled,
            "scores": [row.plain() for row in scores],
            "threshold": self.threshold,
            "detected": int((self.detected & fakes).sum()),
            "fakes": int(fakes.sum()),
            "faces": len(self.faces),
            "nodes": math.prod(self.faces.lattice.shape),
            "turned": float(turned),
            **{name: int((self.faces.extent == name).sum()) for name in EXTENTS},
            "genuine": len(self.genuine),
            "validated": len(self.validation),
            "rows": self.faces.rows.tolist(),
            "notes": self._lacking(),
        }

    def _lacking(self) -> list[str]:
        """Notes on scores that cannot be measured on all faces, and what these lack."""
        faces, count = self.faces, len(self.faces)
        parts = (
            ("masks", faces.masks.flatten(1).any(dim=1), "localisation"),
            ("landmarks", faces.landmarks.isfinite().all(dim=(1, 2)) if count else faces.paired, "AUROC in face"),
            ("genuine counterparts", faces.paired, f"restoration, implantation, ρ effects, fake > real and {ORACLE}"),
        )
        notes = []
        if self.false_alarms is not None:
            limit = f"at most {self.false_alarms:.0%} of the genuine test faces do"
            notes.append(f"Fake is what scores above {self.threshold:.4g}: {limit}")
        if self.mean_mask is None:
            notes.append("MeanMask: the training split has no masks")
        if not len(self.validation):
            where = "" if self.home is self.manifest else f" of {self.home.folder}"
            notes.append(f"No fake of the validation split{where} is detected and has a mask, {_UNTUNED}")
        if faces.paired.any() and not (faces.real_logit <= faces.cut).any():
            notes.append(f"No genuine counterpart is called genuine, {_UNTURNED}")
        return notes + [
            f"{int(known.sum())} of the {count} fakes have {what}: {scores} are measured on "
            + ("these only" if known.any() else "none")
            for what, known, scores in parts
            if not bool(known.all())
        ]

    def measure(self, name: str, method: type[Explainer], slow_faces: int, sanity_faces: int) -> MethodScores:
        """Measure a method, or read what was measured before under the same conditions with the same source code."""
        code = "".join(map(_source, dict.fromkeys(base.__module__ for base in method.__mro__)))
        key = {**self.key, "what": name, "slow_faces": slow_faces, "sanity_faces": sanity_faces}
        key["code"] = hashlib.sha256(code.encode()).hexdigest()
        factory = self._factory(method)

        def run() -> dict[str, NDArray[Any]]:
            beside = self.genuine, self.validation
            given = factory, self.faces, *beside, slow_faces, sanity_faces, self.batch_size, name
            with errors_of("explainer", method):
                return measure_method(self.net, *given).pack()

        return MethodScores.unpack(self.cache.get(key, run))

    def oracle(self, slow_faces: int) -> MethodScores | None:
        """The effect of restoring each node alone, as if it were an explanation."""
        if not len(self.faces) or not self.faces.paired.all():
            return None

        def run() -> dict[str, NDArray[Any]]:
            shape = self.faces.lattice.shape
            forward = math.prod(shape) + 1.0
            scores = MethodScores(
                self.faces.effects.reshape(-1, *shape),
                cost={"forward": forward, "backward": 0.0, "graph": 0.0, "ms": self.effects_ms, "gap": math.nan},
                traits={"unit": "logit", "signed": True, "exact": False},
            )
            score_maps(self.net, scores, self.faces, slow_faces, self.batch_size, ORACLE)
            return scores.pack()

        return MethodScores.unpack(self.cache.get({**self.key, "what": ORACLE, "slow_faces": slow_faces}, run))

    def entry(self, label: str, method: str, found: MethodScores) -> FaceScores:
        """The measurements of a method for the leaderboard."""
        faces, counted = self.faces, len(found.genuine.get("top", ()))
        scores = found.scores
        if method == Random.__name__:  # chance is better known from several draws than from the one map
            scores |= {name: faces.controls[f"{name}_random"] for name in SWAPPED}
            scores |= excess(scores, faces.controls)
        return FaceScores(
            label=label,
            checkpoint=str(self.detector.path),
            method=method,
            group=faces.group,
            kind=faces.kind,
            weight=(faces.logit - faces.real_logit).double().numpy(),
            scores=scores,
            cost=found.cost,
            traits=found.traits,
            extent=faces.extent,
            genuine=found.genuine,
            genuine_group=self.genuine.group[:counted],
        )

    def _factory(self, method: type[Explainer]) -> Factory:
        """Make the method of a network, with what its arguments ask for by name.

        Raises:
            ConfigError: An argument without a default is none of these, or cannot be had.
        """
        faces: dict[str, Any] = {"reference": self.reference, "mean": self.mean_mask, "limit": self.faces.cut}
        had = {"seed": self.seed, "batch_size": self.batch_size, **faces}
        asked = inspect.signature(method).parameters
        given: dict[str, Any] = {name: value for name, value in had.items() if name in asked and value is not None}
        if lacking := [name for name in registry.required_arguments(method) if name not in given]:
            raise ConfigError(f"{method.__name__} needs {lacking[0]}, which the training split does not give.")
        return partial(method, **given)

    def _training(self) -> tuple[Tensor | None, Tensor | None]:
        """From the training split: the mean of the fakes' masks ``(S, S)``, and genuine faces ``(R, 3, S, S)``."""
        train = np.flatnonzero(self.home.column("split") == "train").astype(np.int64)
        labels = self.home.column("label")[train]
        masked = np.array([path is not None for path in self.home.column("mask_path")[train]], bool)
        rng = np.random.default_rng(self.seed)
        known = ~self.home.untouched[train]
        fakes = rng.permutation(train[(labels == FAKE) & masked & known])[:_TRAIN_MASKS]
        reals = rng.permutation(train[labels == REAL])[:_REFERENCES]

        def mean() -> dict[str, NDArray[Any]]:
            crops = FaceCrops(self.home, fakes, self.crops.image_size)
            masks = [mask for place in range(len(crops)) if (mask := crops.mask(place)) is not None]
            return {"mean": np.mean(masks, axis=0) / 255}

        mask = self.cache.get({**self.key, "what": "mean mask"}, mean)["mean"] if len(fakes) else None
        crops = FaceCrops(self.home, reals, self.crops.image_size)
        faces = pixels(crops, list(range(len(crops)))) if len(crops) else None
        return None if mask is None else torch.from_numpy(mask).float(), faces


def _hash(rows: NDArray[np.int64]) -> str:
    return hashlib.sha256(rows.tobytes()).hexdigest()


def _source(module: str) -> str:
    """Source code of a module that a method is made of; nothing of Python's own, or of one that has no file."""
    if module in {"abc", "builtins"}:
        return ""
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError):
        return ""
