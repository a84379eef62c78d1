"""Tables say what the predictions say, in every format."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from resgat_pl.core.errors import ManifestError
from resgat_pl.evaluation.metrics.binary import METRICS
from resgat_pl.evaluation.metrics.scores import POOLED, evaluate, read_predictions
from resgat_pl.reproduce.experiment import Counts, Paper, Row
from resgat_pl.reproduce.tables import Run, TableCell, difference, summarise, write_tables

from ..helpers.command import wandb_history
from ..helpers.tiny_runs import pretend_test

PAPER = Paper(f1=99.68, auc=99.9, train=Counts(real=220_496, fake=300_252), test=Counts(real=1, fake=2))
ROW = Row("ffpp_gatv1", "ffpp", "gatv1", "ffpp_gatv1.yaml", "FFPP_ROOT", PAPER)
THRESHOLDS = {"frame": 0.4, "video": 0.6}


def one_run(folder: Path, **options: Any) -> Run:
    return Run.read(pretend_test(folder, thresholds=THRESHOLDS, **options))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[TableCell]:
    """Two protocols × two presets of one row, three seeds each; another row that was not run."""
    base = tmp_path_factory.mktemp("runs")
    found = []
    for preset, better in (("paper_faithful", 0.0), ("corrected", 0.5)):
        for protocol, skill, first, leaky in (("paper", 3.0, 0, ("video", "identity")), ("strict", 1.0, 100, ())):
            options = {"skill": skill + better, "first": first, "leaky": leaky}
            runs = [one_run(base / preset / protocol / str(seed), seed=seed, **options) for seed in range(3)]
            found.append(TableCell(ROW, preset, protocol, runs, ""))
    missing = Row("dfdc_gatv1", "dfdc", "gatv1", "dfdc_gatv1.yaml", "DFDC_ROOT", PAPER)
    note = "not run: DFDC_ROOT is not set"
    found += [TableCell(missing, cell.preset, cell.protocol, [], note) for cell in found]
    return found


@pytest.fixture(scope="module")
def written(cells: list[TableCell], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the tables and the text that was returned."""
    out = tmp_path_factory.mktemp("tables") / "new"
    return out, write_tables(cells, out, "table1_real", synthetic=False)


def tables_of(text: str) -> list[list[list[str]]]:
    """The cells of each Markdown table of a text, header first, the line below it left out."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [[table[0], *table[2:]] for table in found if table]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"[+-]?\d+\.\d+", cell)]


def test_values_are_those_of_the_predictions(cells: list[TableCell]) -> None:
    run = cells[0].runs[1]
    predictions = read_predictions(run.folder / "predictions")
    pooled = [row for row in evaluate(predictions, THRESHOLDS) if row.method == POOLED]
    assert [run.scores[row.level].values for row in pooled] == [row.values for row in pooled]
    for level, found in predictions.items():
        values = run.scores[level].values
        assert values["auroc"].value == pytest.approx(roc_auc_score(found.label, found.probability))
        assert values["f1_fake"].value == pytest.approx(f1_score(found.label, found.probability > 0.5))
        at_val = f1_score(found.label, found.probability > THRESHOLDS[level])
        assert values["f1_fake_at_val"].value == pytest.approx(at_val)


def test_a_summary_is_mean_and_deviation_over_seeds(cells: list[TableCell]) -> None:
    runs = cells[1].runs
    values = [run.scores["video"].values["auroc"].value for run in runs]
    summary = summarise(cells[1], "video", "auroc")
    assert summary is not None
    assert summary.interval.value == pytest.approx(np.mean(values))
    assert summary.deviation == pytest.approx(np.std(values, ddof=1))
    assert summary.interval.low < summary.interval.value < summary.interval.high
    # of the mean, so narrower than the seeds' own intervals are on average
    widths = [run.scores["video"].values["auroc"].high - run.scores["video"].values["auroc"].low for run in runs]
    assert summary.interval.high - summary.interval.low < np.mean(widths)
    assert re.fullmatch(r"\d+\.\d\d ± \d+\.\d\d \[\d+\.\d\d, \d+\.\d\d\] \(n = 10\)", str(summary))


def test_one_seed_has_no_deviation_and_no_seed_no_summary(cells: list[TableCell]) -> None:
    run = cells[0].runs[0]
    single = summarise(TableCell(ROW, "corrected", "paper", [run], ""), "frame", "ap")
    assert single is not None
    assert single.deviation is None
    assert single.interval == run.scores["frame"].values["ap"]
    assert str(single) == str(single.interval)
    assert summarise(TableCell(ROW, "corrected", "paper", [], "failed: x"), "frame", "ap") is None


def test_a_metric_that_some_runs_lack_is_of_those_that_have_it(cells: list[TableCell], tmp_path: Path) -> None:
    plain = Run.read(pretend_test(tmp_path, seed=1))
    cell = TableCell(ROW, "corrected", "paper", [plain, cells[0].runs[0]], "")
    found = summarise(cell, "frame", "accuracy_at_val")
    assert found is not None
    assert found.interval == cells[0].runs[0].scores["frame"].values["accuracy_at_val"]
    assert summarise(TableCell(ROW, "corrected", "paper", [plain], ""), "frame", "accuracy_at_val") is None


def test_a_difference_has_a_sign_and_an_interval(cells: list[TableCell]) -> None:
    leaky, honest, absent = cells[0], cells[1], cells[-1]
    gap, back = difference(leaky, honest, "video", "auroc"), difference(honest, leaky, "video", "auroc")
    one, other = summarise(leaky, "video", "auroc"), summarise(honest, "video", "auroc")
    assert gap is not None
    assert back is not None
    assert one is not None
    assert other is not None
    assert gap.value == pytest.approx(one.interval.value - other.interval.value) == pytest.approx(-back.value)
    assert 0 < gap.low < gap.value < gap.high  # the skills are far apart
    assert difference(leaky, absent, "video", "auroc") is difference(absent, honest, "video", "auroc") is None


def test_a_difference_is_paired_on_the_same_videos_only(tmp_path: Path) -> None:
    run = one_run(tmp_path / "a", seed=5)
    elsewhere = one_run(tmp_path / "b", seed=5, first=20)
    assert {len(found.videos) for found in (run, elsewhere)} == {20}
    assert run.videos[1] == "ffpp/Deepfakes/c23/001"
    one, same, other = (TableCell(ROW, "corrected", "strict", [found], "") for found in (run, run, elsewhere))
    paired, apart = (difference(one, cell, "frame", "auroc") for cell in (same, other))
    assert paired is not None
    assert paired.plain() == [0, None, None], "the same of the same: no resample differs"
    assert apart is not None
    assert apart.value == 0
    # as of two samples drawn apart, the variances add up
    single = run.scores["frame"].values["auroc"]
    assert apart.high - apart.low == pytest.approx(np.sqrt(2) * (single.high - single.low), rel=0.15)


def test_the_markdown_table(cells: list[TableCell], written: tuple[Path, str]) -> None:
    out, text = written
    assert (out / "table1_real.md").read_text() == text + "\n"
    assert "SYNTHETIC" not in text
    main, counts, presets = tables_of(text)
    assert all(len({len(line) for line in table}) == 1 for table in (main, counts, presets))
    header, *body = main
    assert header[4:] == ["paper", "ours, paper (leaky: identity, video)", "ours, strict", "paper − strict"]
    assert len(body) == 2 * 2 * 6  # rows × presets × (levels × metrics)
    by_place = {tuple(line[:4]): line[4:] for line in body}
    paper, ours, strict, gap = by_place["ffpp_gatv1", "corrected", "frame", "AUC"]
    assert paper == "99.90"
    assert by_place["ffpp_gatv1", "corrected", "frame", "F1 real"][0] == "99.68"
    others = [
        values[0] for place, values in by_place.items() if place[2:] not in {("frame", "AUC"), ("frame", "F1 real")}
    ]
    assert set(others) == {""}  # the paper says no more
    for shown, cell in ((ours, cells[2]), (strict, cells[3])):
        summary = summarise(cell, "frame", "auroc")
        assert summary is not None
        assert summary.deviation is not None
        expected = [summary.interval.value, summary.deviation, summary.interval.low, summary.interval.high]
        assert numbers(shown) == pytest.approx([100 * value for value in expected], abs=0.006)
    assert numbers(gap)[0] == pytest.approx(numbers(ours)[0] - numbers(strict)[0], abs=0.011)
    assert gap.startswith("+")
    assert by_place["dfdc_gatv1", "corrected", "frame", "AUC"] == ["99.90", "not run", "not run", ""]


def test_counts_stand_beside_the_papers(written: tuple[Path, str]) -> None:
    header, *body = tables_of(written[1])[1]
    assert header[3:] == ["train fake / real", "paper", "val", "test fake / real", "paper", "test videos scored"]
    assert len(body) == 4  # none for rows that were not run
    assert body[0][3:] == ["1,230 / 30", "300,252 / 220,496", "1,230 / 30", "1,230 / 30", "2 / 1", "20 of 23"]


def test_presets_are_compared_with_the_first(cells: list[TableCell], written: tuple[Path, str]) -> None:
    header, *body = tables_of(written[1])[2]
    assert header == ["row", "protocol", "paper_faithful", "corrected − paper_faithful"]
    assert [line[:2] for line in body] == [["ffpp_gatv1", "paper"], ["ffpp_gatv1", "strict"]]
    first, second = (summarise(cells[place], "video", "auroc") for place in (1, 3))
    assert first is not None
    assert second is not None
    assert numbers(body[1][3])[0] == pytest.approx(100 * (second.interval.value - first.interval.value), abs=0.006)


def test_each_reason_is_given_once(cells: list[TableCell], written: tuple[Path, str]) -> None:
    (note,) = [line for line in written[1].splitlines() if line.startswith("- ")]
    assert note.startswith("- not run: DFDC_ROOT is not set: ")
    assert note.count("dfdc_gatv1 (") == 4


def test_the_csv_file_has_every_metric_of_every_run(cells: list[TableCell], written: tuple[Path, str]) -> None:
    with (written[0] / "table1_real.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert None not in {key for line in lines for key in line}
    at_val = 4
    assert len(lines) == 4 * 3 * 2 * (len(METRICS) + at_val)
    places = {tuple(line[name] for name in ("row", "preset", "protocol", "seed", "level", "metric")) for line in lines}
    assert len(places) == len(lines)
    for line in lines[:: len(lines) // 7]:
        cell = next(c for c in cells if (c.preset, c.protocol) == (line["preset"], line["protocol"]))
        run = cell.runs[int(line["seed"])]
        found = [line[name] for name in ("value", "low", "high", "groups")]
        assert found == run.scores[line["level"]].values[line["metric"]].cells()
        assert line["leaky"] == ("video identity" if line["protocol"] == "paper" else "")
        assert line["folder"] == str(run.folder)


def test_the_latex_table_is_well_formed(cells: list[TableCell], written: tuple[Path, str]) -> None:
    text = (written[0] / "table1_real.tex").read_text()
    header, *body = tables_of(written[1])[0]
    begin, *lines = [line for line in text.splitlines() if line]
    assert begin == r"\begin{tabular}{" + "l" * 4 + "r" * (len(header) - 4) + "}"
    assert [line for line in lines if not line.endswith(r"\\")] == [
        r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"
    ]  # fmt: skip
    table = [line.removesuffix(r" \\").split(" & ") for line in lines if line.endswith(r"\\")]
    assert len(table) == 1 + len(body)
    assert {len(line) for line in table} == {len(header)}
    assert table[1][0] == r"ffpp\_gatv1"
    assert not re.search(r"(?<!\\)[%_&#](?<! & )", "".join(part for line in table for part in line))
    assert "$\\pm$" in text
    assert text.isascii()


def test_synthetic_data_is_stamped(cells: list[TableCell], tmp_path: Path) -> None:
    text = write_tables(cells[:2], tmp_path, "t", synthetic=True)
    assert text.startswith("SYNTHETIC data")
    assert "does not test the paper's numbers" in text
    assert (tmp_path / "t.tex").read_text().startswith("% SYNTHETIC")
    assert len(tables_of(text)) == 2  # of one preset nothing is compared


def test_one_protocol_has_no_difference(cells: list[TableCell], tmp_path: Path) -> None:
    text = write_tables([cells[1]], tmp_path, "t", synthetic=False)
    assert tables_of(text)[0][0][4:] == ["paper", "ours, strict"]


def test_nothing_was_run(cells: list[TableCell], tmp_path: Path) -> None:
    text = write_tables(cells[4:], tmp_path, "t", synthetic=False)
    main, counts = tables_of(text)
    assert len(main) == 1 + 2 * 6
    assert len(counts) == 1
    assert (tmp_path / "t.csv").read_text().count("\n") == 1


def test_the_offline_wandb_run_holds_the_table(written: tuple[Path, str]) -> None:
    out, text = written
    (folder,) = (out / "wandb").glob("offline-run-*")
    values = {key: value for step in wandb_history(folder) for key, value in step.items()}
    content = json.loads((folder / "files" / values["table1_real"]["path"]).read_text())
    header, *body = tables_of(text)[0]
    assert content["columns"] == header
    assert content["data"] == body


def test_what_is_no_finished_test(tmp_path: Path) -> None:
    folder = pretend_test(tmp_path / "a")
    assert Run.read(folder).checkpoint == folder / "best.ckpt"
    (folder / "predictions" / "videos.csv").unlink()
    with pytest.raises(ManifestError, match=r"videos\.csv.*Test again"):
        Run.read(folder)
    with pytest.raises(ManifestError, match=r"absent does not hold a finished `resgat test`.*Test again"):
        Run.read(tmp_path / "absent")
    folder = pretend_test(tmp_path / "b")
    (folder / "results.json").write_text("{}")
    with pytest.raises(ManifestError, match="Test again"):
        Run.read(folder)
    (folder / "results.json").write_text("half of")
    with pytest.raises(ManifestError, match="Test again"):
        Run.read(folder)


@pytest.mark.parametrize("text", ["[]", "3", '{"thresholds": 3}', '{"thresholds": null}'])
def test_results_that_are_none_of_ours(text: str, tmp_path: Path) -> None:
    folder = pretend_test(tmp_path)
    (folder / "results.json").write_text(text)
    with pytest.raises(ManifestError, match="Test again"):
        _ = Run.read(folder).counts, Run.read(folder).checkpoint


def test_synthetic_data_is_stamped_where_it_is_read(cells: list[TableCell], tmp_path: Path) -> None:
    write_tables(cells[:2], tmp_path, "t", synthetic=True)
    printed = [line for line in (tmp_path / "t.tex").read_text().splitlines() if not line.startswith("%")]
    assert any("synthetic" in line.lower() for line in printed)
    assert "synthetic" in (tmp_path / "t.csv").read_text().lower()
