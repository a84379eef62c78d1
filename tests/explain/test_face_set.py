"""The numbers of a set of explained faces: what they mean, and that they add up."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.explain.base import Explanation
from resgat_pl.explain.face_set import ExplainedFaces, choose_faces, explain_faces, measure
from resgat_pl.explain.methods.graph import Attention, Contribution
from resgat_pl.explain.regions import AVERAGE_LANDMARKS, REGIONS
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.module import ResGATModule


@pytest.fixture(scope="module")
def module() -> ResGATModule:
    torch.manual_seed(0)
    return ResGATModule(ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=8, image_size=64))


@pytest.fixture(scope="module")
def data(ffpp_crops: Path) -> FaceDataModule:
    return FaceDataModule(ffpp_crops, image_size=64)


def made(nodes: Tensor, labels: list[int], masks: list[np.ndarray | None], bias: float = 0.5) -> ExplainedFaces:
    """Faces of given contributions ``(n, h, w)``, with the average face's landmarks."""
    count = len(nodes)
    return ExplainedFaces(
        images=torch.zeros(count, 3, 56, 56, dtype=torch.uint8),
        labels=torch.tensor(labels),
        masks=masks,
        landmarks=AVERAGE_LANDMARKS.repeat(count, 1, 1),
        average_face=torch.zeros(count, dtype=torch.bool),
        logit=nodes.sum(dim=(1, 2)) + bias,
        bias=torch.full((count,), bias),
        maps={"contribution": nodes, "attention": torch.ones_like(nodes)},
        entropy=torch.linspace(0.2, 0.8, count),
        lattice=Lattice.even(*nodes.shape[1:]),
    )


def test_the_explanation_is_that_of_the_explainers(module: ResGATModule, data: FaceDataModule) -> None:
    faces = data.faces("train")
    chosen = choose_faces(faces, 24)
    assert len(chosen) > 16  # more than one batch
    module.net.gat.train()
    seen = explain_faces(module.net, faces, chosen)
    assert module.net.gat.training
    images = torch.stack([faces[position]["image"] for position in chosen.tolist()]) / 255
    expected: Explanation = Contribution(module).attribute(images)
    torch.testing.assert_close(seen.maps["contribution"], expected.node_map)
    torch.testing.assert_close(seen.logit, expected.logit)
    torch.testing.assert_close(seen.bias, expected.bias)
    torch.testing.assert_close(seen.maps["attention"], Attention(module).attribute(images).node_map)
    torch.testing.assert_close(seen.regions(), expected.regions(seen.landmarks))
    rows = faces.rows[chosen]
    stored = data.manifest.table.column("landmarks").take(rows.tolist()).to_pylist()
    torch.testing.assert_close(seen.landmarks.flatten(1), torch.tensor(stored))
    assert not seen.average_face.any()


def test_the_numbers_add_up_to_the_mean_logit(module: ResGATModule, data: FaceDataModule) -> None:
    faces = data.faces("val")
    seen = explain_faces(module.net, faces, choose_faces(faces, 8))
    values = measure(seen)
    for suffix, label in (("", 1), ("_real", 0)):
        parts = [values[f"explain/region{suffix}/{name.replace(' ', '_')}"] for name in REGIONS]
        total = math.fsum(parts) + values[f"explain/bias{suffix}"]
        assert total == pytest.approx(values[f"explain/logit{suffix}"], abs=1e-4)
        assert total == pytest.approx(float(seen.logit[seen.labels == label].mean()), abs=1e-4)
        mouth = [
            found.regions["mouth"] for found, its in zip(seen.findings(), seen.labels, strict=True) if its == label
        ]
        assert values[f"explain/region{suffix}/mouth"] == pytest.approx(np.mean(mouth), abs=1e-6)
    assert 0 < values["explain/attention_entropy"] <= 1
    assert 0 <= values["explain/node_auroc"] <= 1


def test_a_missing_landmark_means_the_average_face(module: ResGATModule, data: FaceDataModule) -> None:
    table = data.manifest.table
    index = table.column_names.index("landmarks")
    values = [None if row % 2 else face for row, face in enumerate(table.column("landmarks").to_pylist())]
    blind = table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
    faces = data.faces("val")
    faces.manifest = Manifest(data.manifest.folder, blind, data.manifest.info)
    chosen = np.arange(6)
    seen = explain_faces(module.net, faces, chosen)
    missing = torch.from_numpy(faces.rows[chosen] % 2 == 1)
    assert torch.equal(seen.average_face, missing)
    assert bool((seen.landmarks[missing] == AVERAGE_LANDMARKS).all())
    stated = ["average face" in found.sentence for found in seen.findings()]
    assert stated == missing.tolist()


def test_localisation_counts_fakes_with_a_mask_only() -> None:
    nodes = torch.zeros(4, 7, 7)
    nodes[:, 4, 3] = 1.0
    mask = np.zeros((56, 56), np.uint8)
    mask[32:40, 24:32] = 255  # the cell of node (4, 3), inside the face
    corner = np.zeros((56, 56), np.uint8)
    corner[:8, :8] = 255
    seen = made(nodes, [1, 1, 0, 1], [mask, None, mask, mask])
    values = measure(seen)
    assert values["explain/node_auroc"] == 1
    assert values["explain/node_auroc_inside"] == 1
    assert measure(replace(seen, maps={"contribution": -nodes}))["explain/node_auroc"] == 0
    outside = measure(made(nodes, [1, 1, 0, 1], [corner, None, None, None]))
    assert outside["explain/node_auroc"] == pytest.approx(47 / 48 / 2)
    assert "explain/node_auroc_inside" not in outside  # nothing in the face was manipulated
    half = measure(made(nodes, [1, 1, 0, 1], [corner, mask, None, None]))
    assert half["explain/node_auroc"] == pytest.approx((47 / 48 / 2 + 1) / 2)
    assert half["explain/node_auroc_inside"] == 1
    assert not [name for name in measure(made(nodes, [1, 0, 0, 1], [None] * 4)) if "auroc" in name]


def test_one_class_alone_is_measured_alone() -> None:
    values = measure(made(torch.ones(2, 7, 7), [0, 0], [None, None]))
    assert values["explain/logit_real"] == pytest.approx(49.5)
    assert values["explain/attention_entropy"] == pytest.approx(0.5)
    assert {name for name in values if "_real" not in name} == {"explain/attention_entropy"}


def test_nothing_is_measured_once_training_has_diverged() -> None:
    nodes = torch.ones(2, 7, 7)
    nodes[0, 0, 0] = math.nan
    with pytest.warns(UserWarning, match="diverged"):
        assert measure(made(nodes, [0, 1], [None, None])) == {}
