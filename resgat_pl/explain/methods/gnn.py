"""GNNExplainer, as PyTorch Geometric has it, on the graph part of the network."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from resgat_pl.explain.base import Attribution, Explainer, Unit, at_least, positive
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.contribution import decompose
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.gat import GridGATConv
from resgat_pl.nn.resgat import ResGAT


@explainer("gnn")
class GNNExplainer(Explainer):
    """GNNExplainer (Ying et al., NeurIPS 2019), by PyTorch Geometric: which nodes and edges suffice for the decision.

    It learns a factor in [0, 1] for the features of each node and for the message of each edge, such that the network
    still decides as it did (binary cross-entropy with its own decision), and small or undecided factors are rewarded
    or penalised with PyTorch Geometric's weights. The map is unsigned: a high factor means needed for the decision,
    whichever it was, so it is the same for either target. Attention is computed on the scaled features, but the factors
    of edges act after the softmax and the remaining ones are not normalised again.

    Once the logit is so large that the cross-entropy is exactly 0 in float32 with all factors near ½ (beyond about
    17), there is nothing to learn from, and all factors are 0.

    Args:
        batch_size: Images encoded at once; does not matter to the result, each image is explained alone.
        epochs: Steps of Adam for each image.
        lr: Its learning rate.
        seed: Of the factors' start, the same for every image. Global random states are neither read nor changed.

    Raises:
        ConfigError: See ``Explainer``; ``epochs``, ``lr`` or ``seed`` is out of range.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> GNNExplainer(net, epochs=2).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "mask"
    signed: ClassVar[bool] = False
    averaged: ClassVar[bool] = True
    needs: ClassVar[type[DetectorNet]] = ResGAT
    decomposes: ClassVar[bool] = True
    net: ResGAT

    def __init__(
        self, model: nn.Module, batch_size: int = 32, epochs: int = 100, lr: float = 0.01, seed: int = 0
    ) -> None:
        super().__init__(model, batch_size)
        at_least(1, epochs=epochs)
        at_least(0, seed=seed)
        positive(lr=lr)
        self.epochs = epochs
        self.lr = lr
        self.seed = seed

    @classmethod
    def refusal(cls, net: DetectorNet) -> str | None:
        """See ``Explainer``."""
        if isinstance(net, ResGAT) and net.is_plain:
            return None
        return "runs PyTorch Geometric's layer, without gates and capsules. NodeShapley explains this network."

    # Inference mode would overrule the recording of gradients that the factors are learnt with.
    @torch.inference_mode(False)
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``. Each but the first of the graph's passes is also run backwards."""
        from torch_geometric.explain import Explainer as PyGExplainer, GNNExplainer as PyGGNNExplainer

        with torch.no_grad():
            state = self.net.graph(self.net.encode(images))
            found = decompose(self.net, state)
        edge_index = found.output.edge_index
        order = loops_last(edge_index)
        nodes, edges = [], []
        for graph in state.nodes:
            explainer = PyGExplainer(
                GraphPart(self.net, graph),
                PyGGNNExplainer(epochs=self.epochs, lr=self.lr),
                explanation_type="model",
                model_config={"mode": "binary_classification", "task_level": "graph", "return_type": "raw"},
                node_mask_type="object",
                edge_mask_type="object",
            )
            with seeded(self.seed, graph.device), torch.enable_grad():
                masks = explainer(torch.eye(len(graph)).to(graph), edge_index[:, order])
            nodes.append(masks.node_mask.squeeze(1))
            edges.append(torch.empty_like(masks.edge_mask).index_copy_(0, order, masks.edge_mask))
        return Attribution(
            torch.stack(nodes), found.output.logit, found.bias, torch.stack(edges), graph=1 + self.epochs
        )


class GraphPart(nn.Module):
    """The network after its encoder, for the nodes of one image: what PyTorch Geometric's explainers take.

    Its nodes are one-hot, and the weights that meet them are already multiplied with the image's features: the same
    numbers, to float precision, since a factor on a node's features is one on its one-hot vector, but ten times
    faster to repeat. All other weights share the network's memory. The network itself is neither differentiated nor
    marked, though PyTorch Geometric differentiates by all parameters and leaves its masks on the layer.

    Args:
        net: Network.
        features: ``(N, F)`` float, the image's nodes, ``GraphState.nodes``.
    """

    def __init__(self, net: ResGAT, features: Tensor) -> None:
        super().__init__()
        self.gat = _with_frozen_weights(net.gat)
        self.head = _with_frozen_weights(net.head)
        for name in ("lin",) if isinstance(net.gat, GridGATConv) else ("lin_l", "lin_r"):
            layer = self.gat.get_submodule(name)
            product = layer.get_parameter("weight") @ features.detach().T
            layer.register_parameter("weight", nn.Parameter(product, requires_grad=False))
        self.train(net.training)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Logit ``(1,)`` of ``x (N, N)`` float, one-hot nodes times factors, by PyTorch Geometric's own layer.

        Args:
            x: Row j is the factor of node j at place j.
            edge_index: ``(2, E)`` int64; the layer adds self-loops.
        """
        logit: Tensor = self.head(self.gat(x, edge_index).mean(dim=0, keepdim=True))
        return logit


def loops_last(edge_index: Tensor) -> Tensor:
    """Order ``(E,)`` int64 in which PyTorch Geometric's layers keep edges: self-loops at the end, by node.

    They take self-loops out and add new ones. Given in any other order, the factors of a mask with as many edges
    would silently be multiplied with the messages of others.
    """
    source, target = edge_index
    loop = source == target
    loops = loop.nonzero().squeeze(1)
    return torch.cat([(~loop).nonzero().squeeze(1), loops[source[loops].argsort()]])


def _with_frozen_weights(module: nn.Module) -> nn.Module:
    """Copy everything but the parameters' memory; the copies need no gradient."""
    shared = {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in module.parameters()}
    return copy.deepcopy(module, shared)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators that draw for ``device``, and afterwards put them back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
