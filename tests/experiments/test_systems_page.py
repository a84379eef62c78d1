"""Verdicts of ``make systems``: by rule, from paired differences."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from systems import LEFT_OUT, PAGE, SEEDS, Training, main, options, parser, trainings
from systems_claims import Line, claims
from systems_measure import BOARDS, ELSEWHERE, MEMBERS, Lab, NotMeasuredError
from systems_page import HELD, NOT_HELD, OPEN, Found, Verdict, measured, page, together, verdict
from systems_values import Value

from resgat_pl.evaluation.metrics.intervals import Interval, draw

CLIPS = 30


def seeds_of(shift: float, noise: float = 0.0, clips: int = CLIPS) -> list[Value]:
    """Three seeds of means over clips; two calls differ by ``shift`` and independent ``noise`` alone."""
    weight = np.concatenate([np.ones((1, clips), np.int64), draw(clips, 1000, 0)]) / clips
    hard = np.random.default_rng(0).normal(0, 0.3, clips)  # the same clips are hard for all detectors
    own = np.random.default_rng(int(1000 * noise) + 7).normal(0, noise, (3, clips))
    return [Value(weight @ (hard + shift + own[seed]), clips) for seed in range(3)]


def line(ours: list[Value], beside: list[Value] | float, **more: bool) -> Line:
    other = beside if isinstance(beside, float) else lambda lab, seed: beside[seed]
    return Line("score", ("a", "b"), lambda lab, seed: ours[seed], other, **more)


def judged(one: Line, seeds: int = 3) -> tuple[Found, Verdict]:
    found = measured(one, Lab(Path("nowhere"), seeds), seeds)
    return found, verdict(found.gap, seeds, one.margin, one.low)


@pytest.mark.parametrize(
    ("interval", "seeds", "expected"),
    [
        (Interval(0.05, 0.01, 0.09, 30), 3, HELD),
        (Interval(0.05, 0.0, 0.09, 30), 3, OPEN),
        (Interval(0.05, -0.03, 0.09, 30), 3, OPEN),
        (Interval(0.0, -0.03, 0.019, 30), 3, NOT_HELD),
        (Interval(-0.05, -0.09, -0.01, 30), 3, NOT_HELD),
        (Interval(0.05, 0.01, 0.09, 30), 2, OPEN),
        (Interval(0.05), 3, OPEN),
        (Interval(float("nan")), 3, OPEN),
    ],
)
def test_a_verdict_rests_on_the_interval_alone(interval: Interval, seeds: int, expected: str) -> None:
    assert verdict(interval, seeds, 0.02) == expected


def test_low_is_good_turns_the_sign() -> None:
    assert verdict(Interval(-0.05, -0.09, -0.01, 30), 3, 0.02, low=True) == HELD
    assert verdict(Interval(0.05, 0.01, 0.09, 30), 3, 0.02, low=True) == NOT_HELD
    assert verdict(Interval(0.0, -0.03, 0.03, 30), 3, 0.02, low=True) == OPEN


def test_a_claim_holds_if_all_its_measures_do() -> None:
    assert together([HELD, HELD]) == HELD
    assert together([HELD, OPEN]) == OPEN
    assert together([HELD, OPEN, NOT_HELD]) == NOT_HELD
    assert together([]) == OPEN


def test_differences_are_paired_by_clip() -> None:
    found, said = judged(line(seeds_of(0.05, 0.01), seeds_of(0.0, 0.02)))
    assert said == HELD
    assert found.gap.value == pytest.approx(0.05, abs=0.02)
    assert found.gap.high - found.gap.low < 0.2 * (found.ours.high - found.ours.low), "hard clips cancel out"
    assert found.gap.groups == CLIPS
    assert judged(line(seeds_of(0.0, 0.01), seeds_of(0.05, 0.02)))[1] == NOT_HELD
    assert judged(line(seeds_of(0.0, 0.01), seeds_of(0.0, 0.02)))[1] == NOT_HELD, "a gain of 2 points is excluded"
    assert judged(line(seeds_of(0.03, 0.8), seeds_of(0.0, 0.9)))[1] == OPEN


def test_seeds_that_disagree_widen_the_interval() -> None:
    alike, apart = seeds_of(0.05, 0.01), seeds_of(0.05, 0.01)
    apart[2] = apart[2]._replace(values=apart[2].values - 0.3)
    wide, narrow = (judged(line(some, seeds_of(0.0, 0.02)))[0].gap for some in (apart, alike))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_a_constant_and_too_few_clips() -> None:
    found, said = judged(line(seeds_of(0.9, 0.01), 0.5))
    assert said == HELD
    assert found.gap.value == pytest.approx(found.ours.value - 0.5)
    assert judged(line(seeds_of(0.9, 0.01, clips=5), 0.5))[1] == OPEN


def test_what_was_not_measured_is_said_and_judged_by_nothing() -> None:
    def absent(lab: Lab, seed: int) -> Value:
        raise NotMeasuredError("capsule was not trained")

    one = Line("score", ("a", "b"), absent, 0.5)
    found, said = judged(one)
    assert (found.note, said) == ("capsule was not trained", OPEN)


def test_a_page_of_nothing_has_no_verdict(tmp_path: Path) -> None:
    text = page(Lab(tmp_path, 3), {"seeds:": 3}, ["0 of 63 detectors are trained"])
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| [")]
    assert {row[-2].strip() for row in rows if len(row) == 8} == {OPEN}
    assert f"**{HELD}**" not in text
    assert f"**{NOT_HELD}**" not in text
    assert "not run in full: 0 of 63 detectors are trained" in text
    assert {row[1].strip() for row in rows} == {f"[{n}]" for n in (7, 8, 9, 10, 11, 12, 13, 15, 16)}


def test_the_committed_page_has_the_claims_of_the_program() -> None:
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| [")]
    told = [[cell.strip() for cell in row[1:4]] for row in rows if len(row) == 7]
    assert told == [[claim.ref, claim.system, claim.text] for claim in claims(6)]


def test_the_committed_page_follows_the_rule() -> None:
    """Every verdict is that of the printed interval: nobody wrote one in."""
    number = r"([+-]\d+\.\d+)"
    for row in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) != 8 or not cells[1].startswith("[") or not (found := re.search(rf"\[{number}, {number}\]", row)):
            assert len(cells) != 8 or cells[6] not in {HELD, NOT_HELD}
            continue
        low, high = (float(end) for end in found.groups())
        low, high = (-high, -low) if "(low is good)" in row else (low, high)
        if cells[6] == HELD:
            assert low >= 0
        if cells[6] == NOT_HELD:
            assert high <= 2.005


def test_variants_of_a_seed_differ_from_the_baseline_in_one_option_alone(tmp_path: Path) -> None:
    given = parser().parse_args(["--weights", "w.pth", "--vit", "v.pth"])
    every = list(trainings(SEEDS))
    assert len({each.name for each in every}) == len(every) == 63
    base = options(Training("baseline", 1), tmp_path, given)
    for label, extra in (("capsule", 2), ("two_pass", 4), ("trades", 2)):
        mine = options(Training(label, 1), tmp_path, given)
        assert mine[:4] + mine[4 + extra :] == base
    unseen = options(Training("baseline_unseen", 1), tmp_path, given)
    assert unseen[: len(base)] == base
    assert LEFT_OUT[1] in unseen[-1]
    assert LEFT_OUT[0] in options(Training("gcn_unseen", 0), tmp_path, given)[-1]


def test_clips_come_after_their_baseline_and_take_its_weights(tmp_path: Path) -> None:
    given = parser().parse_args(["--weights", "w.pth"])
    names = [each.name for each in trainings(2, vit=False)]
    for each in trainings(2, vit=False):
        if each.needs:
            assert names.index(each.needs) < names.index(each.name)
            made = options(each, tmp_path, given)
            assert made[made.index("--net.init_args.frames") + 1] == str(
                tmp_path / each.needs / "checkpoints" / "best.ckpt"
            )
            assert made[made.index("--data.crops") + 1] == str(tmp_path / "partly_crops")


def test_everything_that_is_measured_is_trained() -> None:
    labels = {each.label for each in trainings(1)}
    assert {*MEMBERS, ELSEWHERE, *(label for board in BOARDS.values() for label in board)} <= labels


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # of detectors that learned nothing
def test_a_tiny_run_fills_rows_and_is_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--out", str(tmp_path / "out"), "--page", str(tmp_path / "page.md"), "--videos", "12", "--epochs", "1"]
    asked += ["--seeds", "1", "--jobs", "1", "--weights", "null", "--only", "baseline", "capsule"]
    assert main(asked) == 0
    text = re.sub(" +", " ", (tmp_path / "page.md").read_text())
    rows = [row for row in text.splitlines() if row.startswith("| [8] | AUROC, videos")]
    assert re.search(r"capsule: \d+\.\d\d \| baseline: \d+\.\d\d", rows[0])
    done = [*(tmp_path / "out").glob("*/done.json")]
    before = {path: path.stat().st_mtime_ns for path in done}
    assert len(done) == 2
    assert main(asked) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == before
    capsys.readouterr()
    assert main([*asked[:-3], "--only", "baseline", "--epochs", "2"]) == 2, "another number of epochs is another run"
    assert "run of other options" in capsys.readouterr().err
