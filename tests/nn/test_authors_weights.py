from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv  # its warning at import is silenced by conftest's import of ResGAT
from torchvision import models

from resgat_pl.core.errors import WeightsError
from resgat_pl.nn.authors_weights import read_published
from resgat_pl.nn.resgat import ResGAT

from .conftest import enliven


class Authors(nn.Module):
    """The authors' network as their text describes it: slow, with a real-class logit; written for this test."""

    def __init__(self, convolution: type) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(models.resnet50().children())[:-2])
        self.gat_layer = convolution(2048, 512, heads=9)
        self.fc = nn.Linear(4608, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, list[dict[tuple[int, int], Tensor]]]:
        logits, attentions = [], []
        for image in images:
            features = self.backbone(image[None])[0]
            _, height, width = features.shape
            pairs = []
            for row in range(height):
                for column in range(width):
                    node = row * width + column
                    if column + 1 < width:
                        pairs += [(node, node + 1), (node + 1, node)]
                    if row + 1 < height:
                        pairs += [(node, node + width), (node + width, node)]
            nodes = features.reshape(2048, -1).T
            edges = torch.tensor(pairs).T
            out, (index, alpha) = self.gat_layer(nodes, edges, return_attention_weights=True)
            logits.append(self.fc(out.mean(dim=0)))
            attentions.append({(s, t): a for (s, t), a in zip(index.T.tolist(), alpha, strict=True)})
        return torch.cat(logits), attentions


@torch.no_grad()
@pytest.mark.parametrize(("attention", "convolution"), [("gatv1", GATConv), ("gatv2", GATv2Conv)])
def test_published_weights_give_the_authors_numbers(tmp_path: Path, attention: Any, convolution: type) -> None:
    authors = Authors(convolution)
    images = torch.rand(1, 3, 224, 224)
    authors.backbone(torch.rand(2, 3, 96, 96))  # batch statistics
    enliven(authors.gat_layer)
    authors.eval()
    file = tmp_path / "model_weights.pth"
    torch.save(authors.state_dict(), file)

    net = ResGAT.from_published(file, attention=attention)
    assert net.config["attention"] == attention
    output = net(images)
    real, attentions = authors(images)
    torch.testing.assert_close(output.logit, -real, atol=1e-4, rtol=0)
    torch.testing.assert_close(output.probability, 1 - real.sigmoid(), atol=1e-4, rtol=0)
    assert output.attention.shape == (1, 217, 9)
    edges = [tuple(edge) for edge in output.edge_index.T.tolist()]
    for image, expected in enumerate(attentions):
        assert set(edges) == set(expected)
        theirs = torch.stack([expected[edge] for edge in edges])
        torch.testing.assert_close(output.attention[image], theirs, atol=1e-4, rtol=0)
        assert theirs.std() > 0.02  # the attention compared is not uniform


def small_v1() -> dict[str, Tensor]:
    names = ("att_src", "att_dst", "bias", "lin.weight")
    return {
        **{f"gat_layer.{name}": torch.randn(3, 3) for name in names},
        "backbone.0.weight": torch.randn(2),
        "fc.weight": torch.randn(2),
        "fc.bias": torch.randn(1),
    }


def test_names_of_older_torch_geometric_are_understood(tmp_path: Path) -> None:
    state = small_v1()
    torch.save(state, tmp_path / "new.pth")
    state["gat_layer.lin_src.weight"] = state["gat_layer.lin_dst.weight"] = state.pop("gat_layer.lin.weight")
    torch.save(state, tmp_path / "old.pth")
    new, old = read_published(tmp_path / "new.pth"), read_published(tmp_path / "old.pth")
    assert new[0] == old[0] == "gatv1"
    assert new[1].keys() == old[1].keys()
    assert all(torch.equal(new[1][key], old[1][key]) for key in new[1])

    state["gat_layer.lin_dst.weight"] = torch.randn(3, 3)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=r"odd\.pth.*differ"):
        read_published(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("state", "attention", "message"),
    [
        (small_v1(), "gatv2", r"gatv1.*attention=gatv2"),
        ({"conv1.weight": torch.zeros(1)}, None, r"a\.pth.*gat_layer.*conv1\.weight"),
        (small_v1(), None, r"a\.pth.*missing"),
    ],
    ids=["another attention", "another network", "incomplete"],
)
def test_other_files_are_refused(tmp_path: Path, state: dict[str, Tensor], attention: Any, message: str) -> None:
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=message):
        ResGAT.from_published(tmp_path / "a.pth", attention=attention)
