"""A study in the order of its steps: reports, pages, participants, answers, analysis."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.output_tables import csv_table
from resgat_pl.explain.report.html import write_html
from resgat_pl.explain.report.scores_csv import COLUMNS as SCORE_COLUMNS
from resgat_pl.explain.study.answers import COLUMNS, Answers, analyse
from resgat_pl.explain.study.command import study
from resgat_pl.explain.study.items import _frame_of
from resgat_pl.explain.study.pages import plan

from ..report.conftest import make_document

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = [f"person_{number}.mp4" for number in range(10)]


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of ten files, of which the detector gets two wrong."""
    folder = tmp_path_factory.mktemp("explained")
    rows = []
    for number, name in enumerate(NAMES):
        verdict: Any = "fake" if number % 2 else "real"
        document = replace(make_document(frames=3, file=name, seed=number), verdict=verdict)
        (folder / name).mkdir()
        write_html(document, folder / name / "report.html")
        row = {"file": name, "status": "scored", "verdict": verdict, "report": name}
        rows.append([row.get(column, "") for column in SCORE_COLUMNS])
    (folder / "scores.csv").write_text(csv_table(SCORE_COLUMNS, rows))
    return folder


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("truth") / "truth.csv"
    labels = ["fake" if number % 2 else "real" for number in range(10)]
    labels[0], labels[1] = "fake", "real"
    path.write_text(csv_table(["file", "label"], list(zip(NAMES, labels, strict=True))))
    return path


@pytest.fixture(scope="module")
def made(explained: Path, truth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "mine"
    said = study("make", explained, out, truth, participants=6, conditions="none,map,report")
    assert "6 pages of 10 faces" in said
    return out


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(120_000)
    yield page
    page.close()


@pytest.mark.parametrize(("people", "items"), [(6, 10), (9, 7), (4, 8)])
def test_every_face_is_seen_equally_often_in_every_condition(people: int, items: int) -> None:
    labels = ["fake", "real"] * (items // 2) + ["fake"] * (items % 2)
    conditions: Any = ["none", "map", "report"]
    plans = plan(labels, conditions, people, seed=1)
    assert plans == plan(labels, conditions, people, seed=1) != plan(labels, conditions, people, seed=2)
    assert all(sorted(item for item, _ in each) == list(range(items)) for each in plans)
    assert len({tuple(item for item, _ in each) for each in plans}) == people  # in another order each
    counts = Counter(pair for each in plans for pair in each)
    if people % 3 == 0:
        assert set(counts.values()) == {people // 3}
    for each in plans:
        for label in ("fake", "real"):
            mine = Counter(condition for item, condition in each if labels[item] == label)
            assert max(mine.values()) - min(mine.get(name, 0) for name in conditions) <= 1


def test_the_frame_that_is_shown_has_the_verdict_of_its_file() -> None:
    frames = [{"probability": value} for value in (0.9, 0.2, 0.3, 0.7, 0.1)]
    assert _frame_of(frames, "fake", 0.5) == frames[3]
    assert _frame_of(frames, "real", 0.5) == frames[2]
    assert _frame_of(frames, "fake", 0.8) == frames[0]
    assert _frame_of(frames[1:3], "fake", 0.5) == frames[2], "none has it: the middle"


def test_pages_hold_neither_truth_nor_names_of_files(made: Path) -> None:
    key = json.loads((made / "key.json").read_text())
    assert sorted(path.name for path in made.glob("*.html")) == [f"p{number:03d}.html" for number in range(1, 7)]
    for path in made.glob("*.html"):
        text = path.read_text()
        assert "person_" not in text
        data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
        assert [[each["item"], each["condition"]] for each in data["trials"]] == key["plan"][path.stem]
        for trial in data["trials"]:
            assert set(trial) - {"item", "condition", "face", "map", "legend", "words"} == set()
            assert ("map" in trial) == (trial["condition"] != "none")
            assert ("words" in trial) == (trial["condition"] == "report")
    assert "default-src 'none'" in text


def test_a_participant_goes_through_a_page(made: Path, tab: Page) -> None:
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto((made / "p001.html").as_uri())
    assert tab.locator("#begin").is_disabled()  # without consent nothing begins
    assert "voluntary" in tab.locator("#consent").inner_text()
    tab.locator("#agree").check()
    tab.locator("#begin").click()
    key = json.loads((made / "key.json").read_text())
    for number, (_, condition) in enumerate(key["plan"]["p001"]):
        assert tab.locator("#progress").inner_text() == f"Picture {number + 1} of 10"
        assert tab.locator("#pictures img").count() == (1 if condition == "none" else 2)
        assert bool(tab.locator("#words").inner_text()) == (condition == "report")
        assert tab.locator("#next").is_disabled()
        tab.locator("input[value=fake]").check()
        assert tab.locator("#next").is_disabled()  # one answer of two
        tab.locator("input[value='80']").check()
        tab.locator("#next").click()
    answers = made / "answers"
    answers.mkdir(exist_ok=True)
    with tab.expect_download() as download:
        tab.locator("#save").click()
    assert download.value.suggested_filename == f"{key['study']}_p001.csv"
    download.value.save_as(answers / download.value.suggested_filename)
    assert (answers / download.value.suggested_filename).read_text() == tab.locator("#csv").input_value()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    rows = list(csv.DictReader((answers / download.value.suggested_filename).read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert {row["answer"] for row in rows} == {"fake"}


def answer(made: Path, folder: Path, person: str, skill: dict[str, float], seed: int, rows: int = 99) -> Path:
    """What a page saves of a participant who is right with a probability by condition."""
    key, rng = json.loads((made / "key.json").read_text()), np.random.default_rng(seed)
    truth = {entry["item"]: entry["label"] for entry in key["items"]}
    lines = []
    for number, (item, condition) in enumerate(key["plan"][person][:rows], 1):
        right = rng.random() < skill[condition]
        said = truth[item] if right else {"fake": "real", "real": "fake"}[truth[item]]
        lines.append([key["study"], person, number, item, condition, said, 65, 4.5])
    folder.mkdir(exist_ok=True)
    path = folder / f"{person}.csv"
    path.write_text(csv_table(COLUMNS, lines))
    return path


def test_answers_are_analysed_by_condition(made: Path, tmp_path: Path) -> None:
    for number in range(1, 7):
        answer(made, tmp_path / "in", f"p{number:03d}", {"none": 0.0, "map": 1.0, "report": 1.0}, number, 8 + number)
    said = study("score", made, tmp_path / "out", answers=tmp_path / "in")
    assert "6 participants on 10 faces" in said
    assert "p001 answered 9 of 10" in said
    found = json.loads((tmp_path / "out" / "study.json").read_text())["estimates"]
    assert found["none"]["accuracy"]["value"] == 0
    assert found["map"]["accuracy"]["value"] == found["map"]["hits"]["value"] == 1
    assert found["map"]["alarms"]["value"] == 0
    assert found["map"]["follows_wrong"]["value"] == 0  # right where the detector is wrong
    assert found["none"]["follows_wrong"]["value"] == 1
    difference = found["map − none"]["accuracy"]
    assert (difference["value"], difference["low"], difference["high"]) == (1, 1, 1)
    assert found["map"]["seconds"]["value"] == pytest.approx(4.5)


def test_intervals_cover_chance_and_depend_on_people_and_faces() -> None:
    rng = np.random.default_rng(0)
    people, items = (codes.ravel() for codes in np.meshgrid(np.arange(12), np.arange(20), indexing="ij"))
    condition = np.where((people + items) % 2, "map", "none")
    fake = items % 2 == 0
    hard = rng.normal(0, 2, 20)  # faces differ by far more than answers do by chance
    said = np.where(rng.random(240) < 1 / (1 + np.exp(hard[items])), fake, ~fake)
    answers = Answers(people, items, condition, fake, said, fake, np.full(240, 65.0), np.ones(240))
    found = analyse(answers, ["none", "map"])
    difference, alone = found["map − none"]["accuracy"], found["none"]["accuracy"]
    assert difference.low < 0 < difference.high
    naive = 2 * 1.96 * np.sqrt(alone.value * (1 - alone.value) / 120)
    assert alone.high - alone.low > 1.2 * naive


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",p002,", ",p003,"), "was not asked of p003, or is twice|answered"),
        (lambda text: text.replace("fake", "perhaps"), "is not as the page saved it"),
        (lambda text: text.replace("confidence", "sure"), "has not the columns"),
        (lambda text: text.splitlines()[0] + "\n", "no answer"),
        (lambda text: "".join([text, text.splitlines(keepends=True)[1]]), "or is twice"),
        (lambda text: text.replace(text.splitlines()[1].split(",")[0], "other"), "is of the study other"),
        (lambda text: text.replace(",4.5", ",soon"), "is not as the page saved it"),
    ],
)
def test_files_that_no_page_saved_are_refused(change: Any, message: str, made: Path, tmp_path: Path) -> None:
    path = answer(made, tmp_path / "in", "p002", dict.fromkeys(("none", "map", "report"), 0.5), 0)
    path.write_text(change(path.read_text()))
    with pytest.raises(ConfigError, match=message):
        study("score", made, tmp_path / "out", answers=tmp_path / "in")


def test_a_page_that_two_people_filled_in_is_found(made: Path, tmp_path: Path) -> None:
    path = answer(made, tmp_path / "in", "p004", dict.fromkeys(("none", "map", "report"), 0.5), 0)
    (path.parent / "again.csv").write_text(path.read_text())
    with pytest.raises(ConfigError, match="are both of p004"):
        study("score", made, tmp_path / "out", answers=path.parent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truth": None}, "needs --truth"),
        ({"conditions": "none"}, "give two or three"),
        ({"conditions": "none,maps"}, "names 'maps'"),
        ({"participants": 0}, "must be 1 to"),
        ({"consent": Path("missing.txt")}, "cannot be read"),
    ],
)
def test_mistakes_are_named(
    options: dict[str, Any], message: str, explained: Path, truth: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        study("make", explained, **{"out": tmp_path / "s", "truth": truth, **options})


def test_a_study_is_not_overwritten_and_needs_faces_of_both_classes(
    made: Path, explained: Path, truth: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="holds a study already"):
        study("make", explained, made, truth)
    (tmp_path / "one.csv").write_text(csv_table(["file", "label"], [[name, "fake"] for name in NAMES]))
    with pytest.raises(ConfigError, match="4 faces of each class"):
        study("make", explained, tmp_path / "s", tmp_path / "one.csv")
    (tmp_path / "odd.csv").write_text("file,label\nnobody.mp4,fake\n")
    with pytest.raises(ConfigError, match=r"names 'nobody\.mp4'"):
        study("make", explained, tmp_path / "s", tmp_path / "odd.csv")
    with pytest.raises(ConfigError, match="has no CSV files"):
        study("score", made, answers=tmp_path / "nothing")
