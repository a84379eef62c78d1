from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.types import Level
from resgat_pl.data.manifest.table import Manifest, merge, rows_to_table
from resgat_pl.evaluation.metrics.binary import METRICS, THRESHOLDED, measure
from resgat_pl.evaluation.metrics.intervals import bootstrap
from resgat_pl.evaluation.metrics.scores import (
    AT_VAL,
    POOLED,
    Predictions,
    Scores,
    clip_codes,
    describe,
    evaluate,
    read_predictions,
)
from resgat_pl.evaluation.predict import predictions as score_predictions
from resgat_pl.evaluation.predictions_csv import write_predictions
from resgat_pl.explain.report.verdict import judge


def predictions(methods: Sequence[str], each: int = 12, frames: int = 1, seed: int = 0) -> Predictions:
    """As many videos of each method; the codes of the videos are neither sorted nor without gaps."""
    rng = np.random.default_rng(seed)
    method = np.repeat(np.array(methods, object), each)
    label = (method != "original").astype(np.int64)
    probability = 1 / (1 + np.exp(-rng.normal(label, 1.0)))
    video = rng.permutation(3 * len(method))[: len(method)]
    rows = np.repeat(np.arange(len(method)), frames)
    return Predictions(probability[rows], label[rows], method[rows], video[rows], video[rows])


def both(methods: Sequence[str], frames: int) -> dict[Level, Predictions]:
    return {"frame": predictions(methods, frames=frames), "video": predictions(methods)}


def shown(scores: Scores) -> dict[str, float]:
    return {name: interval.value for name, interval in scores.values.items()}


def test_pooled_first_and_then_each_method_with_all_genuine_videos() -> None:
    frames, videos = (predictions(["original", "swap", "cam"], frames=n) for n in (3, 1))
    found = evaluate({"frame": frames, "video": videos}, resamples=5)
    assert [(row.level, row.method, row.real, row.fake) for row in found] == [
        ("frame", POOLED, 36, 72),
        ("frame", "cam", 36, 36),
        ("frame", "swap", 36, 36),
        ("video", POOLED, 12, 24),
        ("video", "cam", 12, 12),
        ("video", "swap", 12, 12),
    ]
    for row in found:
        part = {"frame": frames, "video": videos}[row.level]
        chosen = (part.label == 0) | (part.method == row.method) | (row.method == POOLED)
        assert tuple(row.values) == METRICS
        assert shown(row) == pytest.approx(measure(part.probability[chosen], part.label[chosen]))


@pytest.mark.parametrize(
    ("methods", "fakes", "rows"),
    [
        (["original", "swap"], ["swap"], [POOLED]),  # a single method is not shown twice
        (["original"], [], [POOLED]),
        (["swap"], ["swap"], [POOLED]),
        (["original", "phone", "swap", "cam"], ["swap", "cam"], [POOLED, "cam", "swap"]),
    ],
)
def test_each_method_of_several_has_a_row(methods: list[str], fakes: list[str], rows: list[str]) -> None:
    part = predictions(methods)
    part = part._replace(label=np.isin(part.method, fakes).astype(np.int64))
    found = evaluate({"video": part}, resamples=2)
    assert [row.method for row in found] == rows
    assert {row.real for row in found} == {12 * len({*methods} - {*fakes})}, "all genuine videos in each"


def test_thresholds_chosen_on_validation_data() -> None:
    parts = both(["original", "swap"], frames=2)
    thresholds: dict[Level, float] = {"frame": 0.3, "video": 0.7}
    found = evaluate(parts, thresholds, resamples=4)
    plain = evaluate(parts, resamples=4)
    for row, without in zip(found, plain, strict=True):
        part = parts[row.level]
        assert row.resamples.keys() - without.resamples.keys() == {name + AT_VAL for name in THRESHOLDED}
        assert [name for name in row.resamples if not name.endswith(AT_VAL)] == list(METRICS)
        names = list(row.resamples)
        assert all(names[names.index(name) + 1] == name + AT_VAL for name in THRESHOLDED), "side by side"
        at_val = bootstrap(part.probability, part.label, _codes(part), thresholds[row.level], 4)
        for name in METRICS:
            np.testing.assert_array_equal(row.resamples[name], without.resamples[name])
        for name in THRESHOLDED:
            np.testing.assert_allclose(row.resamples[name + AT_VAL], at_val[name], rtol=1e-12)
        assert any(shown(row)[name + AT_VAL] != shown(row)[name] for name in THRESHOLDED)


def test_calibration_is_measured_at_the_level_that_is_reported() -> None:
    parts = both(["original", "swap"], frames=2)
    plain, found = (evaluate(parts, resamples=4, temperatures=t) for t in (None, {"frame": None, "video": 0.5}))
    assert found[0].resamples.keys() == plain[0].resamples.keys(), "frames have none"
    assert found[1].resamples.keys() - plain[1].resamples.keys() == {"log_loss_calibrated", "ece_calibrated"}
    part = parts["video"]
    odds = np.log(part.probability / (1 - part.probability))
    wanted = measure(1 / (1 + np.exp(-odds / 0.5)), part.label)
    for name in ("log_loss", "ece"):
        value = found[1].values[f"{name}_calibrated"]
        assert value.value == pytest.approx(wanted[name])
        assert value.groups == found[1].values[name].groups
    assert "| ece | ece calibrated |" in re.sub(" +", " ", describe(found[1:]))
    assert "ece calibrated" not in describe(plain)
    assert len({line.count("|") for line in describe(found).splitlines()}) == 1


def _codes(part: Predictions) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.unique(part.video, return_inverse=True)[1].astype(np.int64)


def test_json_has_null_for_what_is_undefined() -> None:
    (row,) = evaluate({"video": predictions(["original"])}, {"video": 0.4}, resamples=20)
    assert "undefined" in describe([row])
    document = json.loads(json.dumps(row.plain(), allow_nan=False))
    assert document["level"] == "video"
    assert (document["method"], document["real"], document["fake"]) == (POOLED, 12, 0)
    assert document["values"]["auroc"] == [None, None, None]
    value, low, high = document["values"]["accuracy"]
    assert 0 <= low <= value <= high <= 1
    assert document["values"].keys() == row.resamples.keys()
    assert "resamples" not in document
    assert document["clips"] == document["groups"]["accuracy"] == document["groups"]["auroc"] == 12
    few = json.loads(json.dumps(evaluate({"video": predictions(["original", "swap"], 4)})[0].plain(), allow_nan=False))
    assert few["values"]["accuracy"][1:] == [None, None] != few["values"]["accuracy"][:1]
    assert (few["clips"], few["groups"]["accuracy"], few["groups"]["auroc"]) == (8, 8, 4)


def test_table() -> None:
    parts = both(["original", "swap", "cam"], frames=200)
    for thresholds, width in ((None, 11), ({"frame": 0.4, "video": 0.6}, 12)):
        table = describe(evaluate(parts, thresholds, resamples=20)).splitlines()  # type: ignore[arg-type]  # literals
        assert len(table) == 2 + 6
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
        assert {len(row) for row in cells} == {width}
        assert cells[0][:5] == ["level", "fakes of", "real / fake", "clips", "auroc"]
        assert ("balanced accuracy at val" in cells[0]) == (thresholds is not None)
        assert set("".join(cells[1])) == {"-"}
        assert [row[:4] for row in cells[2:4]] == [
            ["frame", "all", "2,400 / 4,800", "36"],
            ["frame", "cam", "2,400 / 2,400", "24"],
        ]
        assert all(cell.count("[") == cell.count(",") == 1 for row in cells[2:] for cell in row[4:])
    value, low, high, _ = evaluate(parts, resamples=20)[3].values["auroc"]
    assert f"| {100 * value:.2f} [{100 * low:.2f}, {100 * high:.2f}] " in table[5]


def manifest(folder: Path, names: Sequence[tuple[str, str, str]], frames: int = 3, tracks: int = 2) -> Manifest:
    """``names`` are method, compression, video."""
    rows = [
        {"dataset": "ffpp", "method": method, "compression": compression, "video": video, "identities": [video],
         "part": "", "split": "test", "label": int(method != "original"), "track": track, "frame_index": frame,
         "time": frame / 25 if track else None, "box": [0, 0, 9, 9], "sharpness": 1.0, "crop_path": f"{video}.png"}
        for method, compression, video in names for track in range(tracks) for frame in range(frames)
    ]  # fmt: skip
    return merge(folder, [rows_to_table(rows)], {})


NAMES = (
    ("original", "", "000"),
    ("original", "", "001"),
    ("swap", "", "000"),
    ("swap", "", "1e5"),
    ("swap", "c23", "000"),
    ("swap", "0", "0"),
    ("swap", "0", "00"),
    ("02020", "", "null"),
    ("2020", "", "null"),
    ("2020", "", "NaN"),
    ("2020", "", 'a, "b"'),
)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    whole = manifest(tmp_path, NAMES)
    rows = torch.arange(len(whole))[2:]
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 20, len(rows)).astype(np.float32))
    write_predictions(whole, rows, logits, tmp_path)
    found = read_predictions(tmp_path)
    assert list(found) == ["frame", "video"]
    frames, videos = found["frame"], found["video"]
    np.testing.assert_array_equal(frames.probability, logits.double().sigmoid().numpy())
    assert frames.label.tolist() == whole.column("label")[rows].tolist()
    assert frames.method.tolist() == whole.column("method")[rows].tolist()
    np.testing.assert_array_equal(frames.video, whole.video_codes[rows] - whole.video_codes[2])
    direct = score_predictions(whole, rows.numpy(), logits)
    for level in found:
        np.testing.assert_array_equal(found[level].clip, direct[level].clip)
    assert videos.video.tolist() == list(range(len(NAMES))), "the same codes at both levels"
    assert videos.method.tolist() == sorted(method for method, _, _ in NAMES)
    for code, (probability, label) in enumerate(zip(videos.probability, videos.label, strict=True)):
        mine = frames.video == code
        tracks = whole.track_codes[rows][mine]
        means = [frames.probability[mine][tracks == track].mean() for track in np.unique(tracks)]
        assert probability == pytest.approx(max(means))
        assert set(frames.label[mine]) == {label}
    assert [row.method for row in evaluate(found, resamples=2)] == 2 * [POOLED, "02020", "2020", "swap"]


def test_a_clip_and_all_that_was_made_of_it_are_one_unit_in_every_compression() -> None:
    keys = [
        *((("ffpp", "original", c, "000")) for c in ("c23", "c40", "raw")),
        *((("ffpp", m, c, "000_003")) for m in ("swap", "cam") for c in ("c23", "c40")),
        ("ffpp", "original", "c23", "003"),
        ("ffpp", "swap", "raw", "003_000"),  # its original is not among them
        ("ffpp", "swap", "c23", "007_008"),
        ("celebdf", "original", "", "000"),
        ("folder", "fake", "", "000"),  # of unknown origin
        ("folder", "original", "", "a/b"),
        ("folder", "fake", "", "a/b"),
    ]
    sources = [
        *[None] * 3,
        *["ffpp/original/c23/000", "ffpp/original/c40/000"] * 2,
        None,
        "ffpp/original/raw/003",
        "ffpp/original/c23/007",
        *[None] * 3,
        "folder/original/-/a/b",
    ]
    codes = clip_codes(keys, sources)
    same = [{keys.index(key) for key, code in zip(keys, codes, strict=True) if code == each} for each in set(codes)]
    assert sorted(map(sorted, same)) == [[0, 1, 2, 3, 4, 5, 6], [7, 8], [9], [10], [11], [12, 13]]
    order = np.random.default_rng(0).permutation(len(keys))
    shuffled = clip_codes([keys[i] for i in order], [sources[i] for i in order])
    np.testing.assert_array_equal(shuffled, codes[order], err_msg="the same codes in any order")
    circle = [("d", "m", "", "a"), ("d", "m", "", "b"), ("d", "m", "", "c")]
    assert len(set(clip_codes(circle, ["d/m/-/b", "d/m/-/a", None]).tolist())) == 2
    assert clip_codes([], []).tolist() == []


def test_intervals_are_over_clips_not_over_what_was_made_of_them() -> None:
    """Each clip's fakes, and each compression, are copies: they are no more evidence."""
    once = predictions(["original", "swap"], each=30)
    once = once._replace(clip=np.tile(np.arange(30), 2))
    copies = Predictions(*(np.tile(values, 3) for values in once))._replace(video=np.arange(180))
    one, three = (evaluate({level: part}, resamples=200)[0] for level, part in (("video", once), ("frame", copies)))
    assert one.units.groups == three.units.groups == 30
    again = evaluate({"video": once}, resamples=200, seed=1)[0]
    assert shown(again) == shown(one)
    assert again.values["auroc"].low != one.values["auroc"].low
    for name in METRICS:
        np.testing.assert_allclose(three.resamples[name], one.resamples[name], atol=1e-12, err_msg=name)
    assert three.values["auroc"].groups == 30
    naive = evaluate({"video": copies._replace(clip=copies.video)}, resamples=200)[0].values["f1_fake"]
    right = three.values["f1_fake"]
    assert naive.high - naive.low < (right.high - right.low) / 1.4, "three copies as clips would be too sure"


def test_predictions_of_earlier_versions_are_read_too(tmp_path: Path) -> None:
    write(tmp_path)
    for path in (tmp_path / "frames.csv", tmp_path / "videos.csv"):
        path.write_text(edited(path.read_text(), "source_video", None))
    found = read_predictions(tmp_path)
    assert len(set(found["video"].clip.tolist())) == len(NAMES) - 1, "compressions of one fake are one"


def test_predictions_carry_the_probability_that_explain_gives(tmp_path: Path) -> None:
    whole = manifest(tmp_path, NAMES)
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 20, len(whole)).astype(np.float32))
    write_predictions(whole, torch.arange(len(whole)), logits, tmp_path, {"frame": None, "video": 3.0})
    thresholds: dict[Level, float] = {"frame": 0.2, "video": 0.8}
    lines = {
        name: list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))
        for name in ("frames", "tracks", "videos")
    }
    assert {line["calibrated"] for line in lines["frames"]} == {""}
    for number, line in enumerate(lines["videos"]):
        mine = whole.video_codes == number
        faces = [logits[whole.track_codes == track].numpy() for track in np.unique(whole.track_codes[mine])]
        judged = judge(faces, None, thresholds, "video", video_temperature=3.0)
        assert float(line["calibrated"]) == pytest.approx(judged.probability)
        assert float(line["probability"]) == pytest.approx(judged.decision.score)
    assert all(0 < float(line["calibrated"]) < 1 for line in lines["tracks"])


def test_names_and_empty_compressions_stay_text(tmp_path: Path) -> None:
    names = [("007", "", "000"), ("7", "", "0"), ("7", "", "00"), ("7", "0", "0"), ("7", "00", "0")]
    whole = manifest(tmp_path, names)  # of numbers alone: one other name makes a column text anyway
    write_predictions(whole, torch.arange(len(whole)), torch.zeros(len(whole)), tmp_path)
    found = read_predictions(tmp_path)
    assert set(found["frame"].method) == {"007", "7"}
    assert len(set(found["frame"].video)) == len(found["video"].video) == len(names)


def write(folder: Path) -> None:
    whole = manifest(folder, NAMES)
    write_predictions(whole, torch.arange(len(whole)), torch.ones(len(whole)), folder)


def edited(text: str, column: str, value: str | None) -> str:
    """A file with another value in one cell; None removes the column."""
    header, first, *others = csv.reader(text.splitlines())
    place, out = header.index(column), io.StringIO()
    lines = [header, [*first[:place], value, *first[place + 1 :]], *others]
    if value is None:
        lines = [line[:place] + line[place + 1 :] for line in lines]
    csv.writer(out).writerows(lines)
    return out.getvalue()


@pytest.mark.parametrize("name", ["frames.csv", "videos.csv"])
def test_files_that_are_missing_or_broken_are_named(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    path = tmp_path / name
    whole = path.read_text()
    header, first, *_ = whole.splitlines()
    broken = {
        "cut off": whole[: len(header) + len(first) // 2],
        "empty": "",
        "no table": "<html></html>\n",
        "without a column": whole.replace('"probability"', '"score"'),
        "without names": whole.replace('"compression"', '"codec"'),
        "not text": "\udcff\udcfe".join(whole.split("000")),
        **{f"{column} {value}": edited(whole, column, value) for column in ("probability", "label")
           for value in ("high", "")},
    }  # fmt: skip
    for what, text in broken.items():
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(ManifestError, match=rf"{name} does not hold predictions of `resgat test` .*Test again"):
            read_predictions(tmp_path)
            pytest.fail(what)
    path.unlink()
    with pytest.raises(ManifestError, match=name):
        read_predictions(tmp_path)
