from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses import NodeMask

from ...helpers.loss_steps import SIDE, loss_step, paired_batch


def masked_net(mask_head: Any = "aux", **options: Any) -> ResGAT:
    torch.manual_seed(0)
    small: dict[str, Any] = {"encoder_stage": 3, "heads": 2, "hidden": 4, "image_size": SIDE, **options}
    return ResGAT("gatv2", "resnet18", mask_head=mask_head, **small).eval()


def test_it_is_the_cross_entropy_of_known_nodes_with_their_share_of_the_mask() -> None:
    batch = paired_batch()
    batch["mask_known"][2:4] = False
    step = loss_step(masked_net(), batch)
    assert step.found.mask is not None
    cover = step.lattice.cover(batch["mask"]).flatten(1)
    assert ((cover > 0) & (cover < 1)).any()  # a share and no label
    known = batch["mask_known"]
    expected = F.binary_cross_entropy(step.found.mask[known], cover[known])
    torch.testing.assert_close(NodeMask()(step), expected)
    assert not torch.isclose(F.binary_cross_entropy(step.found.mask, cover), expected)


def test_a_batch_of_which_nothing_is_known_has_a_gradient_of_zeros() -> None:
    batch = paired_batch()
    batch["mask_known"][:] = False
    net = masked_net()
    NodeMask()(loss_step(net, batch)).backward()
    assert net.node_gate is not None
    assert net.node_gate.weight.grad is not None
    assert not net.node_gate.weight.grad.any()


@pytest.mark.parametrize("mask_head", [pytest.param("aux", marks=pytest.mark.long), "gate"])
def test_a_few_steps_find_what_is_altered(mask_head: str) -> None:
    net, batch = masked_net(mask_head), paired_batch()
    nodes = net.encode(batch["image"]).detach()
    optimiser = torch.optim.Adam(net.node_gate.parameters(), lr=0.01)  # type: ignore[union-attr]
    losses = []
    for _ in range(60):
        step = loss_step(net, batch)
        loss = NodeMask()(step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        assert nodes.shape == step.graph.nodes.shape
    assert losses[-1] < 0.6 * losses[0]


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"NodeMask\.target is 'rim'"):
        NodeMask(target="rim")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="weight"):
        NodeMask(weight=0)
