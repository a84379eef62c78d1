from __future__ import annotations

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.mask_guidance import FORGED, guidance_loss, seam_of
from resgat_pl.training.losses.masks import MaskGuidance, node_targets

from ...helpers.loss_steps import loss_step, paired_batch, small_net


def test_area_is_the_guidance_of_mask_loss_weight() -> None:
    step = loss_step(small_net(), paired_batch())
    cover = step.lattice.cover(step.batch["mask"]).flatten(1)
    expected = guidance_loss(step.found.node, cover, step.batch["mask_known"])
    assert torch.equal(MaskGuidance()(step), expected)


def test_the_seam_is_the_rim_and_not_the_inside() -> None:
    batch = paired_batch(1)
    # a square with a soft rim
    batch["mask"].zero_()
    batch["mask"][0, 11:53, 11:53] = 0.5
    batch["mask"][0, 15:49, 15:49] = 1
    step = loss_step(small_net(), batch)
    shape = step.lattice.shape
    found = {
        target: (node_targets(step, batch["mask"], target)[0] > FORGED).reshape(shape)  # type: ignore[arg-type]
        for target in ("area", "seam", "both")
    }
    inner = torch.zeros(shape, dtype=torch.bool)
    inner[1:, 1:] = True  # nodes lie 16 px apart from the corner on, so the square covers those from the second on
    assert torch.equal(found["area"], inner)
    inner[2, 2] = False
    assert torch.equal(found["seam"], inner)
    assert torch.equal(found["both"], found["area"] | found["seam"])


def test_a_transparent_mask_has_a_seam_at_its_rim_alone() -> None:
    mask = torch.tensor([[[0.0, 0.25, 0.5, 0.5]], [[0.0, 0.0, 0.0, 0.0]]])
    assert seam_of(mask).tolist() == [[[0, 1, 0, 0]], [[0, 0, 0, 0]]]


def test_other_targets_are_refused() -> None:
    with pytest.raises(ConfigError, match="it must be area, seam or both"):
        MaskGuidance(target="rim")  # type: ignore[arg-type]
