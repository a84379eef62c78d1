"""Strength of the evidence: each reason for ``inconclusive`` alone, ratios from the pool only, words and rates."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import Level
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.familiarity import fit_familiarity, pooled_features, recorded_features
from resgat_pl.evaluation.likelihood_pool import LikelihoodPool, likelihood_path
from resgat_pl.evaluation.metrics.likelihood import LikelihoodRatios
from resgat_pl.explain.report.limits import DARKEST
from resgat_pl.explain.report.media import FoundFaces, Shot
from resgat_pl.explain.report.media_search import Medium
from resgat_pl.explain.report.scores_csv import BINS, COLUMNS, Row, bin_of, read_rows, sort_table
from resgat_pl.explain.report.strength import Weigher, deciding
from resgat_pl.explain.report.verdict import Judgement, compared, judge
from resgat_pl.nn.resgat import ResGAT

RATIOS = LikelihoodRatios(1.0, 0.0, -2.5, 2.5, 400, 400, 0.2, 0.15)
LOGITS = {"strong": 4.0, "weak": 1.0, "against": -4.0}
FRONT = np.array([[0.34, 0.4], [0.66, 0.4], [0.5, 0.58], [0.38, 0.74], [0.62, 0.74]], np.float32)


def shots(frames: int = 12, side: int = 150, grey: int = 130) -> list[Shot]:
    noise = np.random.default_rng(0).normal(grey, 20, (112, 112, 1))
    image = np.clip(np.repeat(noise, 3, axis=2), 0, 255).astype(np.uint8)
    return [Shot(i, i / 10, np.array([0, 0, side, side], np.int32), FRONT, image) for i in range(frames)]


def faces(*tracks: list[Shot]) -> FoundFaces:
    return FoundFaces((640, 360), 200, 12, list(tracks or [shots()]), [], [])


class Case:
    """A file that nothing is wrong with, of a detector with a pool beside its checkpoint; parts can be changed."""

    def __init__(self, folder: Path, pool: LikelihoodPool | None) -> None:
        self.path = folder / "a.ckpt"
        if pool is not None:
            pool.write(likelihood_path(self.path))
        self.medium = Medium(folder / "clip.mp4", "clip.mp4", "video")
        self.medium.path.write_bytes(b"0" * 2_000_000)

    def weigh(
        self,
        logits: list[float] | float = 4.0,
        found: FoundFaces | None = None,
        bound: float = 10.0,
        features: list[Any] | None = None,
        fingerprint: str = "aa",
        join: Literal["maximum", "noisy_or"] = "maximum",
        thresholds: dict[Level, float] | None = None,
    ) -> Judgement:
        found = found or faces()
        logits = logits if isinstance(logits, list) else [logits] * len(found.tracks)
        judged = judge(
            [np.full(len(track), logit) for track, logit in zip(found.tracks, logits, strict=True)],
            *(None, thresholds, self.medium.kind),
            join=join,
        )
        stub = SimpleNamespace(path=self.path, checkpoint=SimpleNamespace(fingerprint=fingerprint))
        weigher = Weigher(cast("Detector", stub), bound, 1.3, {})
        return weigher.weigh(self.medium, found, judged, features or [])


@pytest.fixture
def case(tmp_path: Path) -> Case:
    rng = np.random.default_rng(0)
    familiar = fit_familiarity(rng.normal(size=(80, 8)), np.arange(80))
    return Case(tmp_path, LikelihoodPool("aa", {"frame": None, "video": RATIOS}, "80 videos", familiar))


def test_strong_evidence_of_a_good_file_decides(case: Case) -> None:
    fake, real = case.weigh(4.0), case.weigh(-4.0)
    assert (fake.verdict, real.verdict) == ("fake", "real")
    assert fake.decision.reasons == [] and fake.decision.leaning == "fake"
    assert fake.strength is not None and fake.strength.likelihood is not None
    found = fake.strength.likelihood
    assert found.log10_lr == pytest.approx(4 / math.log(10), abs=1e-3)
    assert (found.ratio, found.words, found.bounded) == ("55", "moderate support for fake", False)
    said = fake.strength.statement
    assert "55 times as probable of a fake video" in said and "the reader's" in said and "80 videos" in said
    assert real.strength is not None
    assert "55 times as probable of a genuine video as of a fake one" in real.strength.statement


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"logits": 1.0}, "The evidence is weak: the likelihood ratio is 2.7, between 1/10 and 10"),
        ({"logits": 4.0, "bound": 1000}, "between 1/1000 and 1000"),
        ({"logits": 9.0, "bound": 1000}, "the pool supports none beyond 320"),
        ({"logits": 4.0, "thresholds": {"frame": 0.5, "video": 0.99}}, "speaks for fake, and the threshold"),
        ({"found": faces(shots(side=60))}, "The face is hard to judge: small, 46 px"),
        ({"found": faces(shots(grey=DARKEST - 30))}, "hard to judge: dark"),
        ({"found": faces(shots(frames=2))}, "found in 2 frames, fewer than 3"),
        ({"features": [np.full((5, 8), 9.0)]}, "is unlike those of the pool"),
    ],
)
def test_each_reason_alone_makes_it_inconclusive(change: dict[str, Any], said: str, case: Case) -> None:
    found = case.weigh(**change)
    assert found.verdict == "inconclusive"
    (reason,) = found.decision.reasons
    assert said in reason
    assert found.decision.leaning in ("fake", "real")
    decided = case.weigh(**{**change, "bound": 0})
    assert decided.verdict == decided.decision.leaning and decided.decision.reasons == []


def test_a_compressed_file_and_frames_that_differ_are_reasons(case: Case) -> None:
    case.medium.path.write_bytes(b"0" * 1000)
    assert "strongly compressed" in case.weigh().decision.reasons[0]
    judged = judge([np.array([3.0, -3.0] * 6)], None, None, "video")
    assert judged.decision.borderline
    stub = SimpleNamespace(path=case.path.with_name("none.ckpt"), checkpoint=SimpleNamespace(fingerprint=""))
    case.medium.path.write_bytes(b"0" * 2_000_000)
    found = Weigher(cast("Detector", stub), 10, 1.3, {}).weigh(case.medium, faces(), judged, [])
    assert found.decision.reasons == ["Other frames of this file could have turned the verdict."]


def test_a_poor_face_counts_where_the_verdict_rests_on_it(case: Case) -> None:
    both = faces(shots(), shots(side=60))
    assert case.weigh([4.0, -4.0], both).verdict == "fake"  # the good face decides
    real = case.weigh([-4.0, -5.0], both)
    assert real.verdict == "inconclusive"  # the poor one may be the fake
    assert real.decision.reasons[0].startswith("Face 2 is hard to judge")
    assert deciding(case.weigh([4.0, -4.0], both)) == [0]


def test_without_a_pool_of_this_checkpoint_there_is_no_number(case: Case, tmp_path: Path) -> None:
    other = case.weigh(fingerprint="bb")
    likelihood_path(case.path).unlink()
    for found, said in ((other, "of another checkpoint"), (case.weigh(), "not calibrated on a pool")):
        assert found.strength is not None and found.strength.likelihood is None
        assert said in found.strength.statement
        assert found.verdict == "fake"
        assert "unknown" in found.strength.source and len(found.strength.not_tested) == 4


def test_joined_faces_and_images_get_no_ratio_that_was_not_fitted(case: Case) -> None:
    joined = case.weigh([4.0, 3.0], faces(shots(), shots()), join="noisy_or")
    assert joined.strength is not None and joined.strength.likelihood is None
    case.medium = Medium(case.medium.path, "clip.png", "image")
    image = case.weigh(4.0, faces(shots(1)))
    assert image.strength is not None and "none per frame" in image.strength.statement
    empty = case.weigh([], FoundFaces((640, 360), 1, 1, [], [], []))
    assert empty.verdict == "no face" and empty.strength is not None and empty.strength.likelihood is None


def test_the_console_says_which_side_an_inconclusive_file_leans_to() -> None:
    said = compared(0.6, 0.55, "inconclusive", None, chosen=True, calibrated=True, leaning="fake")
    assert said == "inconclusive, leaning fake, probability of fake 0.60, above the threshold 0.55"


def test_the_table_is_sorted_for_triage(tmp_path: Path) -> None:
    rows = [
        Row("broken", "failed"),
        Row("weak", "scored", "inconclusive", 0.6, leaning="fake", log10_lr=0.3),
        Row("likely", "scored", "fake", 0.8, leaning="fake", log10_lr=1.2),
        Row("real", "scored", "real", 0.1, leaning="real", log10_lr=-1.5),
        Row("surely", "scored", "fake", 0.9, leaning="fake", log10_lr=2.0),
        Row("nobody", "no face"),
        Row("doubtful", "scored", "inconclusive", 0.2, leaning="real"),
    ]
    from resgat_pl.explain.report.scores_csv import ScoreTable

    with ScoreTable(tmp_path, {"schema": 3}) as table:
        for row in rows:
            table.add(replace(row, bin=bin_of(row)))
    sort_table(tmp_path)
    found = read_rows(tmp_path / "scores.csv")
    assert [row["file"] for row in found] == ["surely", "likely", "weak", "doubtful", "real", "nobody", "broken"]
    assert sorted({row["bin"] for row in found}) == list(BINS)
    assert set(found[0]) == set(COLUMNS)


def test_a_pool_of_another_network_is_refused(case: Case) -> None:
    net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=8, image_size=64).eval()
    stub = SimpleNamespace(path=case.path, net=net, checkpoint=SimpleNamespace(fingerprint="aa"))
    with pytest.raises(ConfigError, match=r"a\.likelihood\.json has 8 features, and the detector 256"):
        Weigher(cast("Detector", stub), 10, 1.3, {}).check()
    likelihood_path(case.path).write_text("{}")
    with pytest.raises(ConfigError, match=r"a\.likelihood\.json"):
        Weigher(cast("Detector", stub), 10, 1.3, {}).check()


def test_features_are_those_of_the_pass_that_scores() -> None:
    net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=8, image_size=64).eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad(), recorded_features(net) as seen:
        net(images)
    np.testing.assert_allclose(torch.cat(seen).numpy(), pooled_features(net, images), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        net(images)
    assert len(seen) == 1  # the network is as before
