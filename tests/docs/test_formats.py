"""The pages on file formats name every field that is written."""

from __future__ import annotations

import ast
import inspect
import re

import numpy as np

from resgat_pl.evaluation.metrics.binary import METRICS
from resgat_pl.evaluation.metrics.scores import Predictions, evaluate
from resgat_pl.training.callbacks.predictions import PredictionWriter

from .pages import DOCS

PAGE = (DOCS / "reference" / "results_json.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(\w+)`", PAGE))


def test_the_entries_of_scores() -> None:
    count = 40
    labels = np.arange(count) % 2
    methods = np.array(["original", "Deepfakes"], object)[labels]
    codes = np.arange(count) // 2
    scores = evaluate({"frame": Predictions(labels * 0.5 + 0.2, labels, methods, np.arange(count), codes)})
    assert set(scores[0].plain()) <= NAMED
    assert set(METRICS) <= NAMED


def test_the_fields_of_the_whole() -> None:
    """Read from the source, since only a whole test writes the file."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(PredictionWriter)))  # type: ignore[arg-type]
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    documents = [node.value for node in assigned if ast.unparse(node.targets[0]) == "document"]
    keys = {
        key.value
        for document in documents
        if isinstance(document, ast.Dict)
        for key in document.keys
        if isinstance(key, ast.Constant)
    }
    assert len(keys) >= 5
    assert keys | {"schema", "resgat_pl", "leaky", "people_unknown", "provenance", "checkpoint"} <= NAMED
