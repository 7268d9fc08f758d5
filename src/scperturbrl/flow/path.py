"""The straight path from the source to a cell and its identities.

With starting point e, cell x1 and time t from 0 (start) to 1 (cell):
``x_t = (1 - t) e + t x1``, velocity ``u = x1 - e``, and ``x1 = x_t + (1 - t) u``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scperturbrl.flow.source import Source


class PathSample(NamedTuple):
    """A point on the path: time ``(n,)``, position ``(n, d)`` and velocity ``(n, d)``."""

    t: Tensor
    x_t: Tensor
    velocity: Tensor


def sample_path(
    cells: Tensor, control: Tensor, source: Source, rng: torch.Generator, *, min_time: float = 0.0
) -> PathSample:
    """Draw a time from `min_time` on and a start for every cell ``(n, d)`` with its control cell ``(n, d)``."""
    t = min_time + (1 - min_time) * torch.rand(len(cells), generator=rng, device=cells.device)
    start = source.draw(control, rng)
    return PathSample(t, (1 - t[:, None]) * start + t[:, None] * cells, cells - start)
