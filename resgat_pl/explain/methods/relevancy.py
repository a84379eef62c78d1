"""Relevancy of the patches of a vision transformer, carried through its attention layers and the graph's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from resgat_pl.explain.base import Attribution, Explainer, Unit
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.encoder_net import EncoderNet
from resgat_pl.nn.encoders.timm_models import TimmEncoder
from resgat_pl.nn.encoders.two_stages import TwoStages
from resgat_pl.nn.grid import Grid
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT


@explainer("gradient", "Chefer et al. (ICCV 2021): relevancy of patches through the attention of a vision transformer.")
class Relevancy(Explainer):
    """Relevancy maps of vision transformers (Chefer et al., "Generic Attention-model Explainability", ICCV 2021).

    R starts as the identity over all tokens, class and register tokens included, and every self-attention layer adds
    its share, R ← R + Ā R with Ā = mean over heads of (∇A ⊙ A)⁺ (their Eqs. 5 and 6), ∇A being the gradient of the
    *fake* logit. The graph attention of a ``ResGAT`` is one such layer more, over the nodes. The map is what is added
    to the tokens that the head reads: the mean over the nodes, or the class token. Only attention is followed, not the
    values: the numbers are 0 or more, and say nothing of *real*.

    One forward and one backward pass.

    Example:
        >>> net = ResGAT(encoder="timm/test_vit", heads=1, hidden=4, image_size=64)
        >>> Relevancy(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 4, 4])
    """

    unit: ClassVar[Unit] = "gradient"
    signed: ClassVar[bool] = False
    needs: ClassVar[type[DetectorNet]] = EncoderNet
    net: EncoderNet

    @classmethod
    def refusal(cls, net: DetectorNet) -> str | None:
        """See ``Explainer``."""
        encoder = net.get_submodule("backbone")
        if isinstance(encoder, TwoStages):
            return "follows one stage of an encoder, and this network reads two (encoder_stage [3, 4])."
        layers = _attention_layers(encoder) if isinstance(encoder, TimmEncoder) and encoder.isotropic else []
        if not layers:
            return (
                f"follows the attention of a vision transformer, and the encoder {net.config.get('encoder')} has none "
                "over its patches. GradCAM explains convolutional encoders."
            )
        return None if isinstance(net, ResGAT | PooledClassifier) else f"cannot read a {type(net).__name__}."

    @torch.inference_mode(False)  # its tensors could not be derived from
    @torch.enable_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        net = self.net
        encoder: Any = net.backbone
        with _recorded(_attention_layers(encoder)) as attentions:
            nodes = net.encode(images.detach().clone().requires_grad_())  # also where no parameter is trained
        if isinstance(net, ResGAT):
            graph = net.graph(nodes)
            logit, last = net.classify(graph).logit, [graph.attention]
        else:
            logit, last = net.forward_nodes(nodes).logit, []
        gradients = torch.autograd.grad(logit.sum(), [*attentions, *last])
        with torch.no_grad():
            relevancy = propagated(attentions, gradients[: len(attentions)])
            prefix = int(encoder.model.num_prefix_tokens)
            if isinstance(net, PooledClassifier) and net.pooling == "cls":
                found = relevancy[:, 0, prefix:]
            else:
                read = relevancy[:, prefix:]
                if isinstance(net, ResGAT):
                    shared = (gradients[-1] * last[0]).clamp(min=0).mean(dim=-1)
                    read = read + _dense(net.grid, shared) @ read
                own = torch.eye(read.shape[1]).to(read)  # the identity, which no attention added
                found = (read[:, :, prefix:] - own).mean(dim=1)
        return Attribution(found, logit.detach(), torch.zeros_like(logit), backward=1)


def propagated(attentions: list[Tensor], gradients: tuple[Tensor, ...]) -> Tensor:
    """R after all layers, ``(B, T, T)`` float: row i is the relevancy of all tokens for token i.

    Args:
        attentions: Of each layer ``(B, heads, T, T)``, rows being the tokens that attend.
        gradients: Of the logit by them.
    """
    first = attentions[0]
    relevancy = torch.eye(first.shape[-1]).to(first).expand(len(first), -1, -1)
    for attention, gradient in zip(attentions, gradients, strict=True):
        relevancy = relevancy + (gradient * attention).clamp(min=0).mean(dim=1) @ relevancy
    return relevancy


def _dense(grid: Grid, slots: Tensor) -> Tensor:
    """A matrix ``(B, N, N)``, target by source, from the slots ``(B, N, 5)`` of a grid; absent ones hold 0."""
    matrix = slots.new_zeros(*slots.shape[:2], grid.num_nodes)
    return matrix.scatter_add_(2, grid.neighbours.expand(len(slots), -1, -1), slots * grid.present)


def _attention_layers(encoder: Any) -> list[nn.Module]:
    """The attention layers of a timm transformer's blocks; none if they do not show their weights."""
    layers = [getattr(block, "attn", None) for block in getattr(encoder.model, "blocks", [])]
    known = [each for each in layers if isinstance(each, nn.Module) and hasattr(each, "fused_attn")]
    return known if len(known) == len(layers) and all(hasattr(each, "attn_drop") for each in known) else []


@contextmanager
def _recorded(layers: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Compute attention step by step instead of in one fused kernel, and record its weights as the values meet them."""
    found: list[Tensor] = []

    def record(_: nn.Module, __: tuple[Tensor], weights: Tensor) -> None:
        if not weights.is_meta:  # a pass without numbers, that finds the shape of the grid
            found.append(weights)

    fused: list[Any] = [layer.fused_attn for layer in layers]
    handles = []
    for layer in layers:
        layer.fused_attn = False  # type: ignore[assignment]  # a flag of timm's
        drop: Any = layer.attn_drop
        handles.append(drop.register_forward_hook(record))
    try:
        yield found
    finally:
        for layer, flag, handle in zip(layers, fused, handles, strict=True):
            layer.fused_attn = flag
            handle.remove()
