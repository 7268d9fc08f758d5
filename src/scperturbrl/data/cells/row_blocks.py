"""Rows of a matrix that is not in memory (backed h5ad, zarr, dask), read in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

# Largest gap of unwanted rows that are read as well, because one long read is cheaper than two short ones.
_GAP = 32


class RowBlocks:
    """A matrix whose rows are read on demand; indexed like a matrix in memory.

    Rows are read in ascending order and in contiguous runs, as they are stored, regardless of the requested order.

    Parameters
    ----------
    source
        Sparse dataset of anndata (by rows), dataset of h5py, array of zarr, or dask array.
    longest
        Maximum number of rows that are read together.
    columns
        Which columns, and in which order; all by default.
    """

    def __init__(self, source: Any, *, longest: int, columns: np.ndarray | None = None) -> None:
        self.source, self.longest, self.columns = source, longest, columns
        self.dtype = np.dtype(source.dtype)
        self._held: tuple[int, int, Any] = (0, 0, None)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.source.shape
        return rows, columns if self.columns is None else len(self.columns)

    def __getitem__(self, index: Any) -> Any:
        """Rows at `index` (numbers, booleans or a slice): CSR, or a dense array where the source is dense."""
        index = np.arange(self.shape[0])[index]
        first, last, held = self._held
        if len(index) and index.min() >= first and index.max() < last:
            return held[index - first]
        wanted, place = np.unique(index, return_inverse=True)
        parts = [self._read(run[0], run[-1] + 1, run - run[0]) for run in self._runs(wanted)]
        rows = parts[0] if len(parts) == 1 else _stack(parts) if parts else self._read(0, 0, slice(None))
        return rows if np.array_equal(index, wanted) else rows[place]

    def blocks(self) -> Iterator[Any]:
        """All rows, block by block."""
        for first in range(0, self.shape[0], self.longest):
            yield self[first : first + self.longest]

    def hold(self, first: int, last: int) -> None:
        """Keep the rows from `first` to `last` in memory, instead of the previous ones."""
        self._held = (0, 0, None)
        self._held = (first, last, self[first:last])

    def row_bytes(self) -> int:
        """Memory of a typical row, without making it dense."""
        some = self[: min(self.shape[0], self.longest)]
        held = some.data.nbytes + some.indices.nbytes if sparse.issparse(some) else some.nbytes
        return max(1, int(held) // max(1, some.shape[0]))

    def take(self, columns: np.ndarray) -> RowBlocks:
        """The same rows at `columns`."""
        return RowBlocks(self.source, longest=self.longest, columns=columns)

    def _runs(self, wanted: np.ndarray) -> Iterator[np.ndarray]:
        for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > _GAP) + 1):
            for part in np.split(run, np.flatnonzero(np.diff((run - run[:1]) // self.longest)) + 1):
                if len(part):
                    yield part

    def _read(self, first: int, last: int, chosen: Any) -> Any:
        rows = self.source[int(first) : int(last)]
        if hasattr(rows, "compute"):
            # one chunk at a time, because each thread of dask would hold one
            rows = rows.compute(scheduler="synchronous")
        rows = sparse.csr_matrix(rows) if sparse.issparse(rows) else np.asarray(rows)
        rows = rows[chosen] if rows.shape[0] else rows
        return rows if self.columns is None else rows[:, self.columns]


def is_out_of_core(matrix: Any) -> bool:
    """Whether `matrix` is stored in a file or is a dask array, and not in memory."""
    return type(matrix).__module__.partition(".")[0] in {"dask", "h5py", "zarr"} or hasattr(matrix, "to_memory")


def row_matrix(adata: AnnData, matrix: Any, *, longest: int) -> Any:
    """Return `matrix` of `adata` in a form with indexable rows: CSR, dense, or :class:`RowBlocks`.

    Raises
    ------
    ValueError
        If it is stored in a file in a format from which rows cannot be read.
    """
    if adata.isbacked and adata.is_view:
        msg = (
            "`adata` is a view of a file. Write its cells to a separate file (`adata.copy('part.h5ad')`), or load them "
            "(`adata = adata.to_memory()`)."
        )
        raise ValueError(msg)
    if not is_out_of_core(matrix):
        return matrix.tocsr() if sparse.issparse(matrix) else np.asarray(matrix)
    if getattr(matrix, "format", "csr") == "csc":
        msg = (
            "The matrix in the file is stored by genes (CSC), so single cells cannot be read. Write it again as CSR "
            "(`adata.X = adata.X.tocsr()`), or load it with `adata = adata.to_memory()`."
        )
        raise ValueError(msg)
    return RowBlocks(matrix, longest=longest)


def _stack(parts: list[Any]) -> Any:
    return sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)
