"""The cells of an AnnData as matrix, condition codes and split labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl._core.machine.memory_limit import DEFAULT_LIMIT, bytes_of
from scperturbrl.data.cells.cell_keys import distinct_keys
from scperturbrl.data.cells.checks import check_not_doubled, check_split_labels
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.row_blocks import RowBlocks, row_matrix
from scperturbrl.data.cells.setup import Setup, expression

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from anndata import AnnData


# Bytes of memory for every gene of a processed cell: several dense copies, some of them in double precision.
_BYTES_PER_VALUE = 120
_LONGEST = 4096


@dataclass(frozen=True)
class Cells:
    """Expression with the condition, split label and batch of every cell.

    Attributes
    ----------
    expression
        ``(n_cells, n_genes)`` log-normalised, sparse or dense; the AnnData's own matrix, not a copy. Of a file or a dask array
        :class:`~scperturbrl.data.cells.row_blocks.RowBlocks`.
    codes
        ``(n_cells,)`` row of `table` of each cell.
    table
        One row per condition; see :func:`scperturbrl.data.cells.conditions.condition_table`.
    split
        ``(n_cells,)`` split label.
    batch
        ``(n_cells,)`` batch label, or None.
    genes, names
        Names of genes and cells.
    memory
        Bytes that may be used for cells at a time.
    """

    expression: Any
    codes: np.ndarray
    table: pd.DataFrame
    split: np.ndarray
    batch: np.ndarray | None
    genes: pd.Index
    names: pd.Index
    memory: int = bytes_of(DEFAULT_LIMIT)

    @classmethod
    def of(cls, adata: AnnData, setup: Setup | None = None, *, memory_limit: str | int = DEFAULT_LIMIT) -> Cells:
        """Read `adata`, which must be set up and split. Expression in a file is not loaded."""
        setup, memory = setup or Setup.of(adata), bytes_of(memory_limit)
        check_observed(adata)
        table, codes = condition_table(adata, setup)
        matrix = row_matrix(adata, expression(adata, setup.layer), longest=rows_at_once(adata.n_vars, memory))
        split = split_labels(adata)
        check_split_labels(adata, table, codes, split)
        check_not_doubled(adata, setup.layer)
        return cls(
            expression=matrix,
            codes=codes,
            table=table,
            split=split,
            batch=adata.obs[setup.batch_key].astype(str).to_numpy() if setup.batch_key else None,
            genes=adata.var_names,
            names=adata.obs_names,
            memory=memory,
        )

    @property
    def chunk(self) -> int:
        """Number of cells that may be made dense and processed together."""
        return rows_at_once(len(self.genes), self.memory)

    @property
    def streamed(self) -> bool:
        """Whether expression is not in memory."""
        return isinstance(self.expression, RowBlocks)

    def whole(self, purpose: str) -> Any:
        """The expression of all cells, for computations that cannot be done in blocks.

        Raises
        ------
        ValueError
            If it is not in memory; the message names the `purpose` for which it is needed.
        """
        if self.streamed:
            msg = f"`adata` is not in memory, which {purpose} needs. Load it with `adata = adata.to_memory()` first."
            raise ValueError(msg)
        return self.expression

    def pieces(self, index: np.ndarray, *, most: int = _LONGEST) -> Iterator[tuple[slice, Any]]:
        """Expression of the cells at `index`, sparse or dense, in blocks of at most `most`, each with its positions in `index`."""
        size = min(self.chunk, most)
        for start in range(0, len(index), size):
            part = slice(start, start + size)
            yield part, self.expression[index[part]]

    def conditions(self, label: str, *, min_cells: int = 1) -> list[str]:
        """Names of the perturbed conditions with at least `min_cells` cells of split `label`."""
        count = np.bincount(self.codes[self.split == label], minlength=len(self.table))
        chosen = (count >= min_cells) & ~self.table["is_control"].to_numpy()
        return list(self.table.index[chosen])

    def split_of(self) -> dict[str, str]:
        """Split label of every condition."""
        return dict(zip(self.table.index[self.codes].astype(str), self.split.tolist(), strict=True))

    def rows(self, conditions: Sequence[str]) -> list[int]:
        """Rows of the condition table of `conditions`."""
        return [int(self.table.index.get_loc(name)) for name in conditions]

    def control_row(self, row: int) -> int:
        """Row of the control condition with the covariates of the condition in `row`.

        Raises
        ------
        ValueError
            If there is none.
        """
        group = self.table["group"].iloc[row]
        if group not in self._control_rows:
            msg = (
                f"Condition {self.table.index[row]!r} has no control cells with the same covariates ({group}). "
                "Declare only covariates with control cells for every value, or leave these cells out."
            )
            raise ValueError(msg)
        return self._control_rows[group]

    @cached_property
    def _control_rows(self) -> dict[str, int]:
        """First control condition of each group."""
        found = np.flatnonzero(self.table["is_control"].to_numpy())[::-1]
        return dict(zip(self.table["group"].to_numpy()[found].tolist(), found.tolist(), strict=True))

    @cached_property
    def keys(self) -> np.ndarray:
        """``(n_cells,)`` key of each cell, which does not depend on the order of cells; see :func:`distinct_keys`."""
        return distinct_keys(self.names, self.expression, self.genes, chunk=self.chunk)

    @cached_property
    def once(self) -> dict[Any, Any]:
        """Cache for results on these cells that are needed for many conditions."""
        return {}

    def is_training(self) -> np.ndarray:
        """``(n_cells,)`` whether the cell is a training cell."""
        return self.split == keys.TRAIN

    def at_genes(self, chosen: np.ndarray) -> Cells:
        """The same cells with the genes that are marked in `chosen` ``(n_genes,)``."""
        if chosen.all():
            return self
        matrix, place = self.expression, np.flatnonzero(chosen)
        matrix = matrix.take(place) if isinstance(matrix, RowBlocks) else matrix[:, place]
        return replace(self, expression=matrix, genes=self.genes[place])

    def block(self, index: np.ndarray, matrix: Any = None) -> np.ndarray:
        """Dense float32 rows at `index` of the expression, or of another matrix over the same cells."""
        return dense((self.expression if matrix is None else matrix)[index])


def check_observed(adata: AnnData) -> None:
    """Raise if `adata` contains generated cells, because they would be treated as observed.

    Raises
    ------
    ValueError
        The message says how to remove them.
    """
    if keys.ORIGIN not in adata.obs:
        return
    made = int((adata.obs[keys.ORIGIN].astype(str) == keys.GENERATED).sum())
    if made:
        column = f"adata.obs[{keys.ORIGIN!r}]"
        msg = (
            f"{made} of {adata.n_obs} cells are generated ({column}). Remove them with "
            f"`adata = adata[{column} != {keys.GENERATED!r}].copy()`; to score them use `tl.score(generated, reference=adata)`."
        )
        raise ValueError(msg)


def split_labels(adata: AnnData) -> np.ndarray:
    """Return ``obs["split"]`` as strings.

    Raises
    ------
    ValueError
        If the column is absent or holds anything but train, validation and test.
    """
    if keys.SPLIT not in adata.obs:
        msg = f"`obs` has no column {keys.SPLIT!r}. Call `scperturbrl.pp.split(adata)` first."
        raise ValueError(msg)
    labels = adata.obs[keys.SPLIT].astype(str).to_numpy()
    strange = set(labels) - {keys.TRAIN, keys.VALIDATION, keys.TEST}
    if strange:
        msg = f"`obs[{keys.SPLIT!r}]` holds {sorted(strange)}; only 'train', 'validation' and 'test' are allowed."
        raise ValueError(msg)
    return labels


def dense(rows: Any) -> np.ndarray:
    """Float32 array of sparse or dense rows."""
    return np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float32)


def rows_at_once(n_genes: int, memory: int) -> int:
    """Number of cells that can be processed together in `memory` bytes."""
    return int(min(max(memory // (_BYTES_PER_VALUE * n_genes), 16), _LONGEST))
