"""Recover counts from log-normalised expression."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

_TOLERANCE = 0.02


def count_unit(expression: Any, *, chunk: int = 256) -> np.ndarray:
    """Infer the normalised value of one count in every cell.

    A log-normalised cell is ``log1p(unit * count)`` with one unit for the whole cell (target sum over library size), so
    the smallest value of a cell is one unit, or a few units if no gene has a single count. The result is the largest
    unit of which all values are whole multiples; the smallest value divided by 1, 2, 3 and 4 are tried.

    Parameters
    ----------
    expression
        ``(n_cells, n_genes)`` log1p-normalised, sparse or dense.
    chunk
        Number of rows processed together.

    Returns
    -------
    ``(n_cells,)``; NaN for a cell whose values are not multiples of a unit (corrected or imputed data), and for an
    empty cell.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.array([[1, 0, 3], [2, 4, 5]])
    >>> count_unit(np.log1p(counts * [[10.0], [0.5]])).round(6).tolist()
    [10.0, 0.5]
    """
    units = np.full(expression.shape[0], np.nan)
    for start in range(0, expression.shape[0], chunk):
        rows = sparse.csr_matrix(expression[start : start + chunk])
        units[start : start + chunk] = _units(rows)
    return units


def _units(rows: sparse.csr_matrix) -> np.ndarray:
    # zeros are multiples of every unit, so they are ignored
    values, row = np.expm1(rows.data, dtype=np.float64), np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    smallest = np.full(rows.shape[0], np.inf)
    np.minimum.at(smallest, row[values > 0], values[values > 0])
    units, left = np.full(rows.shape[0], np.nan), np.isfinite(smallest)
    # the largest unit comes first, because most cells have a gene with a single count
    for divisor in (1, 2, 3, 4):
        values, row = values[left[row]], row[left[row]]
        if not len(row):
            break
        unit = smallest / divisor
        multiples = values / unit[row]
        # rounding of float32 logs grows with the multiple
        tolerated = _TOLERANCE + 1e-5 * multiples
        with np.errstate(invalid="ignore"):
            off = np.abs(multiples - np.rint(multiples)) > tolerated
        share = np.bincount(row, off, minlength=rows.shape[0]) / rows.shape[1]
        fits = left & (share < 0.001 + 0.5 / rows.shape[1])
        units[fits] = unit[fits]
        left = left & ~fits
    return units


def counts_of(rows: Any, unit: np.ndarray) -> Any:
    """Whole counts ``(n, G)`` of log-normalised cells ``(n, G)``, CSR or dense, whose single count is worth `unit` ``(n,)``."""
    if not sparse.issparse(rows):
        return np.rint(np.expm1(np.asarray(rows, dtype=np.float32)) / unit[:, None]).astype(np.float32)
    values = np.rint(np.expm1(rows.data.astype(np.float32)) / np.repeat(unit, np.diff(rows.indptr)))
    return sparse.csr_matrix((values.astype(np.float32), rows.indices, rows.indptr), shape=rows.shape)
