"""From a file's faces to its document."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.face_regions import REGIONS
from resgat_pl.data.crop_store.encoding import resize_crop
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.familiarity import has_features, pooled_features, recorded_features
from resgat_pl.evaluation.provenance import environment
from resgat_pl.evaluation.training_data import TrainedOn, faces_known, trained_on
from resgat_pl.explain import registry
from resgat_pl.explain.base import Explainer, Explanation, Target, edge_index_of
from resgat_pl.explain.methods.variants import PredictedMask
from resgat_pl.explain.regions import LANDMARKS, or_average, region_weights
from resgat_pl.explain.report import document as doc
from resgat_pl.explain.report.caveats import caveats, mask_note
from resgat_pl.explain.report.certificates import certificate_of, strongest
from resgat_pl.explain.report.clip_words import clip_notes, span_of, strongest_frames
from resgat_pl.explain.report.evidence import Reference, evidence_of
from resgat_pl.explain.report.face_records import RegionEvidence
from resgat_pl.explain.report.limits import limits, rests_on, unsaid
from resgat_pl.explain.report.media import FoundFaces, Shot
from resgat_pl.explain.report.media_search import Medium
from resgat_pl.explain.report.members import disagreement, members_of
from resgat_pl.explain.report.node_maps import (
    jpeg_of,
    mean_map,
    node_maps,
    region_areas,
    scale_in,
    scale_of,
    short,
)
from resgat_pl.explain.report.outputs import about, mean_finding
from resgat_pl.explain.report.run_methods import (
    Explained,
    face_logits,
    is_shared,
    mask_numbers,
    outputs_shown,
    own_parts,
    run,
)
from resgat_pl.explain.report.strength import BOUND, Weigher
from resgat_pl.explain.report.verdict import Judgement, calibration_of, judge, level_of
from resgat_pl.explain.report.verdict_records import Centres, Checkpoint
from resgat_pl.explain.sentences import Finding, apart, findings, unexplained
from resgat_pl.nn.hub import display_name
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.video.faces import Join

_DEPENDENT: Final = frozenset({"NodeEvidence", "Consensus", "FineContribution", "CoarseContribution", "Routing"})
"""Signed methods that are no second opinion: made of the contributions, or a coefficient."""

_FOR_DISTANCE: Final = 8
"""Frames of a face whose distance from the pool is measured."""
_NO_SHEET: Final = (
    "There is no evidence sheet: its regions are those that contributions name, and among the methods of this report "
    "there are none."
)


@dataclass
class Examiner:
    """Judges and explains files with one detector.

    Attributes:
        detector: The detector.
        extraction: How faces are cut out.
        assumed: What of that is not known from the checkpoint, in words.
        methods: Explainers, the one to show first first.
        batch_size: Faces that go through the network at once.
        seed: Of the bootstrap.
        evidence: Whether to add an evidence sheet to each face.
        reference: Genuine faces for it to compare with.
        join: Way from the scores of faces to that of the file.
        bound: Likelihood ratio below which, and above whose inverse, a verdict is inconclusive; 0 never says so.
    """

    detector: Detector
    extraction: Extraction
    assumed: list[str]
    methods: list[type[Explainer]]
    batch_size: int = 32
    seed: int = 0
    evidence: bool = False
    reference: Reference | None = None
    join: Join = "maximum"
    bound: float = BOUND

    @cached_property
    def trained_on(self) -> TrainedOn:
        """The detector's training data in words."""
        return trained_on(self.detector.provenance)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The detector as documents name it."""
        stored, spec = self.detector.checkpoint, self.extraction.spec
        for name in {"frames", "every", "max_faces", "version"} & spec.keys():
            del spec[name]
        named = display_name(self.detector.path)
        known = self.detector.validation
        chosen = known.text if known else "unknown files"
        validated = f"Threshold and scale were chosen on {chosen}."
        return Checkpoint(
            named, stored.fingerprint, self.detector.net.spec, spec, self.assumed, *self.trained_on, validated
        )

    def score(self, medium: Medium, found: FoundFaces) -> Judgement:
        """Judge a file without explaining it."""
        shots = [shot for track in found.tracks for shot in track]
        lengths = [len(track) for track in found.tracks]
        with recorded_features(self.detector.net) as seen:
            faces = face_logits(self.detector.net, self._images(shots), self.batch_size, lengths) if shots else []
        features = [part.double().numpy() for part in torch.split(torch.cat(seen), lengths)] if seen else []
        return self.weigher.weigh(medium, found, self._judge(medium, faces), features)

    def document(self, medium: Medium, found: FoundFaces, started: float) -> doc.Document:
        """Judge a file and explain its faces.

        Args:
            medium: The file.
            found: Its faces.
            started: ``time.perf_counter()`` of when the work on it began.
        """
        shots = [shot for track in found.tracks for shot in track]
        net, lengths = self.detector.net, [len(track) for track in found.tracks]
        explained = run(net, self._images(shots), self.methods, self.batch_size, lengths) if shots else None
        faces = [] if explained is None else explained.faces or list(torch.split(explained.logit, lengths))
        judgement = self.weigher.weigh(medium, found, self._judge(medium, faces), self._features(found))
        return doc.Document(
            schema=doc.SCHEMA,
            file=medium.path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),  # need not be Unicode
            kind=medium.kind,
            size=found.size,
            frames_total=found.total,
            frames_sampled=found.sampled,
            verdict=judgement.verdict,
            probability=judgement.probability,
            interval=judgement.interval,
            decision=judgement.decision,
            calibration=calibration_of(
                self._temperature(medium),
                level_of(medium.kind),
                self.detector.validation,
                self.detector.temperatures["frame"],
            ),
            checkpoint=self.checkpoint,
            versions=self._versions,
            seed=self.seed,
            grid=self._lattice.shape,
            centres=Centres(*([round(share, 6) for share in axis] for axis in self._lattice.centres)),
            regions=list(REGIONS),
            landmarks=list(LANDMARKS),
            edge_index=edge_index_of(self.detector.net).tolist(),
            methods=[self._method(method, explained) for method in self.methods]
            + _methods_of_outputs(explained, judgement.decision.threshold),
            tracks=[] if explained is None else self._tracks(medium, found, explained, judgement),
            notes=[
                *self.notes(medium, found, judgement),
                *own_parts(self.detector, explained),
                *([_NO_SHEET] if self.evidence and explained is not None and explained.contribution is None else []),
            ],
            caveats=caveats(self.detector, self._temperature(medium) is not None),
            seconds=round(time.perf_counter() - started, 3),
            faces_found=len(found.tracks) + len(found.unjudged),
            strength=judgement.strength,
        )

    def notes(self, medium: Medium, found: FoundFaces, judgement: Judgement) -> list[str]:
        """Sentences on what is unusual about a file and limits its verdict."""
        size = medium.path.stat().st_size if medium.path.is_file() else 0
        known = faces_known(self.detector.provenance)
        return [
            *self.assumed,
            *found.notes,
            *unsaid(limits(medium, found, self.extraction.margin, known, size), judgement.decision.reasons),
            *clip_notes(self.detector.net, [len(track) for track in found.tracks]),
            *_doubts(found, judgement),
            *judgement.notes,
        ]

    @cached_property
    def weigher(self) -> Weigher:
        """From fake or real to a verdict that may be inconclusive."""
        known = faces_known(self.detector.provenance)
        return Weigher(self.detector, self.bound, self.extraction.margin, known)

    def _features(self, found: FoundFaces) -> list[NDArray[np.float64]]:
        """Pooled features of some frames of each face, for the distance from the pool; none where there is no such."""
        net = self.detector.net
        if not self.weigher.has_distance or not has_features(net):
            return []
        chosen = [track[:: max(1, -(-len(track) // _FOR_DISTANCE))] for track in found.tracks]
        return [pooled_features(net, self._images(shots), self.batch_size) for shots in chosen]

    @cached_property
    def _lattice(self) -> Lattice:
        side = self.detector.net.image_size
        return self.detector.net.lattice(side, side)

    @cached_property
    def _versions(self) -> dict[str, Any]:
        return environment()

    def _images(self, shots: Sequence[Shot]) -> Tensor:
        """``(B, 3, S, S)`` float in [0, 1], as the network saw faces in training."""
        side = self.detector.net.image_size
        faces = np.stack([resize_crop(shot.image, side) for shot in shots])
        return torch.from_numpy(faces).permute(0, 3, 1, 2).float().div_(255)

    def _judge(self, medium: Medium, logits: Sequence[Tensor]) -> Judgement:
        faces, known = [face.numpy() for face in logits], self.detector
        frame, video = known.temperatures["frame"], known.temperatures["video"]
        return judge(faces, frame, known.thresholds, medium.kind, self.seed, video, known.validation, self.join)

    def calibrated(self, medium: Medium) -> Literal["yes", "no"]:
        """``yes`` if the probability of a file is calibrated."""
        return "no" if self._temperature(medium) is None else "yes"

    def _temperature(self, medium: Medium) -> float | None:
        """Of scores at the level of the file."""
        return self.detector.temperatures[level_of(medium.kind)]

    def _method(self, method: type[Explainer], explained: Explained | None) -> doc.Method:
        found = None if explained is None else explained.methods[method.__name__]
        return doc.Method(
            name=method.__name__,
            unit=method.unit,
            signed=method.signed,
            exact=method.exact,
            about=registry.describe(method) + mask_note(self.detector, method),
            scale=1.0 if explained is None else scale_in(method, explained.methods),
            forward=found.n_forward if found else 0.0,
            backward=found.n_backward if found else 0.0,
            graph=found.n_graph if found else 0.0,
            milliseconds=round(1000 * found.seconds, 3) if found else 0.0,
            shared=is_shared(method),
            threshold=self.detector.checkpoint.mask_threshold if method is PredictedMask else None,
        )

    def _tracks(
        self, medium: Medium, found: FoundFaces, explained: Explained, judgement: Judgement
    ) -> list[doc.FaceTrack]:
        shots = [shot for track in found.tracks for shot in track]
        landmarks, replaced = or_average(torch.from_numpy(np.stack([shot.landmarks for shot in shots])))
        said = self._said(medium, explained, torch.where(replaced[:, None, None], torch.nan, landmarks), judgement)
        # Maps of single frames, and what is said of each.
        weights = region_weights(landmarks, self._lattice)
        further = outputs_shown(explained, judgement.decision.threshold)
        areas = region_areas(weights, self._lattice)
        maps = {name: node_maps(explanation, weights) for name, explanation in explained.methods.items()}
        maps |= {
            name: [replace(part, logit=short(float(found.logit[place]))) for place, part in enumerate(parts)]
            for name, found in further.items()
            for parts in [node_maps(found, weights)]
        }
        frames = [
            doc.FaceFrame(
                index=shot.number,
                time=None if shot.time is None else round(shot.time, 4),
                box=shot.box.tolist(),
                landmarks=[[short(value) for value in point] for point in landmarks[place].tolist()],
                landmarks_found=not bool(replaced[place]),
                logit=short(said[place].logit),
                probability=short(said[place].probability),
                maps={name: parts[place] for name, parts in maps.items()},
                sentence=said[place].sentence,
                **_stated(said[place]),
                jpeg=jpeg_of(resize_crop(shot.image, self.detector.net.image_size)),
            )
            for place, shot in enumerate(shots)
        ]
        # Their means over each face.
        tracks, start = [], 0
        for number, (track, scored) in enumerate(zip(found.tracks, judgement.faces, strict=True), 1):
            part = slice(start, start + len(track))
            start += len(track)
            mean = mean_finding(said[part], scored.probability, judgement.decision.limit)
            logits = [frame.logit for frame in frames[part]]
            mean = replace(mean, span=span_of(self.detector.net, track, logits, mean.cut))
            members = members_of(self.detector.net, self._images(track), landmarks[part], self.batch_size)
            most = strongest(logits, scored.verdict)
            image = self._images([track[most]])[0]
            records, sheet = self._evidence(track[most], landmarks[part][most], said[part][most], scored.verdict)
            everything = {**explained.methods, **further}
            ahead = f"On average over {len(track)} frames: " if len(track) > 1 else ""
            tracks.append(
                doc.FaceTrack(
                    number=number,
                    probability=short(scored.probability),
                    interval=scored.interval,
                    score=short(scored.score),
                    logit=short(mean.logit),
                    maps={name: mean_map(parts[part], everything[name], part) for name, parts in maps.items()},
                    sentence=ahead + mean.sentence + strongest_frames(self.detector.net, track, explained.logit[part]),
                    **_stated(mean),
                    frames=frames[part],
                    share=short(scored.share),
                    areas=[short(value) for value in areas[part].mean(dim=0).tolist()],
                    members=members,
                    disagreement=disagreement(members),
                    evidence=records,
                    evidence_png=sheet,
                    certificate=certificate_of(
                        self.detector.net, image, track[most].number, judgement.decision.threshold
                    ),
                )
            )
        return tracks

    def _evidence(
        self, shot: Shot, landmarks: Tensor, said: Finding, verdict: Target
    ) -> tuple[list[RegionEvidence], bytes]:
        if not self.evidence or not said.regions:
            return [], b""
        image = np.asarray(resize_crop(shot.image, self.detector.net.image_size))
        named = list(said.named(verdict) or said.named("real" if verdict == "fake" else "fake"))
        return evidence_of(image, landmarks.numpy(), said.regions, named, shot.number, self.reference)

    def _said(self, medium: Medium, explained: Explained, landmarks: Tensor, judgement: Judgement) -> Sequence[Finding]:
        """The numbers of the words, face by face: those of the contributions, whatever methods are shown."""
        temperature = self._temperature(medium)  # the file's for its frames too: their mean is then among them
        limit = judgement.decision.limit
        if explained.contribution is None:
            reason = f"No region is named: the logit of a {type(self.detector.net).__name__} is no sum over regions."
            said = unexplained(explained.logit, reason, temperature, limit)
        else:
            other = _second_opinion(explained)
            said = findings(explained.contribution, landmarks, explained.attention, other, temperature, limit)
        masks = mask_numbers(self.detector, explained)
        said = [replace(finding, mask=mask) for finding, mask in zip(said, masks, strict=True)]
        known = self.detector.checkpoint.limits.get("unknown_kind")
        return said if explained.outputs is None else explained.outputs.findings(said, known)


def _doubts(found: FoundFaces, judgement: Judgement) -> list[str]:
    """Notes on a file without a verdict, or on one that rests on little or follows an unusual threshold."""
    decision, probability = judgement.decision, judgement.probability
    if decision.score is None or probability is None:
        frames = f"{found.sampled} frame{'s' * (found.sampled != 1)}"
        return [
            f"No face was found in {frames} of {found.size[0]}×{found.size[1]} px, so there is "
            "nothing to judge. Is it a face, upright, and an eighth of the picture or larger?"
        ]
    notes = rests_on([n for n, face in enumerate(judgement.faces) if face.verdict == "fake"], found)
    if (probability > 0.5) != (judgement.leaning == "fake"):
        limit = apart(probability, decision.limit)[1]
        notes.append(f"The verdict follows the threshold {limit}; by 0.5 it would be the other one.")
    return notes


def _second_opinion(explained: Explained) -> Explanation | None:
    """A signed method to compare the contributions with: one of its own kind if there is, else the value factor."""
    words = explained.contribution
    others = [found for found in explained.methods.values() if found.signed and words and found.method != words.method]
    independent = [found for found in others if found.method not in _DEPENDENT]
    return next(iter([*independent, *others]), None)


def _stated(finding: Finding) -> dict[str, Any]:
    """Numbers, clauses and kind of a face, as fields of the document."""
    return {
        "numbers": {name: short(value) for name, value in finding.numbers.items()},
        "clauses": [doc.StatedClause(clause.text, list(clause.keys)) for clause in finding.clauses],
        "kind": finding.kind,
    }


def _methods_of_outputs(explained: Explained | None, threshold: float) -> list[doc.Method]:
    """Entries of the maps of further outputs, on one scale."""
    found = {} if explained is None else outputs_shown(explained, threshold)
    scale = scale_of(found.values()) if found else 1.0
    free: dict[str, Any] = {"forward": 0.0, "backward": 0.0, "graph": 0.0, "milliseconds": 0.0, "shared": False}
    return [doc.Method(name, "logit", True, True, about(name), scale, **free) for name in found]
