"""All explanation methods on the same faces: do they find the forgery, does the model use it, what do they cost?"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import math
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resgat_pl import explain
from resgat_pl.core.errors import ConfigError, ResGATError, SplitError
from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.storage import write_atomic
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import SplitProtocol
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.scores import POOLED, evaluate
from resgat_pl.evaluation.predict import predictions, score
from resgat_pl.evaluation.train_test_overlap import describe, people_unknown
from resgat_pl.explain.base import Explainer
from resgat_pl.explain.benchmark.leaderboard import BASELINES, ORACLE, FaceScores, differences, summarise
from resgat_pl.explain.benchmark.leaderboard_files import write_leaderboard
from resgat_pl.explain.benchmark.measure import (
    BenchmarkFaces,
    Factory,
    MethodScores,
    choose_detected_fakes,
    judge_faces,
    load_faces,
    measure_method,
    score_maps,
)
from resgat_pl.explain.methods import baselines
from resgat_pl.nn.resgat import ResGAT

_VERSION: Final = 2
"""Raised when the measuring changes, so that results kept from before are measured again."""
_TRAIN_MASKS: Final = 500
"""Training masks that the mean mask is made of, at most."""
_REFERENCES: Final = 32
"""Genuine training faces for the methods that compare with other faces, at most."""


def benchmark_explainers(
    ckpt: str | list[str] = "",
    manifest: Path | None = None,
    out: Path = Path("runs/explainers"),
    methods: list[str] | None = None,
    faces: int = 200,
    slow_faces: int = 32,
    sanity_faces: int = 16,
    split: SplitProtocol | None = None,
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 0,
    allow_leakage: bool = False,
    private: bool = False,
    common_faces: bool = True,
) -> str:
    """Score explanation methods against manipulation masks, by restoration, sanity checks and cost: a leaderboard.

    Every method explains the same evaluation-mode checkpoint and the same correctly detected fakes of the test split,
    on the same grid, for the class fake; genuine counterparts are controls. What was measured is kept in OUT/cache, by
    checkpoint and method: the same command continues where it was stopped, and measures only what is new.

    Args:
        ckpt: Checkpoints of `resgat fit`, separated by commas or as a list; LABEL=PATH gives one a name. Checkpoints
            with the same label count as seeds of one detector: their mean is shown, and each by itself.
        manifest: Folder that `resgat extract` made; with masks, and with the genuine videos the fakes were made from.
        out: Folder for leaderboard.md, .csv, .json and .png.
        methods: Names of classes in resgat_pl.explain; null takes all. The four baselines always take part.
        faces: Fakes to explain at most, spread over manipulation methods and videos.
        slow_faces: Fakes that methods with more than 30 passes an image explain; also those for deletion and insertion.
        sanity_faces: Fakes for the sanity checks; methods with more than 30 passes take an eighth.
        split: How the crops are divided; null takes what the checkpoint was trained under, or the manifest's.
        seed: Of the choice of faces, of methods that draw, and of the intervals.
        batch_size: Images at once.
        workers: Loading processes.
        allow_leakage: Test also on videos that the checkpoint was trained on.
        private: Nothing goes to W&B.
        common_faces: Of several checkpoints, explain only fakes that all of them detect, so that they are compared on
            the same faces; false takes each checkpoint's own.

    Returns:
        The leaderboard as Markdown.
    """
    os.environ.setdefault("WANDB_MODE", "offline")  # nothing leaves the machine unless asked for
    for name, value in {"faces": faces, "slow_faces": slow_faces, "sanity_faces": sanity_faces}.items():
        if value < 1:
            raise ConfigError(f"--{name} is {value}; it must be at least 1.")
    checkpoints = _checkpoints(ckpt)
    if manifest is None:
        raise ConfigError("--manifest names nothing: give the folder that `resgat extract` made.")
    classes = explainers(methods)
    require_folder(out, "--out")
    tests = []
    for label, path in checkpoints:  # before the long work, so that a refusal comes at once
        detector = Detector.load(path)
        divided = detector.manifest(manifest, split)
        tests.append((label, detector, divided, detector.leaks_on(divided, allow_leakage)))
    out.mkdir(parents=True, exist_ok=True)
    entries: list[FaceScores] = []
    detectors: list[dict[str, Any]] = []
    kept = _Kept(out / "cache")
    benches = [_Bench(detector, divided, kept, seed, batch_size, workers) for _, detector, divided, _ in tests]
    common = _common(benches) if common_faces and len(benches) > 1 else None
    with tqdm(total=len(tests) * len(classes), unit="method", desc="benchmark") as bar:
        for (label, _, _, leaky), bench in zip(tests, benches, strict=True):
            bench.choose(faces, common)
            about = bench.about(label)
            about["notes"] += describe(leaky, people_unknown(detector.provenance, divided))
            detectors.append(about)
            for name, method in classes.items():
                bar.set_postfix_str(f"{label}: {name}")
                try:
                    trial = bench.trial(name, method, slow_faces, sanity_faces)
                except ResGATError as error:  # a package is missing, or a method cannot do with this data
                    about["notes"].append(f"{name} was not measured: {error}")
                else:
                    entries.append(bench.entry(label, name, trial))
                bar.update()
            if (oracle := bench.oracle(slow_faces)) is not None:
                entries.append(bench.entry(label, ORACLE, oracle))
    options = {"faces": faces, "slow_faces": slow_faces, "sanity_faces": sanity_faces, "seed": seed}
    compared = [] if common is None else differences(entries, seed=seed)
    return write_leaderboard(
        out, summarise(entries, seed=seed), compared, entries, detectors, options, publish=not private
    )


def explainers(names: Iterable[str] | None = None) -> dict[str, type[Explainer]]:
    """The methods to measure by name, the baselines first.

    Args:
        names: Of ``explain.METHODS``; None for all.

    Raises:
        ConfigError: There is no such method.
    """
    known = explain.METHODS
    chosen = list(known) if names is None else [name for name in dict.fromkeys(names) if name not in BASELINES]
    if unknown := [name for name in chosen if name not in known]:
        raise ConfigError(f"--methods: there is no method {unknown[0]!r}. There are: {', '.join(known)}.")
    return {
        **{name: getattr(baselines, name) for name in BASELINES},
        **{name: getattr(explain, name) for name in chosen},
    }


class _Kept:
    """Results on disk: one file each, whose name is the hash of everything they depend on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: dict[str, Any], make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Read what was made under this key, or make and keep it."""
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


class _Bench:
    """One checkpoint, its test crops, and the faces on which methods are measured."""

    def __init__(
        self,
        detector: Detector,
        manifest: Manifest,
        kept: _Kept,
        seed: int,
        batch_size: int,
        workers: int,
    ) -> None:
        self.detector, self.kept = detector, kept
        # Convolutions on a CPU run up to twice as fast in this order of the pixels.
        self.net = detector.net.to(memory_format=torch.channels_last)
        self.manifest, self.seed, self.batch_size = manifest, seed, batch_size
        self.key: dict[str, Any] = {
            "checkpoint": hashlib.sha256(detector.path.read_bytes()).hexdigest(),
            "manifest": manifest.fingerprint(),
            "splits": manifest.split_fingerprint(),
        }
        threshold = (detector.thresholds or {}).get("frame", 0.5)
        rows = np.flatnonzero(manifest.column("split") == "test").astype(np.int64)

        def test() -> dict[str, NDArray[Any]]:
            found = score(detector, manifest, None, batch_size, workers, "test split")
            return {"probability": found["frame"].probability}

        self.probability = kept.get({**self.key, "what": "test"}, test)["probability"]
        self.key |= {"seed": seed, "threshold": threshold}
        self.crops = FaceCrops(manifest, rows, int(self.net.config["image_size"]))
        self.detected = self.probability > threshold
        self.mean_mask, self.reference = self._training()

    @property
    def detected_rows(self) -> set[int]:
        """Rows of the manifest with the fakes that the detector calls fake."""
        return set(self.crops.rows[self.detected & (self.crops.labels == 1)].tolist())

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
        self.key["rows"] = hashlib.sha256(self.crops.rows[places].tobytes()).hexdigest()
        judge = partial(judge_faces, self.net, self.crops, places, self.batch_size)
        judged = self.kept.get({**self.key, "what": "faces"}, judge)
        cut = float(torch.tensor(self.key["threshold"], dtype=torch.float64).logit())
        self.effects_ms = float(judged["ms"])
        self.faces: BenchmarkFaces = load_faces(self.net, self.crops, places, judged, cut)

    def about(self, label: str) -> dict[str, Any]:
        """What the leaderboard says of the detector."""
        found = predictions(self.manifest, self.crops.rows, torch.from_numpy(self.probability).logit())
        scores = evaluate(found, self.detector.thresholds, seed=self.seed)
        pooled: dict[str, Interval] = {row.level: row.values["auroc"] for row in scores if row.method == POOLED}
        turned = (self.faces.real_logit <= self.faces.cut)[self.faces.paired].double().mean()
        notes = [] if self.mean_mask is not None else ["MeanMask: the training split has no masks"]
        notes += self._lacking()
        return {
            "label": label,
            "checkpoint": str(self.detector.path),
            "sha256": self.key["checkpoint"],
            "splits": self.key["splits"],
            **pooled,
            "scores": [row.plain() for row in scores],
            "threshold": self.key["threshold"],
            "detected": int((self.detected & (self.crops.labels == 1) & ~self.crops.untouched).sum()),
            "fakes": int(((self.crops.labels == 1) & ~self.crops.untouched).sum()),
            "faces": len(self.faces),
            "nodes": math.prod(self.faces.lattice.shape),
            "turned": float(turned),
            "rows": self.faces.rows.tolist(),
            "notes": notes,
        }

    def _lacking(self) -> list[str]:
        """What cannot be scored, and for want of what."""
        faces, count = self.faces, len(self.faces)
        parts = (
            ("masks", faces.masks.flatten(1).any(dim=1), "AUROC, pointing, mass and AUPRO"),
            ("landmarks", faces.landmarks.isfinite().all(dim=(1, 2)) if count else faces.paired, "AUROC in face"),
            ("genuine counterparts", faces.paired, f"restoration, flips, ρ effects, fake > real and {ORACLE}"),
        )
        return [
            f"{int(known.sum())} of the {count} fakes have {what}: {scores} are measured on "
            + ("these only" if known.any() else "none")
            for what, known, scores in parts
            if not bool(known.all())
        ]

    def trial(self, name: str, method: type[Explainer], slow_faces: int, sanity_faces: int) -> MethodScores:
        """Measure a method, or read what was measured before under the same conditions with the same source code."""
        sources = [inspect.getmodule(base) for base in method.__mro__ if base.__module__.startswith("resgat_pl.")]
        code = "".join(inspect.getsource(module) for module in dict.fromkeys(sources) if module is not None)
        key = {**self.key, "what": name, "slow_faces": slow_faces, "sanity_faces": sanity_faces}
        key["code"] = hashlib.sha256(code.encode()).hexdigest()
        factory = self._factory(method)
        faces = self.faces

        def measure() -> dict[str, NDArray[Any]]:
            return measure_method(self.net, factory, faces, slow_faces, sanity_faces, self.batch_size, name).pack()

        return MethodScores.unpack(self.kept.get(key, measure))

    def oracle(self, slow_faces: int) -> MethodScores | None:
        """The effect of restoring each node alone, as if it were an explanation."""
        if not len(self.faces) or not self.faces.paired.all():
            return None

        def measure() -> dict[str, NDArray[Any]]:
            trial = MethodScores(self.faces.effects.reshape(-1, *self.faces.lattice.shape))
            nodes = float(trial.maps[0].numel())
            trial.cost = {
                "forward": nodes + 1,
                "backward": 0.0,
                "graph": 0.0,
                "ms": self.effects_ms,
                "gap": math.nan,
            }
            trial.traits = {"unit": "logit", "signed": True, "exact": False}
            score_maps(self.net, trial, self.faces, slow_faces, self.batch_size, ORACLE)
            return trial.pack()

        return MethodScores.unpack(self.kept.get({**self.key, "what": ORACLE, "slow_faces": slow_faces}, measure))

    def entry(self, label: str, method: str, trial: MethodScores) -> FaceScores:
        """For the leaderboard."""
        weight = (self.faces.logit - self.faces.real_logit).double().numpy()
        place = (label, str(self.detector.path), method)
        return FaceScores(*place, self.faces.group, self.faces.kind, weight, trial.scores, trial.cost, trial.traits)

    def _factory(self, method: type[Explainer]) -> Factory:
        """Make the method of a network, with what its arguments ask for by name.

        Raises:
            ConfigError: An argument without a default is none of these, or cannot be had.
        """
        had = {"seed": self.seed, "reference": self.reference, "mean": self.mean_mask, "batch_size": self.batch_size}
        asked = list(inspect.signature(method).parameters.values())[1:]
        given = {entry.name: had[entry.name] for entry in asked if had.get(entry.name) is not None}
        if lacking := [entry.name for entry in asked if entry.default is entry.empty and entry.name not in given]:
            raise ConfigError(f"{method.__name__} needs {lacking[0]}, which the training split does not give.")
        make: Callable[..., Explainer] = method

        def factory(net: ResGAT) -> Explainer:
            return make(net, **given)

        return factory

    def _training(self) -> tuple[Tensor | None, Tensor | None]:
        """From the training split: the mean of the fakes' masks ``(S, S)``, and genuine faces ``(R, 3, S, S)``."""
        train = np.flatnonzero(self.manifest.column("split") == "train").astype(np.int64)
        labels = self.manifest.column("label")[train]
        masked = np.array([path is not None for path in self.manifest.column("mask_path")[train]], bool)
        rng = np.random.default_rng(self.seed)
        known = ~self.manifest.untouched[train]
        fakes = rng.permutation(train[(labels == 1) & masked & known])[:_TRAIN_MASKS]
        reals = rng.permutation(train[labels == 0])[:_REFERENCES]

        def mean() -> dict[str, NDArray[Any]]:
            crops = FaceCrops(self.manifest, fakes, self.crops.image_size)
            masks = [mask for place in range(len(crops)) if (mask := crops.mask(place)) is not None]
            return {"mean": np.mean(masks, axis=0) / 255}

        mask = None
        if len(fakes):
            mask = torch.from_numpy(self.kept.get({**self.key, "what": "mean mask"}, mean)["mean"]).float()
        crops = FaceCrops(self.manifest, reals, self.crops.image_size)
        faces = [crops[place]["image"].float() / 255 for place in range(len(crops))]
        return mask, torch.stack(faces) if faces else None


def _common(benches: list[_Bench]) -> set[int]:
    """Rows of the fakes that all detectors detect, and all test.

    Raises:
        SplitError: There is none.
    """
    common = set.intersection(*(bench.detected_rows for bench in benches))
    if not common:
        each = ", ".join(str(len(bench.detected_rows)) for bench in benches)
        raise SplitError(
            f"No fake is detected by all {len(benches)} checkpoints ({each} by each), so there are no faces to compare "
            "them on. Give --common_faces false to explain each one's own, or fewer checkpoints."
        )
    return common


def _checkpoints(ckpt: str | list[str]) -> list[tuple[str, Path]]:
    """Read LABEL=PATH; what has no label is called by its path."""
    entries = [entry.strip() for entry in (ckpt.split(",") if isinstance(ckpt, str) else ckpt) if entry.strip()]
    if not entries:
        raise ConfigError("--ckpt names nothing: give paths, separated by commas.")
    found = []
    for entry in entries:
        label, sign, path = entry.partition("=")
        # a sign behind a slash belongs to the path
        found.append((label, Path(path)) if sign and "/" not in label else (entry, Path(entry)))
    if len({path for _, path in found}) < len(found):
        raise ConfigError("--ckpt names a checkpoint twice: it would count as two seeds.")
    return found
