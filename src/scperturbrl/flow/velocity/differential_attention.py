"""Differential attention: the difference of two attention maps, which cancels irrelevant attention common to both."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention

EPS = 1e-5


def initial_share(depth: int) -> float:
    """Share of the second map that is subtracted at first, in layer `depth` from 0; .2 there, towards .8 deeper."""
    return 0.8 - 0.6 * math.exp(-0.3 * depth)


class DifferentialAttention(nn.Module):
    """Multi-head attention with the map ``A1 - share * A2``.

    ``A1`` is the attention among tokens. So is ``A2``, or it is the attention among other tokens, such as those of the
    control cell; then attention that perturbed and control cell have in common is subtracted.

    Parameters
    ----------
    width
        Length of a token.
    n_heads
        Heads; they divide `width`.
    depth
        Number of the layer from 0, see :func:`initial_share`.

    Notes
    -----
    After the differential transformer :cite:p:`ye2025differential`, as :cite:t:`yu2026scdfm` use it for cells. The two maps are applied one after the
    other instead of being formed, so that fused kernels can be used and memory grows linearly with the number of tokens.
    """

    def __init__(self, width: int, n_heads: int, depth: int) -> None:
        super().__init__()
        self.n_heads, self.initial = n_heads, initial_share(depth)
        self.first = nn.Linear(width, 3 * width, bias=False)
        self.second = nn.Linear(width, 2 * width, bias=False)
        self.outlet = nn.Linear(width, width)
        self.norm = nn.Parameter(torch.ones(width // n_heads))
        self.share = nn.Parameter(0.1 * torch.randn(4, width // n_heads))

    def forward(self, tokens: Tensor, others: Tensor | None = None) -> Tensor:
        """Attend from tokens ``(n, L, width)``, the second map being that of `others` ``(n, L, width)`` or of the tokens."""
        query, key, value = self._heads(self.first(tokens), 3)
        second_query, second_key = self._heads(self.second(tokens if others is None else others), 2)
        attended = scaled_dot_product_attention(query, key, value)
        subtracted = scaled_dot_product_attention(second_query, second_key, value)
        mixed = attended - self._share().to(attended.dtype) * subtracted
        # in the dtype of the input, because fused kernels need it
        scale = (self.norm * (1 - self.initial)).to(mixed.dtype)
        return self.outlet(rms_norm(mixed, scale.shape, scale, EPS).transpose(1, 2).flatten(2))

    def _heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        n, length, _ = projected.shape
        return tuple(projected.view(n, length, parts, self.n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0))

    def _share(self) -> Tensor:
        first, second, third, fourth = self.share
        return (first @ second).exp() - (third @ fourth).exp() + self.initial
