"""The control cells from which a generator starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


class ControlCells(NamedTuple):
    """Control cells, as input of the generator.

    Attributes
    ----------
    latent
        ``(n, d)`` coordinates.
    denoised
        ``(n, d)`` the same with less count noise; used for the expected counts of the observation layer.
    counts
        ``(n, G)`` measured counts.
    unit
        ``(n,)`` normalised value of one of these counts.
    """

    latent: Tensor
    denoised: Tensor
    counts: Tensor
    unit: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> ControlCells:
        """Apply a function to every part."""
        return ControlCells(*(change(part) for part in self))


@dataclass(frozen=True)
class SparseRows:
    """Rows of a sparse matrix, made dense in blocks.

    Attributes
    ----------
    values, columns
        ``(k,)`` entries and their columns, row after row.
    start
        ``(m + 1,)`` start of each row.
    n_columns
        Number of columns.
    """

    values: Tensor
    columns: Tensor
    start: Tensor
    n_columns: int

    @classmethod
    def of(cls, matrix: Tensor) -> SparseRows:
        """The rows of a dense matrix."""
        rows, columns = matrix.nonzero(as_tuple=True)
        start = torch.bincount(rows, minlength=len(matrix)).cumsum(0)
        return cls(matrix[rows, columns], columns, torch.cat([start.new_zeros(1), start]), matrix.shape[1])

    def __len__(self) -> int:
        return len(self.start) - 1

    def dense(self, rows: Tensor) -> Tensor:
        """The rows at `rows` ``(n,)``, dense ``(n, n_columns)``."""
        length = self.start[rows + 1] - self.start[rows]
        target = torch.arange(len(rows), device=rows.device).repeat_interleave(length)
        first = (self.start[rows] - length.cumsum(0) + length).repeat_interleave(length)
        place = first + torch.arange(len(target), device=rows.device)
        found = self.values.new_zeros(len(rows), self.n_columns)
        found[target, self.columns[place]] = self.values[place]
        return found

    def to(self, device: torch.device | str) -> SparseRows:
        """The same on `device`."""
        return SparseRows(self.values.to(device), self.columns.to(device), self.start.to(device), self.n_columns)
