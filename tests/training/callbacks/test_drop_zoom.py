from __future__ import annotations

from typing import Any

import pytest
import torch
from jsonargparse import Namespace

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.regions import AVERAGE_LANDMARKS
from resgat_pl.nn.contribution import contributions
from resgat_pl.training.callbacks.drop_zoom import AttentionDropZoom
from resgat_pl.training.losses import Restoration
from resgat_pl.training.module import ResGATModule

from ...helpers.loss_steps import SIDE, paired_batch, small_net
from ...helpers.other_nets import Blocks


def run(callback: AttentionDropZoom, module: ResGATModule, batch: dict[str, Any]) -> dict[str, Any]:
    changed = {name: value.clone() for name, value in batch.items()}
    trainer: Any = None
    callback.on_train_batch_start(trainer, module, changed, 0)
    return changed


def test_the_cells_of_the_largest_contributions_are_erased() -> None:
    module, batch = ResGATModule(small_net()), paired_batch(2)
    found = run(AttentionDropZoom(1.0, erase=1.0, share=0.2), module, batch)
    nodes = contributions(module.net, batch["image"]).node.abs()
    lattice = module.net.lattice(SIDE, SIDE)
    wanted = nodes >= nodes.topk(round(0.2 * nodes.shape[1]), dim=1).values[:, -1:]
    gone = wanted[:, lattice.cells(SIDE, SIDE)]
    different = (found["image"] != batch["image"]).any(dim=1)
    assert torch.equal(different, gone)
    mean = batch["image"].mean(dim=(2, 3))
    assert torch.allclose(found["image"][0][:, gone[0]], mean[0][:, None].expand(3, int(gone[0].sum())))
    assert not found["mask"][gone].any() and torch.equal(found["mask"][~gone], batch["mask"][~gone])


def test_an_enlargement_moves_mask_and_landmarks_along() -> None:
    module, batch = ResGATModule(small_net()), paired_batch(2)
    batch["landmarks"] = AVERAGE_LANDMARKS.expand(4, 5, 2).clone()
    # a picture whose red is x and whose green is y shows where each pixel came from
    axis = (torch.arange(SIDE) + 0.5) / SIDE
    batch["image"][:, 0], batch["image"][:, 1] = axis, axis[:, None]
    found = run(AttentionDropZoom(1.0, erase=0.0, share=0.1, zoom=0.5), module, batch)
    for place in range(4):
        x, y = found["image"][place, 0], found["image"][place, 1]
        low = torch.stack([x.min(), y.min()]) - 0.5 / SIDE / 2
        assert float(x.max() - x.min()) == pytest.approx(0.5, abs=0.03)  # half of the crop
        moved = found["landmarks"][place] * 0.5 + low
        assert torch.allclose(moved, AVERAGE_LANDMARKS, atol=0.02)
    fake = found["mask"][0]
    wanted = ((found["image"][0, 0] < 0.5) & (found["image"][0, 1] < 0.5)).float()  # the upper left quarter is altered
    assert float((fake - wanted).abs().mean()) < 0.05


def test_a_mask_of_which_nothing_is_left_is_not_known() -> None:
    module, batch = ResGATModule(small_net()), paired_batch(2)
    batch["mask"][::2] = 0
    batch["mask"][::2, :2, :2] = 1
    found = run(AttentionDropZoom(1.0, erase=1.0, share=1.0), module, batch)
    assert found["mask_known"].tolist() == [False, True, False, True]  # of genuine faces it is


def test_nothing_happens_without_chance_and_statistics_stay() -> None:
    module, batch = ResGATModule(small_net()), paired_batch(2)
    module.train()
    before = {name: value.clone() for name, value in module.net.state_dict().items()}
    found = run(AttentionDropZoom(0.0), module, batch)
    assert all(torch.equal(found[name], batch[name]) for name in batch)
    run(AttentionDropZoom(1.0), module, batch)
    assert module.net.training
    assert all(torch.equal(value, before[name]) for name, value in module.net.state_dict().items())
    torch.manual_seed(4)
    one = run(AttentionDropZoom(0.5), module, batch)
    torch.manual_seed(4)
    assert torch.equal(run(AttentionDropZoom(0.5), module, batch)["image"], one["image"])


def test_where_it_cannot_be_used() -> None:
    for given in ({"probability": 2}, {"zoom": 0.01}, {"share": 0}, {"erase": -1}):
        with pytest.raises(ConfigError, match="it must be from"):
            AttentionDropZoom(**given)  # type: ignore[arg-type]
    callback, trainer = AttentionDropZoom(), Namespace(datamodule=None)
    asked: Any = trainer
    callback.on_fit_start(asked, ResGATModule(small_net()))
    with pytest.raises(ConfigError, match="which needs the contributions"):
        callback.on_fit_start(asked, ResGATModule(Blocks()))
    with pytest.raises(ConfigError, match="has Restoration, which exchanges pixels"):
        callback.on_fit_start(asked, ResGATModule(small_net(), losses=[Restoration()]))
