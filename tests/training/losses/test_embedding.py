from __future__ import annotations

import pytest
import torch

from resgat_pl.nn.embedding_losses import alignment_loss, uniformity_loss
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses import Alignment, Uniformity

from ...helpers.loss_steps import loss_step, paired_batch


@pytest.mark.parametrize(("attention", "head"), [("gatv1", "linear"), ("gatv2", "linear"), ("gatv1", "mlp")])
def test_they_are_of_the_pooled_features_whatever_reads_them(attention: str, head: str) -> None:
    torch.manual_seed(0)
    options = {"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 4, "image_size": 64}
    net = ResGAT(attention, head=head, **options).eval()  # type: ignore[arg-type]
    step = loss_step(net, paired_batch(3))
    pooled = net.gat.attend(step.graph.nodes, net.grid).pooled
    assert torch.allclose(Alignment()(step), alignment_loss(pooled, step.batch["label"]))
    assert torch.allclose(Uniformity()(step), uniformity_loss(pooled))
    (Alignment()(step) + Uniformity()(step)).backward()
    assert net.gat.bias.grad is not None
