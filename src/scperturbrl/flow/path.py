"""The path of the flow: its start, at pure noise or at a control cell with some noise, and the straight line to a cell.

With starting point e, cell x1 and time t from 0 (start) to 1 (cell):
``x_t = (1 - t) e + t x1``, velocity ``u = x1 - e``, and ``x1 = x_t + (1 - t) u``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

SOURCES = ("gaussian", "control")
CONTROL_NOISE = 0.3


@dataclass(frozen=True)
class Source:
    """Distribution of the starting points of the flow.

    From pure noise, the flow has to learn the whole distribution of cells. From a control cell, it only has to learn
    the change. It keeps the spread and shape of the control cells of a context, even if that context has no perturbed
    training cells.

    Attributes
    ----------
    kind
        ``"gaussian"``: ``N(0, I)``. ``"control"``: the control cell plus ``N(0, 0.3^2 I)``, in the unit of the space
        (root mean variance of its coordinates).

    Examples
    --------
    >>> import torch
    >>> from scperturbrl.flow.path import Source
    >>> Source("control").draw(torch.full((2, 3), 9.0), torch.Generator().manual_seed(0)).round().tolist()
    [[9.0, 9.0, 8.0], [9.0, 9.0, 9.0]]
    """

    kind: str = "gaussian"

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            msg = f"`source` is {self.kind!r}; it must be one of {SOURCES}."
            raise ValueError(msg)

    @property
    def variance(self) -> float:
        """Variance of the noise in a starting point."""
        return 1.0 if self.is_gaussian else CONTROL_NOISE**2

    @property
    def is_gaussian(self) -> bool:
        """Whether it is pure noise."""
        return self.kind == "gaussian"

    def draw(self, control: Tensor, rng: torch.Generator) -> Tensor:
        """Starting points ``(n, d)`` for control cells ``(n, d)``."""
        noise = torch.randn(control.shape, generator=rng, device=control.device)
        return noise if self.is_gaussian else control + CONTROL_NOISE * noise


GAUSSIAN = Source()


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
