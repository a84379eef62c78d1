from __future__ import annotations

import pytest
import torch

from resgat_pl.training.losses.silence import Silence

from ...helpers.loss_steps import loss_step, paired_batch, small_net


def test_the_largest_contributions_of_genuine_faces_count_in_either_direction() -> None:
    step = loss_step(small_net(), paired_batch(1))
    nodes = step.found.node.shape[1]
    assert nodes == 16
    node = torch.full((2, nodes), 5.0)  # the fake's say nothing
    node[1] = 0.0
    node[1, 3], node[1, 7] = -0.4, 0.1
    step.found = step.found._replace(node=node)
    scale = 4 / 49 * nodes
    assert float(Silence(share=1 / 16)(step)) == pytest.approx(0.4 * scale)
    assert float(Silence(share=2 / 16)(step)) == pytest.approx(0.25 * scale)


def test_a_batch_without_genuine_faces_has_none() -> None:
    batch = paired_batch(1)
    batch["label"] = torch.ones(2)
    assert float(Silence()(loss_step(small_net(), batch)).detach()) == 0
