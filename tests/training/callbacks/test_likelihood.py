"""``resgat calibrate`` and then ``resgat test``: ratios of the videos apart from the pool are in results and curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resgat_pl.core.errors import SplitError
from resgat_pl.evaluation.calibrate import calibrate
from resgat_pl.evaluation.error_rates import find_rates
from resgat_pl.evaluation.likelihood_plots import FIGURES, TABLE
from resgat_pl.nn.checkpoint_file import file_fingerprint

from ...helpers.tiny_runs import tiny, untrained

SPLIT = ("--data.split", "IdentitySplit", "--data.split.test", "0.6")


@pytest.mark.long
def test_results_have_ratios_of_what_the_pool_leaves(ffpp_crops: Path, tmp_path: Path) -> None:
    from resgat_pl.data.splits.protocols import IdentitySplit

    split = IdentitySplit(test=0.6)
    for seed in range(12):
        checkpoint = untrained(tmp_path / f"{seed}.ckpt", ffpp_crops, split=split, seed=seed)
        try:
            calibrate(checkpoint, ffpp_crops, share=0.6)
        except SplitError:  # a random detector whose fakes score lower
            continue
        break
    done = tiny("test", tmp_path, ffpp_crops, "--ckpt_path", checkpoint, *SPLIT)
    assert done.status == 0, done.errors
    results = json.loads((tmp_path / "results.json").read_text())
    found = results["likelihood_ratios"]
    assert found["left_out"] > 0
    level = found["levels"][-1]
    assert level["real"] + level["fake"] > 0 and 0 <= level["cllr_min"] <= level["cllr"] + 1e-9
    assert level["bounds"][0]["coverage"] >= level["bounds"][2]["coverage"]
    assert {f"{name}.png" for name in FIGURES} | {TABLE} <= {p.name for p in (tmp_path / "curves").iterdir()}
    rates, said = find_rates(checkpoint, file_fingerprint(checkpoint))
    assert rates[0].real + rates[0].fake == results["videos"]["scored"], said
