"""The leaderboard of a folder of pairs, which holds no manifest."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from resgat_pl.core.errors import ResGATError
from resgat_pl.data.self_blends.blender import SelfBlend
from resgat_pl.explain.benchmark.command import benchmark_explainers

from ...helpers.drawn_faces import drawn_crops, drawn_face
from ...helpers.tiny_runs import untrained


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    for person in range(4):
        pair = SelfBlend({"patch": 1}, {"lower": 1})(*drawn_face(person, 192), seed=person)
        for name, image in (("original", pair.genuine), ("fake", pair.fake)):
            (root / name).mkdir(exist_ok=True)
            cv2.imwrite(str(root / name / f"{person}.png"), image[..., ::-1])
    return root


@pytest.mark.long
def test_pairs_are_extracted_and_measured(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crops = drawn_crops(tmp_path / "trained", ["train", "val"], side=64)
    checkpoint = untrained(tmp_path / "tiny.ckpt", crops.folder, thresholds={"frame": 0.01, "video": 0.01})
    text = benchmark_explainers(
        str(checkpoint), pairs, tmp_path / "out", ["Contribution"], slow_faces=1, sanity_faces=1
    )
    assert "| Contribution" in text
    assert "holds pairs and no crops" in capsys.readouterr().err
    assert (tmp_path / "out/crops/manifest.parquet").is_file()
    assert (tmp_path / "out/leaderboard.md").is_file()


def test_a_checkpoint_that_is_not_there_is_said_before_anything_is_cut(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ResGATError, match=r"none\.ckpt"):
        benchmark_explainers(str(tmp_path / "none.ckpt"), pairs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
