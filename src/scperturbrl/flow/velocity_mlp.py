"""The velocity field: an MLP whose layers are modulated by time and condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def time_features(t: Tensor, width: int) -> Tensor:
    """Sinusoids ``(n, width)`` of times ``(n,)`` in [0, 1]."""
    frequencies = torch.exp(torch.linspace(0, math.log(200), width // 2, device=t.device))
    angles = t[:, None] * frequencies * math.pi
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _Block(nn.Module):
    """Residual block with adaptive layer normalisation, the identity at initialisation (adaLN-zero)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.modulation = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(context).chunk(3, dim=-1)
        return hidden + gate * self.mlp(self.norm(hidden) * (1 + scale) + shift)


class VelocityMLP(nn.Module):
    """Velocity ``v(x_t, t | control cell, condition)`` in a space of d coordinates.

    Parameters
    ----------
    dim
        Number of coordinates d.
    width
        Width of the hidden layers; also the length of the condition code.
    n_blocks
        Number of residual blocks.
    """

    def __init__(self, dim: int, width: int, n_blocks: int) -> None:
        super().__init__()
        self.width = width
        self.inlet = nn.Linear(2 * dim, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, dim)
        self.shift = nn.Linear(width, dim, bias=False)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, t: Tensor, control: Tensor, code: Tensor, total: Tensor) -> Tensor:
        """Velocity ``(n, d)``.

        Parameters
        ----------
        x
            ``(n, d)`` points on the path.
        t
            ``(n,)`` times, 0 noise and 1 cell.
        control
            ``(n, d)`` the control cells.
        code, total
            ``(n, width)`` condition code and plain sum of its parts, from the condition encoder. The latter enters
            linearly: most of an effect is a shift.
        """
        context = nn.functional.silu(self.time(time_features(t, self.width)) + code)
        hidden = self.inlet(torch.cat([x, control], dim=-1))
        for block in self.blocks:
            hidden = block(hidden, context)
        return self.outlet(self.norm(hidden)) + self.shift(total)
