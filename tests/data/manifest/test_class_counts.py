from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import Split
from resgat_pl.data.manifest.class_counts import SPLITS, ClassCounts, check_splits, class_counts, describe_counts


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([*SPLITS, "", None, "other"]))))
def test_every_sample_of_a_split_is_counted_once(samples: list[tuple[int, Any]]) -> None:
    labels, splits = [label for label, _ in samples], [split for _, split in samples]
    wanted = {split: ClassCounts(samples.count((0, split)), samples.count((1, split))) for split in SPLITS}
    assert class_counts(labels, splits) == wanted
    assert class_counts(np.array(labels, np.int8), np.array(splits, object)) == wanted, "as a manifest's columns are"


def test_counts_are_named_and_indexed_by_label() -> None:
    counts = class_counts([0, 1, 1, 0], np.array(["train", "train", "val", ""], "U5"))
    assert counts == {"train": (1, 1), "val": (0, 1), "test": (0, 0)}
    assert (counts["val"].real, counts["val"].fake) == (counts["val"][0], counts["val"][1]) == (0, 1)


def test_check_names_split_and_counts() -> None:
    counts = class_counts([0, 1, 1, 0], ["train", "train", "val", ""])
    check_splits(counts, ["train"])
    check_splits(counts, [])
    with pytest.raises(SplitError, match=r"split 'val' has no real.*train 1 real and 1 fake, val 0 real and 1 fake"):
        check_splits(counts, ["train", "val"])
    with pytest.raises(SplitError, match="'test' has no real and no fake"):
        check_splits(counts, ["test"])


@pytest.mark.parametrize("lacking", SPLITS)
def test_all_splits_are_needed_unless_told(lacking: Split) -> None:
    counts = dict.fromkeys(SPLITS, ClassCounts(3, 4))
    check_splits(counts)
    with pytest.raises(SplitError, match=f"'{lacking}' has no fake"):
        check_splits({**counts, lacking: ClassCounts(3, 0)})


def test_counts_for_people() -> None:
    assert describe_counts(class_counts([0] * 1200, ["test"] * 1200)) == (
        "train 0 real and 0 fake, val 0 real and 0 fake, test 1,200 real and 0 fake"
    )
