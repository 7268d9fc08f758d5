"""Control cells of several conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from scperturbrl.flow.control_cells import ControlCells

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.control_cells import SparseRows


@dataclass(frozen=True)
class ControlPool:
    """Control cells, with the run of each condition.

    Attributes
    ----------
    latent, denoised
        ``(m, d)`` coordinates, and the same with less count noise.
    counts
        ``(m, G)`` measured counts.
    unit
        ``(m,)`` normalised value of one count of each control cell.
    start, count
        ``(C,)`` the run of each condition.
    depth
        ``(C,)`` depth of the cells of each condition, as a multiple of that of their control cells.
    shown_unit
        ``(m,)`` the `unit` that each control cell would have at the depth at which generated cells are compared. None: its own.
    """

    latent: Tensor
    denoised: Tensor
    counts: SparseRows
    unit: Tensor
    start: Tensor
    count: Tensor
    depth: Tensor
    shown_unit: Tensor | None = None

    def draw(self, index: Tensor, n: int, rng: torch.Generator) -> tuple[ControlCells, Tensor]:
        """`n` random control cells for each condition in `index` ``(C',)``, and count units ``(C' * n,)`` of the cells to generate."""
        share = torch.rand(len(index), n, generator=rng, device=index.device)
        rows = (self.start[index, None] + (share * self.count[index, None]).long()).reshape(-1)
        drawn = ControlCells(self.latent[rows], self.denoised[rows], self.counts.dense(rows), self.unit[rows])
        shown = drawn.unit if self.shown_unit is None else self.shown_unit[rows]
        return drawn, shown / self.depth[index].repeat_interleave(n)

    def to(self, device: torch.device | str) -> ControlPool:
        """The same on `device`."""
        parts: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        moved: dict[str, Any] = {name: None if part is None else part.to(device) for name, part in parts.items()}
        return ControlPool(**moved)
