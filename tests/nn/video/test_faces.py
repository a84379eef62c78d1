"""Faces joined to a video, with shares that carry the ledger on."""

from __future__ import annotations

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.video.faces import join_faces


def test_noisy_or_is_one_minus_the_product() -> None:
    logits = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    found = join_faces(logits, "noisy_or")
    assert torch.allclose(found.logit.sigmoid(), 1 - (1 - logits.sigmoid()).prod())
    surprise = -(1 - logits.sigmoid()).log()
    assert torch.allclose(found.share, surprise / surprise.sum())
    assert torch.allclose((found.share * logits).sum() + found.together, found.logit)
    assert found.together > 0


def test_maximum_is_the_one_face() -> None:
    found = join_faces(torch.tensor([-1.0, 3.0, 2.0]))
    assert found.share.tolist() == [0, 1, 0]
    assert float(found.logit) == 3.0
    assert float(found.together) == 0.0


def test_one_face_is_the_video_either_way() -> None:
    for logit in (-30.0, 0.3, 400.0):
        found = join_faces(torch.tensor([logit], dtype=torch.float64), "noisy_or")
        assert float(found.logit) == pytest.approx(logit)
        assert float(found.together) == pytest.approx(0, abs=1e-9)


def test_refuses() -> None:
    with pytest.raises(ConfigError, match="no face"):
        join_faces(torch.zeros(0))
    with pytest.raises(ConfigError, match="noisy_or"):
        join_faces(torch.zeros(1), "mean")  # type: ignore[arg-type]
