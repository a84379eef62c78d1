"""Explanations of clips: what a report shows of frames adds up to what the detector said of the clip."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.loading.clips import clip_places
from resgat_pl.explain import registry
from resgat_pl.explain.base import why_not
from resgat_pl.explain.methods.clips import ClipContribution, FrameShapley, clip_logits
from resgat_pl.explain.methods.nodes import NodeShapley
from resgat_pl.explain.methods.subgraph import MinimalSubgraph
from resgat_pl.explain.regions import or_average
from resgat_pl.explain.registry import find
from resgat_pl.explain.report.run_methods import default_methods, face_logits, require_explainable, run
from resgat_pl.explain.sentences import findings
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

SMALL: dict[str, Any] = {"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 4, "image_size": 32}


def made(temporal: Any) -> VideoResGAT:
    torch.manual_seed(0)
    net = VideoResGAT(temporal, clip_frames=4, window=2, **SMALL).eval()
    for name, weight in net.named_parameters():
        if name.startswith(("temporal", "head", "gat")):
            torch.nn.init.normal_(weight, std=0.5)
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Three faces of 6, 3 and 1 frames: two clips, a short one, and a single picture."""
    return torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))


LENGTHS = [6, 3, 1]


@pytest.mark.parametrize(
    ("temporal", "method"),
    [
        ("mean", ClipContribution),
        ("attention", ClipContribution),
        ("spacetime", ClipContribution),
        ("lstm", FrameShapley),
        ("spacetime", FrameShapley),
    ],
)
def test_frames_add_up_to_the_clips(temporal: str, method: Any, images: torch.Tensor) -> None:
    net = made(temporal)
    found, faces = method(net, batch_size=4).attribute_faces(images, LENGTHS)
    assert [len(face) for face in faces] == [2, 1, 1]
    assert float(found.completeness_gap.max()) < 1e-4
    means = [found.logit[:6].unflatten(0, (2, 3)).mean(dim=1), found.logit[6:9].mean()[None], found.logit[9:]]
    nodes = net.encode(images).split(LENGTHS)
    for face, mean, seen in zip(faces, means, nodes, strict=True):
        wanted = net.forward_nodes(seen[torch.from_numpy(clip_places(len(seen), 4))]).logit
        assert torch.allclose(face, wanted, atol=1e-5), "the very logits that a test computes"
        assert torch.allclose(mean, wanted, atol=1e-4)
    for face, other in zip(faces, clip_logits(net, images, LENGTHS, 3), strict=True):
        assert torch.allclose(face, other, atol=1e-5)


def test_a_picture_is_a_clip_of_one_frame(images: torch.Tensor) -> None:
    net = made("attention")
    found = ClipContribution(net).attribute(images[:3])
    assert torch.allclose(found.logit, net(images[:3]).logit, atol=1e-5)
    assert float(found.completeness_gap.max()) < 1e-4


def test_shapley_says_when_and_not_where(images: torch.Tensor) -> None:
    found, _ = FrameShapley(made("lstm")).attribute_faces(images, LENGTHS)
    maps = found.node_map.flatten(1)
    assert torch.allclose(maps, maps[:, :1].expand_as(maps))
    assert float(maps[:6, 0].std()) > 1e-5


def test_reports_run_one_method_and_refuse_those_of_pictures(images: torch.Tensor) -> None:
    net = made("spacetime")
    assert (default_methods(net), default_methods(made("lstm"))) == ("ClipContribution", "FrameShapley")
    explained = run(net, images, [find("ClipContribution")], 4, LENGTHS)
    assert explained.contribution is not None and explained.faces is not None
    for face, other in zip(explained.faces, face_logits(net, images, 4, LENGTHS), strict=True):
        assert torch.allclose(face, other, atol=1e-5)
    with pytest.raises(ConfigError, match="InputXGradient explains single pictures"):
        require_explainable(net, [find("InputXGradient")])
    with pytest.raises(ConfigError, match=r"FrameLSTM over frames.*take FrameShapley"):
        require_explainable(made("lstm"), [find("ClipContribution")])
    assert "detectors of the class VideoResGAT" in str(why_not(ClipContribution, ResGAT(**SMALL)))


def test_sentences_take_contributions_of_clips_for_parts_of_the_computation(images: torch.Tensor) -> None:
    explained = run(made("mean"), images, [find("ClipContribution")], 4, LENGTHS)
    assert explained.contribution is not None
    said = findings(explained.contribution, or_average(torch.full((10, 5, 2), torch.nan))[0], None, None, None, 0.5)
    assert all("estimates" not in one.sentence for one in said)


@pytest.mark.parametrize("temporal", ["mean", "lstm"])
def test_methods_that_take_nodes_of_one_graph_away_are_refused(temporal: Any) -> None:
    """They would read the head of single frames, which is not the answer on a clip."""
    net = made(temporal)
    reading = [method for method in registry.methods().values() if method.needs is ResGAT]
    assert MinimalSubgraph in reading and NodeShapley in reading
    assert all(why_not(method, net) for method in reading)
    for method in (MinimalSubgraph, NodeShapley):
        assert "reads the head of one graph, and VideoResGAT has a separate answer" in str(why_not(method, net))
