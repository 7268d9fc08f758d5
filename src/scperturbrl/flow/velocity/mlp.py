"""The velocity field: an MLP whose layers are modulated by time and condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from scperturbrl.flow.velocity.base import Velocity, of_cells
from scperturbrl.flow.velocity.linear import Linear


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
        self.mlp = nn.Sequential(Linear(width, 2 * width), nn.SiLU(), Linear(2 * width, width))
        self.modulation = Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, hidden: Tensor, context: Tensor, index: Tensor | None = None) -> Tensor:
        shift, scale, gate = of_cells(self.modulation(context), index).chunk(3, dim=-1)
        moved = self.mlp(torch.addcmul(shift, self.norm(hidden), 1 + scale))
        return torch.addcmul(hidden, gate, moved)


class VelocityMLP(Velocity):
    """Multi-layer perceptron on all coordinates at once.

    Parameters
    ----------
    dim
        Number of coordinates d.
    width
        Width of the hidden layers; also the length of the condition code.
    n_blocks
        Number of residual blocks.
    precision
        See :class:`~scperturbrl.flow.velocity.base.Velocity`.
    """

    def __init__(self, dim: int, width: int, n_blocks: int, *, precision: str = "float32") -> None:
        super().__init__(precision)
        self.width = width
        self.inlet = Linear(2 * dim, width)
        self.time = nn.Sequential(Linear(width, width), nn.SiLU(), Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(width)
        self.outlet = Linear(width, dim)
        self.shift = Linear(width, dim, bias=False)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)
        nn.init.zeros_(self.shift.weight)

    def velocity(
        self,
        x: Tensor,
        t: Tensor,
        control: Tensor,
        code: Tensor,
        total: Tensor,
        genes: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """See :meth:`Velocity.forward`; it always sees all coordinates."""
        if genes is not None:
            msg = "The backbone 'mlp' takes all coordinates at once; only 'transformer' can train on some of the genes."
            raise ValueError(msg)
        context = nn.functional.silu(self.time(time_features(t, self.width)) + code)
        hidden = self.inlet(torch.cat([x, control], dim=-1))
        for block in self.blocks:
            hidden = block(hidden, context, index)
        return self.outlet(self.norm(hidden)) + of_cells(self.shift(total), index)
