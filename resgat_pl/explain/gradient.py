"""Read-outs by gradient: Grad-CAM on the encoder's feature map."""

from __future__ import annotations

import torch
from torch import Tensor

from resgat_pl.errors import ConfigError
from resgat_pl.nn.resgat import ResGAT


def grad_cam(net: ResGAT, images: Tensor, relu: bool = True) -> Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017) of the *fake* logit z on the feature map, by captum.

    m_j = Σ_f a_f x_jf with a_f = (1/N) Σ_i ∂z/∂x_if (their Eqs. 1 and 2), x_j being the features of node j. Under
    uniform attention m_j is exactly ``Contributions.evidence``: averaging the gradient over the nodes takes the
    attention out, and what is left is what each node would say. Parameters and their gradients stay as they are, and
    the caller may have switched gradients off.

    Args:
        net: Network in evaluation mode.
        images: ``(B, 3, H, W)`` float in [0, 1], RGB.
        relu: True keeps what speaks for *fake*, as in the ResGAT paper's figure and Selvaraju's Eq. 2; False keeps the
            sign.

    Returns:
        ``(B, N)`` float, detached, in the unit of the logit; at least 0 with ``relu``.

    Raises:
        ConfigError: The network is in training mode, the images are too small for a grid of 2×2 nodes, or captum is
            not installed.
    """
    check_evaluation_mode(net)
    try:
        from captum.attr import LayerGradCam
    except ImportError as error:
        raise ConfigError(
            f'Grad-CAM needs captum, which cannot be imported ({error}): pip install "resgat-pl[figures]".'
        ) from error
    # captum makes the feature map require a gradient and switches recording on, but inference mode overrules it.
    with torch.inference_mode(False):
        # One number an image, and so no target to choose: with ResGATOutput captum would not know what to derive.
        explainer = LayerGradCam(lambda batch: net(batch).logit, net.backbone)
        pixels = images.detach().clone()  # what was made in inference mode could not be used in a derivative
        maps: Tensor = explainer.attribute(pixels, relu_attributions=relu)
    return maps.detach().flatten(1)


def check_evaluation_mode(net: ResGAT) -> None:
    """Make sure that an explanation is of the network as it predicts, and leaves its batch statistics alone.

    Raises:
        ConfigError: The network or a part of it is in training mode.
    """
    if any(module.training for module in net.modules()):
        raise ConfigError(
            "The network is in training mode, in which dropout and batch normalisation make its answer random and "
            "dependent on the batch: call net.eval() before explaining."
        )
