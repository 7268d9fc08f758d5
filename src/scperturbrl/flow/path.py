"""The straight path from noise to cell and its identities.

With noise e ~ N(0, I), cell x1 and time t from 0 (noise) to 1 (cell):
``x_t = (1 - t) e + t x1``, velocity ``u = x1 - e``, and ``x1 = x_t + (1 - t) u``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PathSample(NamedTuple):
    """A point on the path: time ``(n,)``, position ``(n, d)`` and velocity ``(n, d)``."""

    t: Tensor
    x_t: Tensor
    velocity: Tensor


def sample_path(cells: Tensor, rng: torch.Generator) -> PathSample:
    """Draw a time and a noise for every cell ``(n, d)``."""
    t = torch.rand(len(cells), generator=rng, device=cells.device)
    noise = torch.randn(cells.shape, generator=rng, device=cells.device)
    return PathSample(t, (1 - t[:, None]) * noise + t[:, None] * cells, cells - noise)
