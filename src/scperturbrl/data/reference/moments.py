"""Moments of the cells of every condition, and the effects that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
import torch
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl.data.cells.growing_rows import sparse_rows
from scperturbrl.metrics.baselines.denoised import denoised_effects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.flow.space.base import Space

_DENOISING = "denoising effects"


class MeasuredEffects(NamedTuple):
    """Effects of C perturbed conditions, all ``(C, G)``.

    Attributes
    ----------
    control_mean
        Mean of the control cells.
    effect
        Difference of the means of perturbed and of control cells.
    noise
        Sampling variance of that difference.
    """

    control_mean: np.ndarray
    effect: np.ndarray
    noise: np.ndarray

    def denoised(self) -> np.ndarray:
        """Effects ``(C, G)`` without their sampling noise, see :func:`scperturbrl.metrics.denoised_effects`."""
        return denoised_effects(self.effect, self.noise)


def measured_effects(cells: Cells, use: np.ndarray, conditions: Sequence[str]) -> MeasuredEffects:
    """Effects of :func:`~scperturbrl.data.reference.statistics.fit_reference` alone, without the tests, which take most of the time.

    Raises
    ------
    ValueError
        If a condition or its control group has fewer than two usable cells.
    """
    rows = cells.rows(conditions)
    controls = [cells.control_row(row) for row in rows]
    count, mean, variance = condition_moments(cells, use)
    check_cells(cells, count, [*rows, *controls], 2)
    noise = noise_of(count[rows], variance[rows], count[controls], variance[controls])
    return MeasuredEffects(mean[controls], mean[rows] - mean[controls], noise)


def denoising_shifts(cells: Cells, space: Space) -> torch.Tensor:
    """Shift ``(C, d)`` from the mean of the training cells of each condition of the table to its denoised mean.

    It is 0 for control cells and for conditions that are not trained on. See :func:`scperturbrl.metrics.denoised_effects`.
    """
    names = cells.conditions(keys.TRAIN, min_cells=2)
    found = torch.zeros(len(cells.table), space.dim)
    if not names:
        return found
    if _DENOISING not in cells.once:
        measured = measured_effects(cells, cells.is_training(), names)
        cells.once[_DENOISING] = (measured.denoised() - measured.effect).astype(np.float32)
    found[cells.rows(names)] = space.project(torch.as_tensor(cells.once[_DENOISING]))
    return found


def noise_of(n: np.ndarray, variance: np.ndarray, n_control: np.ndarray, variance_control: np.ndarray) -> np.ndarray:
    """Sampling variance ``(C, G)`` of differences of means."""
    return np.asarray(variance / n[:, None] + variance_control / n_control[:, None])


def condition_moments(
    cells: Cells, use: np.ndarray, *, along: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and unbiased variance of the used cells of each condition of the table, at every gene.

    With `along` ``(G, P)``, those of the projections of cells. Cells are read in blocks, and added one after another, so that the size of
    the blocks does not matter.
    """
    index = np.flatnonzero(use)
    n_columns = len(cells.genes) if along is None else along.shape[1]
    count = np.bincount(cells.codes[index], minlength=len(cells.table)).astype(np.float64)
    total, squares = (np.zeros((len(cells.table), n_columns)) for _ in range(2))
    for part, block in cells.pieces(index):
        rows = _sparse(block if along is None else np.asarray(block @ along))
        _add(rows.data, rows.indices, rows.indptr, cells.codes[index[part]], total, squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count[:, None]
        variance = np.maximum(squares - count[:, None] * mean**2, 0) / (count[:, None] - 1)
    return count, mean, variance


def _sparse(block: Any) -> sparse.csr_matrix:
    """Float32 rows of a sparse or dense block, each value once."""
    if not sparse.issparse(block):
        return sparse_rows(block)
    rows = sparse.csr_matrix(block, dtype=np.float32)
    rows.sum_duplicates()
    return rows


@numba.njit(nogil=True, cache=True)
def _add(values, columns, start, codes, total, squares):  # type: ignore[no-untyped-def]
    for i in range(len(codes)):
        for k in range(start[i], start[i + 1]):
            value = np.float64(values[k])
            total[codes[i], columns[k]] += value
            squares[codes[i], columns[k]] += value * value


def check_cells(cells: Cells, count: np.ndarray, rows: Sequence[int], min_cells: int) -> None:
    """Raise if a condition at `rows` has fewer than `min_cells` used cells, given their `count` ``(C,)``."""
    for row in rows:
        if count[row] < min_cells:
            msg = (
                f"Condition {cells.table.index[row]!r} has {int(count[row])} usable cells (some are set aside to check results with); at "
                f"least {min_cells} are needed. Drop it or merge it with another condition."
            )
            raise ValueError(msg)
