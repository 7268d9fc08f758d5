"""Binomial thinning: cells as they would have been at a lower sequencing depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl.data.cells.counts import count_unit, counts_of
from scperturbrl.data.cells.row_blocks import RowBlocks


@dataclass(frozen=True)
class Thinning:
    """Keeps each count of a cell with a probability, and normalises the cell as before.

    The random numbers of a cell depend on its name and its counts, not on its position or on other cells.

    Attributes
    ----------
    share
        ``(n,)`` probability of keeping a count, for every row of a matrix; rows with 1 stay unchanged.
    unit
        ``(n,)`` normalised value of one count, used if it cannot be inferred from the cell.
    keys
        ``(n,)`` of :func:`~scperturbrl.data.cells.cell_keys.cell_keys`.
    common_total
        Whether the values of every cell add up to one total, which is then restored.
    """

    share: np.ndarray
    unit: np.ndarray
    keys: np.ndarray
    common_total: bool

    def matrix(self, matrix: Any, *, chunk: int) -> Any:
        """All cells ``(n, G)``, CSR, dense or :class:`RowBlocks` like `matrix`; `chunk` are processed together."""
        if isinstance(matrix, RowBlocks):
            return ThinnedRows(matrix, self)
        found, rows = matrix.copy(), np.flatnonzero(self.share < 1)
        for start in range(0, len(rows), chunk):
            index = rows[start : start + chunk]
            self._write(found, index, index)
        if sparse.issparse(found):
            found.eliminate_zeros()
        return found

    def rows(self, rows: Any, index: np.ndarray) -> Any:
        """The cells at `index`, given as `rows`, thinned."""
        place = np.flatnonzero(self.share[index] < 1)
        if not len(place):
            return rows
        found = rows.copy()
        self._write(found, place, index[place])
        if sparse.issparse(found):
            found.eliminate_zeros()
        return found

    def _write(self, matrix: Any, place: np.ndarray, index: np.ndarray) -> None:
        """Thin the rows at `place` of `matrix`, the cells at `index`; new zeros of a sparse matrix stay stored."""
        thinned = self._thinned(sparse.csr_matrix(matrix[place]), index)
        if not sparse.issparse(matrix):
            matrix[place] = thinned.toarray()
            return
        first = np.repeat(matrix.indptr[place] - thinned.indptr[:-1], np.diff(thinned.indptr))
        matrix.data[first + np.arange(len(first))] = thinned.data

    def _thinned(self, rows: sparse.csr_matrix, index: np.ndarray) -> sparse.csr_matrix:
        unit, share = count_unit(rows), self.share[index]
        unit = np.where(np.isnan(unit), self.unit[index], unit)
        counts = counts_of(rows, unit)
        streams = self.keys[index] ^ _content(counts)
        for stream, p, first, last in zip(streams, share, counts.indptr[:-1], counts.indptr[1:], strict=True):
            rng = np.random.Generator(np.random.Philox(key=int(stream)))
            counts.data[first:last] = rng.binomial(counts.data[first:last].astype(np.int64), p)
        unit = unit / share
        if self.common_total:
            values = sparse.csr_matrix((np.expm1(rows.data, dtype=np.float64), rows.indices, rows.indptr), rows.shape)
            unit = _sums(values) / np.maximum(_sums(counts), 1)
        counts.data = np.log1p(np.repeat(unit, np.diff(counts.indptr)) * counts.data)
        return counts


class ThinnedRows(RowBlocks):
    """Rows of a matrix in a file, thinned when they are read.

    Parameters
    ----------
    source
        The rows.
    thinning
        How they are thinned.
    columns
        Which columns, and in which order; all by default.
    """

    def __init__(self, source: RowBlocks, thinning: Thinning, columns: np.ndarray | None = None) -> None:
        super().__init__(source, longest=source.longest, columns=columns)
        self.thinning = thinning

    def take(self, columns: np.ndarray) -> ThinnedRows:
        """The same rows at `columns`."""
        return ThinnedRows(self.source, self.thinning, columns)

    def _read(self, first: int, last: int, chosen: Any) -> Any:
        index = np.arange(first, last)[chosen]
        rows = self.thinning.rows(self.source[index], index)
        return rows if self.columns is None else rows[:, self.columns]


def _content(counts: sparse.csr_matrix) -> np.ndarray:
    """Key ``(n,)`` from the counts of each cell, so that cells with the same name differ."""
    # starting at 1, because the key of 0 is 0
    of_gene = pd.util.hash_array(np.arange(1, counts.shape[1] + 1, dtype=np.uint64))
    # integer overflow is intended, also in differences
    running = np.concatenate([[np.uint64(0)], np.cumsum(of_gene[counts.indices] * counts.data.astype(np.uint64))])
    return np.asarray(running[counts.indptr[1:]] - running[counts.indptr[:-1]])


def _sums(rows: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(rows.sum(1, dtype=np.float64)).ravel()
