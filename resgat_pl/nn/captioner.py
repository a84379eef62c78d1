"""A small decoder that says in words what the nodes of a graph contribute."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.node_geometry import Lattice

PAD, START, END = 0, 1, 2
"""Numbers of the tokens that every vocabulary begins with."""


class Captioner(nn.Module):
    """Transformer decoder (Vaswani et al., "Attention Is All You Need", NeurIPS 2017) over the nodes of a detector.

    It attends to one memory a node, w_j (P x_j + Q [c_j, y_j, x_j]): the node's features, its contribution and its
    place, weighted by w_j = |c_j| / max |c|. So a node that does not contribute to the logit cannot be seen, whatever
    its features are: what is said rests on what was decided by.

    Args:
        words: Size of the vocabulary.
        features: Features of a node, F.
        width: Of the decoder.
        layers: Its layers.
        heads: Their heads.
        longest: Tokens of a text, at most.
        dropout: In training.

    Raises:
        ConfigError: The width cannot be divided by the heads.

    Example:
        >>> net = Captioner(words=12, features=4, width=8, heads=2)
        >>> nodes, contribution = torch.rand(2, 6, 4), torch.randn(2, 6)
        >>> net(torch.ones(2, 3, dtype=torch.int64), nodes, contribution, Lattice.even(2, 3)).shape
        torch.Size([2, 3, 12])
    """

    def __init__(
        self,
        words: int,
        features: int,
        width: int = 192,
        layers: int = 2,
        heads: int = 4,
        longest: int = 48,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"The captioner's width is {width}, which {heads} heads do not divide.")
        self.longest = longest
        self.word = nn.Embedding(words, width, padding_idx=PAD)
        self.position = nn.Embedding(longest, width)
        self.features = nn.Linear(features, width)
        self.place = nn.Linear(3, width)
        layer = nn.TransformerDecoderLayer(width, heads, 2 * width, dropout, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(width))
        self.out = nn.Linear(width, words)

    def forward(self, tokens: Tensor, nodes: Tensor, contribution: Tensor, lattice: Lattice) -> Tensor:
        """Logits ``(B, T, words)`` of the token after each.

        Args:
            tokens: ``(B, T)`` int64, from ``START`` on; T at most ``longest``.
            nodes: ``(B, N, F)`` float, features.
            contribution: ``(B, N)`` float, ``Contributions.node``, in logits.
            lattice: Where the nodes are.
        """
        return self._decode(tokens, self._memory(nodes, contribution, lattice))

    @torch.no_grad()
    def write(self, nodes: Tensor, contribution: Tensor, lattice: Lattice) -> list[list[int]]:
        """The likeliest token after each, up to ``END``: a list of tokens for each face, without the marks."""
        memory = self._memory(nodes, contribution, lattice)
        tokens = torch.full((len(nodes), 1), START, dtype=torch.int64, device=nodes.device)
        for _ in range(self.longest - 1):
            following = self._decode(tokens, memory)[:, -1].argmax(dim=1, keepdim=True)
            following = following.masked_fill((tokens == END).any(dim=1, keepdim=True), PAD)
            tokens = torch.cat([tokens, following], dim=1)
            if bool((tokens == END).any(dim=1).all()):
                break
        return [[token for token in row if token not in {PAD, START, END}] for row in tokens.tolist()]

    def _memory(self, nodes: Tensor, contribution: Tensor, lattice: Lattice) -> Tensor:
        rows, columns = (torch.tensor(axis, device=nodes.device) for axis in lattice.centres)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1).to(nodes)
        weight = contribution.abs()
        weight = weight / weight.amax(dim=1, keepdim=True).clamp(min=1e-12)
        about = torch.cat([contribution.unsqueeze(-1), places.expand(len(nodes), -1, -1)], dim=-1)
        memory: Tensor = weight.unsqueeze(-1) * (self.features(nodes) + self.place(about))
        return memory

    def _decode(self, tokens: Tensor, memory: Tensor) -> Tensor:
        length = tokens.shape[1]
        places = torch.arange(length, device=tokens.device)
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device, dtype=memory.dtype)
        found = self.decoder(self.word(tokens) + self.position(places), memory, tgt_mask=mask, tgt_is_causal=True)
        logits: Tensor = self.out(found)
        return logits
