"""A network saved from Python, with and without the checkpoint that it is of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.resgat import ResGAT

from ..helpers.hub import THRESHOLDS, content, small


@pytest.mark.parametrize("encoder", ["resnet18", "timm/test_vit"])
@pytest.mark.parametrize("head", ["linear", "mlp", "normalised"])
def test_logits_are_the_same_bits(tmp_path: Path, encoder: str, head: str) -> None:
    net = small(encoder=encoder, head=head, encoder_stage=3)
    net.save_pretrained(tmp_path / "shared")
    found = ResGAT.from_pretrained(tmp_path / "shared")
    images = torch.rand(2, 3, 64, 80) if encoder == "resnet18" else torch.rand(2, 3, 64, 64)
    assert torch.equal(found(images).logit, net(images).logit)
    assert not found.training
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "Unknown: the folder was written without a checkpoint" in card
    assert f"encoder: {encoder}" in card
    assert Checkpoint.read(tmp_path / "shared").thresholds is None


def test_the_checkpoint_adds_what_was_chosen(tmp_path: Path) -> None:
    net, path = small(), tmp_path / "best.ckpt"
    torch.save(content(net), path)
    net.save_pretrained(tmp_path / "shared", checkpoint=path, card="# Mine\n")
    found = Checkpoint.read(tmp_path / "shared")
    assert found.thresholds == THRESHOLDS
    assert found.provenance["seed"] == 3
    assert (tmp_path / "shared" / "README.md").read_text() == "# Mine\n"
    with torch.no_grad():
        net.gat.bias.add_(1)
    with pytest.raises(ConfigError, match=r"other weights than .*best\.ckpt"):
        net.save_pretrained(tmp_path / "other", checkpoint=path)
    with pytest.raises(WeightsError, match="no weights file"):
        net.save_pretrained(tmp_path / "other", checkpoint=tmp_path / "none.ckpt")
    assert not (tmp_path / "other").exists()


def test_only_folders_are_pretrained(tmp_path: Path) -> None:
    torch.save(content(small()), tmp_path / "best.ckpt")
    with pytest.raises(WeightsError, match=r"no folder .*best\.ckpt"):
        ResGAT.from_pretrained(tmp_path / "best.ckpt")
