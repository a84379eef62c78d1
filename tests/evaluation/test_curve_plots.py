"""Figures of the curves: square panels, legends below them and within the picture, the numbers of the results."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resgat_pl.core.types import Level
from resgat_pl.evaluation import curve_plots
from resgat_pl.evaluation.curve_files import curves_of
from resgat_pl.evaluation.curve_plots import VECTOR, draw_curves
from resgat_pl.evaluation.metrics.scores import POOLED, Predictions, Scores, evaluate

FF = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "a_method_with_quite_a_long_name")


def made_up(methods: Sequence[str] = FF, temperature: float | None = 1.5) -> tuple[list[object], list[Scores]]:
    """Curves and scores of 40 genuine clips and the fakes made of each."""
    rng = np.random.default_rng(0)
    method = np.repeat(np.array(["original", *methods], object), 40)
    label = (method != "original").astype(np.int64)
    probability = 1 / (1 + np.exp(-rng.normal(2 * label - 1, 1.5)))
    clip = np.tile(np.arange(40), 1 + len(methods))
    whole = Predictions(probability, label, method, np.arange(len(label)), clip)
    found: dict[Level, Predictions] = {"frame": whole, "video": whole}
    thresholds: dict[Level, float] | None = None if temperature is None else {"frame": 0.4, "video": 0.6}
    temperatures: dict[Level, float | None] = {"frame": temperature, "video": temperature}
    scores = evaluate(found, thresholds, resamples=50, temperatures=temperatures)
    return curves_of(found, thresholds, temperatures), scores


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures before they are written."""
    caught: dict[str, Figure] = {}

    def catch(made: dict[str, Figure]) -> dict[str, bytes]:
        caught.update(made)
        return {}

    monkeypatch.setattr(curve_plots, "_files", catch)
    return caught


def labels(figure: Figure, panel: int) -> list[str]:
    """The legend of a level's panel, which may stand below another."""
    texts = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes if axes.get_legend()]
    return texts[panel]


@pytest.mark.parametrize(("methods", "temperature"), [(FF, 1.5), (("swap",), None)])
def test_everything_is_within_the_picture_and_legends_are_outside_the_panels(
    methods: Sequence[str], temperature: float | None, figures: dict[str, Figure]
) -> None:
    draw_curves(*made_up(methods, temperature))
    assert set(figures) == {"roc", "precision_recall", "thresholds", "confusion", "reliability"}
    for name, figure in figures.items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        width, height = figure.get_size_inches() * figure.dpi
        square = [axes.get_window_extent() for axes in figure.axes[:2]]
        assert all(box.width == pytest.approx(box.height) for box in square), name
        for axes in figure.axes:
            drawn = axes.get_tightbbox()
            assert drawn is not None
            assert drawn.x0 >= 0, name
            assert drawn.y0 >= 0, name
            assert drawn.x1 <= width, name
            assert drawn.y1 <= height, name
            if (legend := axes.get_legend()) is not None:
                box = legend.get_window_extent()
                assert box.y1 < axes.get_window_extent().y0, name
                beyond = [other for other in figure.axes if other.get_window_extent().overlaps(box)]
                assert beyond == [], name


def test_the_numbers_are_those_of_the_results(figures: dict[str, Figure]) -> None:
    curves, scores = made_up()
    draw_curves(curves, scores)
    values = {(row.level, row.method): row.values for row in scores}
    for panel, level in enumerate(("frame", "video")):
        pooled = values[level, POOLED]
        assert labels(figures["roc"], panel)[0] == f"all fakes, AUROC in %: {pooled['auroc'].brief}"
        assert labels(figures["roc"], panel)[1] == f"Deepfakes: {values[level, 'Deepfakes']['auroc'].brief}"
        assert labels(figures["precision_recall"], panel)[0] == f"AP in %: {pooled['ap'].brief}"
        assert labels(figures["reliability"], panel)[:2] == [
            f"score, ECE in %: {pooled['ece'].brief}",
            f"calibrated, ECE in %: {pooled['ece_calibrated'].brief}",
        ]
        rates = labels(figures["thresholds"], panel)
        assert rates[0] == f"balanced accuracy: {pooled['balanced_accuracy_at_val'].value:.1%}"
        assert rates[3].startswith(f"validation threshold {curves[panel].confusion.threshold:.3g}")
        cells = [text.get_text() for text in figures["confusion"].axes[panel].texts]
        counts = curves[panel].confusion
        assert cells[::2] == [f"{count:,}" for count in (counts.tn, counts.fp, counts.fn, counts.tp)]


def test_without_validation_the_default_is_named(figures: dict[str, Figure]) -> None:
    draw_curves(*made_up(("swap",), None))
    assert labels(figures["roc"], 0)[0].startswith("AUROC in %: ")  # one method is all
    assert labels(figures["roc"], 0)[-1].startswith("default threshold 0.5: FPR")
    assert "not calibrated: the checkpoint has no temperature" in labels(figures["reliability"], 1)


@pytest.mark.long
def test_files_are_pictures_and_the_same_again() -> None:
    curves, scores = made_up((r"$\no$", "换脸"))
    files = draw_curves(curves, scores)
    assert files.pop(VECTOR).startswith(b"%PDF")
    for content in files.values():
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[1] == 1440
        assert picture.std() > 10
    again = draw_curves(curves, scores)
    assert {name: again[name] for name in files} == files
