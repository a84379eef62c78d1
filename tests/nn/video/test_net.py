"""VideoResGAT: started from a detector of frames, stored, read again, and refused where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.nets import check_same_net, load_net
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

from .test_ledger import SMALL


def saved(net: ResGAT, path: Path) -> Path:
    content = {"resgat": {"version": 1, "net": net.spec}}
    content["state_dict"] = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save(content, path)
    return path


@pytest.mark.parametrize("temporal", ["mean", "attention", "spacetime", "lstm"])
def test_starts_from_a_detector_of_frames_and_is_stored_whole(temporal: Any, tmp_path: Path) -> None:
    frames = ResGAT(**SMALL).eval()
    start = saved(frames, tmp_path / "frames.ckpt")
    net = VideoResGAT(temporal, clip_frames=3, frames=start, **SMALL).eval()
    assert net.started_from == start
    images = torch.rand(1, 3, 3, 64, 64)
    if temporal != "lstm":
        assert torch.allclose(net(images).logit, frames(images[0]).logit.mean(), atol=1e-5)
    start.unlink()
    again = load_net(saved(net, tmp_path / "clips.ckpt"))
    assert isinstance(again, VideoResGAT)
    assert (again.clip_frames, again.started_from, again.config["frames"]) == (3, None, None)
    assert torch.equal(again(images).logit, net(images).logit)
    check_same_net({"class_path": "VideoResGAT", "init_args": {"frames": "other.ckpt", **SMALL}}, net.spec)
    with pytest.raises(WeightsError, match="temporal is"):
        check_same_net({"class_path": "VideoResGAT", "init_args": {"temporal": "other"}}, net.spec)


def test_a_shared_folder_holds_it(tmp_path: Path) -> None:
    net = VideoResGAT("spacetime", **SMALL).eval()
    net.save_pretrained(tmp_path / "shared")
    again = load_net(Checkpoint.read(tmp_path / "shared"))
    images = torch.rand(1, 2, 3, 64, 64)
    assert torch.equal(again(images).logit, net(images).logit)


def test_attention_of_a_clip_is_the_mean_over_its_frames() -> None:
    net = VideoResGAT("mean", **SMALL).eval()
    images = torch.rand(1, 2, 3, 64, 64)
    alone = torch.cat([net(images[:, place]).attention for place in (0, 1)])
    assert torch.allclose(net(images).attention[0], alone.mean(dim=0), atol=1e-6)


def test_refuses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.clip_frames is not set"):
        VideoResGAT(clip_frames=None, **SMALL)
    with pytest.raises(ConfigError, match="temporal is 'median'"):
        VideoResGAT("median", **SMALL)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="window is 0"):
        VideoResGAT(window=0, **SMALL)
    with pytest.raises(ConfigError, match=r"net\.head is capsule, which reads the nodes of one graph"):
        VideoResGAT("mean", head="capsule", **SMALL)
    other = saved(ResGAT(**{**SMALL, "heads": 3}), tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="heads is 3 there and 2 here"):
        VideoResGAT(frames=other, **SMALL)
    clips = saved(VideoResGAT("mean", **SMALL), tmp_path / "clips.ckpt")
    with pytest.raises(WeightsError, match=r"net\.frames takes one of ResGAT"):
        VideoResGAT(frames=clips, **SMALL)
