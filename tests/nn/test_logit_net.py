from __future__ import annotations

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.nn.logit_net import LogitNet

from ..helpers.other_nets import Plain

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
PLAIN = class_path(Plain)


@pytest.mark.parametrize("flat", [False, True])
def test_any_module_that_gives_a_logit(flat: bool) -> None:
    net = LogitNet(PLAIN, {"flat": flat}, normalize="none", image_size=64)
    output = net(IMAGES)
    torch.testing.assert_close(output.logit, net.module(IMAGES).flatten())
    torch.testing.assert_close(output.probability, output.logit.sigmoid())
    assert net.spec["init_args"] == {
        "module": PLAIN,
        "arguments": {"flat": flat},
        "normalize": "none",
        "image_size": 64,
    }
    normalised = LogitNet(PLAIN, {"flat": flat})
    normalised.load_state_dict(net.state_dict())
    torch.testing.assert_close(normalised(IMAGES).logit, net.module((IMAGES - net.mean) / net.std).flatten())


def test_what_gives_no_logit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Plain gives \(3, 2\) for 3 images; it must give one logit each"):
        LogitNet(PLAIN, {"outputs": 2})(IMAGES)
    with pytest.raises(ConfigError, match=r"The detector .*Plain cannot be made \(TypeError: .*depth"):
        LogitNet(PLAIN, {"depth": 3})
    with pytest.raises(ConfigError, match=r"The detector torch.device is no class derived from torch\.nn"):
        LogitNet("torch.device")
    with pytest.raises(ConfigError, match="There is no detector 'resnet'"):
        LogitNet("resnet")
