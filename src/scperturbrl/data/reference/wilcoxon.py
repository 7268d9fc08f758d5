"""Rank-sum statistics of all conditions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse, stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells


def wilcoxon_statistic(cells: Cells, use: np.ndarray, conditions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Wilcoxon z score and false discovery rate ``(C, G)`` of each condition against its control group.

    The values of :func:`scanpy.tl.rank_genes_groups` with ``tie_correct=True``. Scanpy ranks the control cells again for
    every condition; here the non-zero values of a gene are sorted once.

    Parameters
    ----------
    cells
        Cells in memory.
    use
        ``(n_cells,)`` which cells count.
    conditions
        Names of the C conditions.
    """
    rows = cells.rows(conditions)
    controls = np.array([cells.control_row(row) for row in rows])
    matrix = cells.whole("`method='wilcoxon'`")
    scores = np.zeros((len(rows), len(cells.genes)))
    for control in np.unique(controls):
        members = np.flatnonzero(controls == control)
        # codes of one test: 0 for the control group, then its conditions
        group = np.full(len(cells.table), -1)
        group[[control, *(rows[i] for i in members)]] = np.arange(len(members) + 1)
        chosen = np.flatnonzero(use & (group[cells.codes] >= 0))
        columns = sparse.csc_array(matrix[chosen])
        columns.eliminate_zeros()
        codes = group[cells.codes[chosen]]
        sizes = np.bincount(codes, minlength=len(members) + 1)
        for gene, (start, end) in enumerate(zip(columns.indptr[:-1], columns.indptr[1:], strict=True)):
            own = codes[columns.indices[start:end]]
            scores[members, gene] = _scores(columns.data[start:end], own, sizes)
    p_values = 2 * stats.norm.sf(np.abs(scores))
    return scores.astype(np.float32), stats.false_discovery_control(p_values, axis=1).astype(np.float32)


def _scores(values: np.ndarray, codes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Scores ``(C,)`` of one gene, from its non-zero values, their groups (0: controls) and the sizes of all groups."""
    known, place = np.unique(np.append(values, 0), return_inverse=True)
    place, zero = place[:-1], place[-1]
    zeros = sizes - np.bincount(codes, minlength=len(sizes))
    control = np.bincount(place[codes == 0], minlength=len(known)).astype(float)
    control[zero] += zeros[0]
    # number of controls below each value; equal ones count half
    below = np.cumsum(control) - control / 2
    above = np.bincount(codes, weights=below[place], minlength=len(sizes)) + zeros * below[zero]
    n, n_control = sizes[1:].astype(float), float(sizes[0])
    # tied values of a condition change only the ties that the controls already have
    pair, count = np.unique(codes * len(known) + place, return_counts=True)
    group, value = np.divmod(pair, len(known))
    count, group, value = (
        np.append(count, zeros),
        np.append(group, np.arange(len(sizes))),
        np.append(value, np.full(len(sizes), zero)),
    )
    more = _ties(control[value] + count) - _ties(control[value])
    ties = _ties(control).sum() + np.bincount(group, weights=more, minlength=len(sizes))[1:]
    size = n + n_control
    variance = (1 - ties / (size**3 - size)) * n * n_control * (size + 1) / 12
    found = np.zeros(len(n))
    # a gene with the same value in all cells has no rank
    varies = variance > 1e-9 * size**2
    found[varies] = (above[1:] - n * n_control / 2)[varies] / np.sqrt(variance[varies])
    return found


def _ties(count: np.ndarray) -> np.ndarray:
    return count**3 - count
