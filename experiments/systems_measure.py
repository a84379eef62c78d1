"""Numbers of ``experiments/systems.py``, measured on its runs.

Everything that takes long is stored in the folder of its run, and goes with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Final

import captions
import numpy as np
import torch
from numpy.typing import NDArray
from systems_values import (
    CALLED,
    Arrays,
    Floats,
    Table,
    Value,
    evaluated,
    faces_of,
    packed,
    ratio,
    stored,
    unpacked,
)

from resgat_pl.core.errors import ResGATError
from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.core.types import VIDEO_KEY, Level
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.ensembling import ensemble
from resgat_pl.evaluation.metrics.intervals import FEWEST, Interval
from resgat_pl.evaluation.metrics.rank import spearman
from resgat_pl.evaluation.metrics.scores import (
    POOLED,
    RESULTS_NAME,
    SOURCE,
    clip_codes,
    read_predictions,
)
from resgat_pl.evaluation.metrics.spans import ScoredFace, frame_auroc, overlap
from resgat_pl.evaluation.predict import predictions, row_logits, score
from resgat_pl.evaluation.timeline import timeline
from resgat_pl.explain import registry
from resgat_pl.explain.benchmark.leaderboard import FaceScores
from resgat_pl.explain.benchmark.prepare import DetectorBenchmark, ResultCache
from resgat_pl.explain.benchmark.scores import by_gap
from resgat_pl.explain.methods.subgraph import certify
from resgat_pl.nn.attacks import pgd
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.callbacks.outputs import manipulated_regions

LEFT_OUT: Final = ("FaceSwap", "NeuralTextures", "Face2Face", "Deepfakes", "FaceShifter")
"""Kinds that the detectors ``*_unseen`` are not trained on, one a seed."""
MEMBERS: Final = ("baseline", "capsule", "drop_zoom", "gcn")
"""Members of the ensemble, of one seed."""
ELSEWHERE: Final = "gcn"
"""Detector on which transferred attacks are made: neither of the two that are compared."""
EPS, STEPS, ATTACKED = 2 / 255, 10, 200
FACES: Final = 32
"""Fakes that all detectors of a board detect and whose maps are compared, of each seed."""
BOARDS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "masks": {
        "baseline": ("Contribution",),
        "aux": ("Contribution", "PredictedMask", "CentrePrior", "MeanMask"),
        "gate": ("Contribution",),
        "two_pass": ("Contribution",),
    },
    "capsule": {"baseline": ("Contribution",), "capsule": ("Contribution",)},
    "graphs": {"baseline": ("Contribution",), "gcn": ("Contribution",), "bottleneck": ("Contribution",)},
    "consensus": {"baseline": ("Consensus", "Contribution", "AttentionExcess", "NodeShapley", "NodeLIME")},
    "vit": {"vit": ("Relevancy", "Contribution", "CentrePrior")},
}
"""Which maps are compared on the same faces: methods by detector."""


class NotMeasuredError(ResGATError):
    """A run that a number needs is not there."""


class Lab:
    """The runs of an experiment, and what can be measured of them.

    Args:
        out: Folder of the experiment.
        seeds: Number of seeds.
        caption_epochs: Of the learned captioner.
    """

    def __init__(self, out: Path, seeds: int, caption_epochs: int = 30) -> None:
        self.out, self.seeds, self.caption_epochs = out, seeds, caption_epochs
        self.detected = cache(self._detected)
        self.board = cache(self._board)
        self.clip_of = cache(self._clip_of)

    def run(self, label: str, seed: int) -> Path:
        """Folder of a finished run.

        Raises:
            NotMeasuredError: It is not there.
        """
        folder = self.out / f"{label}_seed{seed}"
        if not (folder / "done.json").is_file():
            raise NotMeasuredError(f"{label} was not trained")
        return folder

    def checkpoint(self, label: str, seed: int) -> Path:
        """Checkpoint of a finished run."""
        return self.run(label, seed) / "checkpoints" / "best.ckpt"

    # Detection

    def detection(
        self, metric: str, label: str, seed: int, level: Level = "video", where: str = "own", unseen: bool = False
    ) -> Value:
        """A detection metric.

        Args:
            metric: Of ``metrics.binary``, ``precision`` or ``recall``.
            label: Detector; ``ensemble`` and ``member``, the one of its members that validated best, are among them.
            seed: Its seed.
            level: ``frame`` or ``video``.
            where: ``own``, the test split of the set that frames are trained on; ``partly``, of clips forged in part.
            unseen: Whether only fakes of the kind that was left out count.
        """
        if label == "member":
            label = self._best_member(seed)
        method = LEFT_OUT[seed % len(LEFT_OUT)] if unseen else POOLED
        found = self.detected(label, seed, where)
        if (level, method) not in found:
            raise NotMeasuredError(f"the test has no fakes of {method}")
        scores = found[level, method]
        return Value(scores.resamples[metric], scores.clips(metric) if metric not in CALLED else scores.units.scarcer)

    def _detected(self, label: str, seed: int, where: str) -> Table:
        if where == "own" and label != "ensemble":
            folder = self.run(label, seed) / "test"
            found, limits = read_predictions(folder / "predictions"), json.loads((folder / RESULTS_NAME).read_text())
            return evaluated(found, limits["thresholds"])
        path = self._ensemble(seed) if label == "ensemble" else self.checkpoint(label, seed)
        folder = path.parent if label == "ensemble" else self.run(label, seed) / "measures"
        file = folder / f"{path.stem if label == 'ensemble' else label}_{where}.npz"
        crops = self.out / ("crops" if where == "own" else "partly_crops")

        def make() -> Arrays:
            detector = Detector.load(path)
            manifest = detector.manifest(crops)
            detector.leaks_on(manifest, allow_leakage=False)
            return packed(score(detector, manifest, title=f"{label} on {where}"))

        return evaluated(unpacked(stored(file, make)), None)

    def _ensemble(self, seed: int) -> Path:
        members = {label: self.checkpoint(label, seed) for label in MEMBERS}
        path = self.run(MEMBERS[0], seed) / "measures" / f"ensemble_{_mark(*members.values())}.ckpt"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            ensemble([f"{label}={file}" for label, file in members.items()], path, self.out / "crops")
        return path

    def _best_member(self, seed: int) -> str:
        """The member with the best AUROC per video on validation, where the ensemble's weights are fitted too."""

        def validate(label: str) -> Arrays:
            detector = Detector.load(self.checkpoint(label, seed))
            manifest = detector.manifest(self.out / "crops")
            rows = manifest.rows_of("val")
            logits = row_logits(detector, FaceCrops(manifest, rows, detector.net.image_size), title="validation")
            return packed(predictions(manifest, rows, logits))

        def worth(label: str) -> float:
            file = self.run(label, seed) / "measures" / "validation.npz"
            found = evaluated(unpacked(stored(file, partial(validate, label))), None)
            return found["video", POOLED].values["auroc"].value

        return max(MEMBERS, key=worth)

    # Maps

    def face(self, score_name: str, board: str, label: str, method: str, seed: int) -> Value:
        """A score of an explanation method, the mean over faces.

        Args:
            score_name: Of ``explain.benchmark.scores``; ``f1`` of pixels; ``keeps``, nodes that keep the verdict.
            board: Of ``BOARDS``; all its detectors explain the same faces.
            label: Detector.
            method: Explanation method.
            seed: Of the detector.
        """
        entries = self.board(board)
        entry = entries[seed][label, method]
        values = entry.scores["iou" if score_name == "f1" else score_name]
        if score_name == "f1":
            values = 2 * values / (1 + values)  # of one face's pixels
        share = entry.weight if by_gap(score_name) else np.ones(len(values))
        names = sorted({str(name) for found in entries for each in found.values() for name in each.group})
        return ratio(values * share, share, np.searchsorted(names, entry.group.astype(str)), len(names))

    def _board(self, name: str) -> list[dict[tuple[str, str], FaceScores]]:
        return [self._board_of(name, seed) for seed in range(self.seeds)]

    def _board_of(self, name: str, seed: int) -> dict[tuple[str, str], FaceScores]:
        store = ResultCache(self.run(next(iter(BOARDS[name])), seed) / "measures" / "maps")
        benches = {}
        for label in BOARDS[name]:
            detector = Detector.load(self.checkpoint(label, seed))
            manifest = detector.manifest(self.out / "crops")
            benches[label] = DetectorBenchmark(detector, manifest, store, 0, 32, 0).prepare()
        common = set.intersection(*(bench.detected_rows for bench in benches.values()))
        if not common:
            raise NotMeasuredError("no fake is detected by all detectors that are compared")
        found = {}
        for label, bench in benches.items():
            bench.choose(FACES, common)
            for method in BOARDS[name][label]:
                scores = bench.measure(method, registry.find(method), slow_faces=4, sanity_faces=1)
                found[label, method] = bench.entry(label, method, scores)
            if name == "graphs":
                entry = found[label, "Contribution"]
                found[label, "Contribution"] = replace(entry, scores={**entry.scores, "keeps": _sizes(bench)})
            bench.forget()
        return found

    # Time

    def when(self, what: str, label: str, seed: int) -> Value:
        """``frame_auroc`` or ``span_iou`` over faces altered in part, or ``silent`` over genuine faces."""
        folder = self._timeline(label, seed)
        threshold = json.loads((folder / "timeline.json").read_text())["threshold"]
        if threshold is None and what != "frame_auroc":
            raise NotMeasuredError("validation has no face altered in part")
        faces = [face for face in faces_of(folder / "frames.csv", self.clip_of("partly_crops")) if _counts(face, what)]
        values = np.array([frame_auroc(face) if what == "frame_auroc" else overlap(face, threshold) for face in faces])
        names, clips = np.unique([face.clip for face in faces], return_inverse=True)
        return ratio(values, np.ones(len(values)), clips.astype(np.int64), len(names))

    def deletion(self, label: str, seed: int) -> Interval:
        """How far deleting the most suspicious frames first takes the logit below random orders."""
        folder = self._timeline(label, seed)
        found = json.loads((folder / "timeline.json").read_text())["values"]["deletion"]
        clips = {face.clip for face in faces_of(folder / "frames.csv", self.clip_of("partly_crops")) if face.fake}
        ends = found["interval"] if len(clips) >= FEWEST else (None, None)
        return _interval([found["mean"], *ends], len(clips))

    def _timeline(self, label: str, seed: int) -> Path:
        folder = self.run(label, seed) / "timeline"
        if not (folder / "timeline.json").is_file():
            timeline(self.checkpoint(label, seed), self.out / "partly_crops", out=folder)
        return folder

    def _clip_of(self, crops: str) -> dict[tuple[str, ...], int]:
        """Code of the genuine clip behind each video."""
        manifest = Manifest.read(self.out / crops)
        table = manifest.take(np.arange(len(manifest.video_codes)), [*VIDEO_KEY, SOURCE]).to_pydict()
        keys = list(zip(*(table[name] for name in VIDEO_KEY), strict=True))
        of_key = dict(zip(keys, table[SOURCE], strict=True))
        return dict(zip(of_key, clip_codes(list(of_key), list(of_key.values())).tolist(), strict=True))

    # Attacks

    def attacked(self, metric: str, label: str, seed: int, made_on: str) -> Value:
        """``auroc`` per video under PGD, or ``map``, the rank correlation of the contributions with those before.

        The attack is made on the detector ``made_on``, itself or another.
        """
        victim = self.checkpoint(made_on, seed)
        file = self.run(label, seed) / "measures" / f"attacked_{made_on}_{_mark(victim)}.npz"
        detector = Detector.load(self.checkpoint(label, seed))
        manifest = detector.manifest(self.out / "crops")
        rows = manifest.rows_of("test")
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), ATTACKED)).round().astype(np.int64)]
        found = stored(file, lambda: _under_attack(detector, victim, manifest, rows))
        at_level = predictions(manifest, rows, torch.from_numpy(found["logit"]))
        if metric == "map":
            rank, clip = found["rank"][~manifest.untouched[rows]], at_level["frame"].clip
            return ratio(rank, np.ones(len(rank)), clip, 1 + int(clip.max()))
        scores = evaluated(at_level, None)["video", POOLED]
        return Value(scores.resamples[metric], scores.clips(metric))

    # Kinds, regions and captions

    def output(self, name: str, label: str, seed: int) -> Interval:
        """A score of ``outputs.json``; ``region_map_chance`` is what a constant answer gets on the same crops."""
        folder = self.run(label, seed)
        if name == "region_map_chance":
            return Interval(self._prevalence())
        found = json.loads((folder / "test" / "outputs.json").read_text())["scores"]
        if name not in found:
            raise NotMeasuredError(f"the test has no {name}")
        return _interval(found[name][:3], found[name][3])

    def _prevalence(self) -> float:
        manifest = Manifest.read(self.out / "crops")
        rows = manifest.rows_of("test")
        faces = FaceCrops(manifest, rows[~manifest.untouched[rows]], 112)
        manipulated, known = manipulated_regions(faces)
        share = manipulated[known].mean(axis=0)
        return float(share[(share > 0) & (share < 1)].mean())

    def caption(self, what: str, who: str, seed: int) -> Value:
        """``precision`` or ``recall`` of the regions that captions name; ``false``, the share of false clauses.

        ``precision_chance`` and ``recall_chance`` are those of the same names given to fakes drawn at random.
        """
        folder = self.run("kinds", seed) / "captions"
        if not (folder / "captions.json").is_file():
            given = ["--ckpt", str(self.checkpoint("kinds", seed)), "--crops", str(self.out / "crops")]
            given += ["--out", str(folder), "--epochs", str(self.caption_epochs), "--seed", str(seed)]
            if captions.main(given):
                raise NotMeasuredError("captions failed; the message is above")
        faces = json.loads((folder / "captions.json").read_text())["faces_named"]
        clip = np.array([face["clip"] for face in faces], np.int64)
        fakes = [face["altered"] for face in faces if face["altered"]]
        base = {name: np.mean([name in altered for altered in fakes]) for name in FACE_REGIONS}
        named, altered = [set(face[who]["named"]) for face in faces], [set(face["altered"]) for face in faces]
        said = np.array([len(one) for one in named], np.float64)
        there = np.array([len(one) for one in altered], np.float64)
        hits = np.array([len(one & other) for one, other in zip(named, altered, strict=True)], np.float64)
        chance = np.array([sum(base[name] for name in one) for one in named], np.float64)
        false, clauses = (np.array([face[who][key] for face in faces], np.float64) for key in ("false", "clauses"))
        parts = {
            "precision": (hits, said),
            "recall": (hits, there),
            "precision_chance": (chance, said),
            "recall_chance": (chance, there),
            "false": (false, clauses),
        }
        return ratio(*parts[what], clip, 1 + int(clip.max()))


def _interval(ends: Sequence[float | None], groups: int) -> Interval:
    """Value and ends of a JSON file, in which what is undefined is null."""
    value, low, high = (np.nan if end is None else end for end in ends)
    return Interval(value, low, high, groups)


def _mark(*files: Path) -> str:
    """Short digest of checkpoints, for the name of a file that depends on others than those of its folder."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def _sizes(bench: DetectorBenchmark) -> Floats:
    """Nodes that keep the verdict of each face."""
    net, faces = bench.net, bench.faces

    def make() -> Arrays:
        if not isinstance(net, ResGAT):
            raise NotMeasuredError(f"a {type(net).__name__} has no graph")
        found = [certify(net, images, faces.cut) for images in torch.split(faces.images, 8)]
        return {"keeps": np.array([len(one.keeps.nodes) for part in found for one in part], np.float64)}

    return bench.cache.get({**bench.key, "what": "certificates"}, make)["keeps"]


def _under_attack(detector: Detector, victim: Path, manifest: Manifest, rows: NDArray[np.int64]) -> Arrays:
    """Logits ``(n,)`` of attacked crops, and rank correlations of the contributions with those before."""
    net, faces = detector.net, FaceCrops(manifest, rows, detector.net.image_size)
    other = net if victim == detector.path else Detector.load(victim).net
    logits, ranks = [], []
    for places in torch.arange(len(faces)).split(32):
        samples = [faces[int(place)] for place in places]
        images = torch.stack([each["image"] for each in samples]).float() / 255
        label = torch.tensor([float(each["label"]) for each in samples])
        changed = pgd(lambda x: other(x).logit, images, label, EPS, STEPS)
        with torch.no_grad():
            before, after = contributions(net, images), contributions(net, changed)
        logits.append(after.output.logit)
        ranks.append(spearman(after.node, before.node))
    return {"logit": torch.cat(logits).numpy(), "rank": torch.cat(ranks).numpy()}


def _counts(face: ScoredFace, what: str) -> bool:
    return not face.fake if what == "silent" else face.fake and face.in_part
