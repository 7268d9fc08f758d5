"""Genes that one part of the cells lacks, because data sets with different genes were joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core.provenance import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

# cells that are read of each group, and of all groups of a column together
_MOST_OF_GROUP, _MOST_CELLS = 300, 20_000
# a gene is missing if so many cells should have it, by the share of cells that have it elsewhere, and none does
_EXPECTED = 15.0
# cell types switch single genes off; a join fills many
_LEAST_GENES, _LEAST_SHARE = 5, 0.01
# columns that tell data sets apart, even where they were not declared
_USUAL = frozenset(
    {"batch", "cohort", "dataset", "donor", "experiment", "lane", "library", "sample", "source", "study"}
)


class Filled(NamedTuple):
    """Genes that are zero in every cell of a group and expressed elsewhere.

    Attributes
    ----------
    column, group
        Column of ``obs``, and its value.
    genes
        Names of the genes.
    """

    column: str
    group: str
    genes: list[str]

    def warning(self, n_genes: int) -> str:
        """What is wrong, and the remedy."""
        return (
            f"{len(self.genes)} of {n_genes} genes are zero in every cell of {self.group!r} in `obs[{self.column!r}]` and expressed in other "
            f"cells ({counted(self.genes)}). An outer join of data sets with different genes fills genes so, and this then looks like an "
            "effect. Join with `anndata.concat(..., join='inner')`, or leave these genes out."
        )


def filled_genes(adata: AnnData, values: Any, columns: Sequence[str]) -> Filled | None:
    """The group with most genes that look filled with zeros; None if there is none.

    Parameters
    ----------
    adata
        Cells with the columns in ``obs``.
    values
        ``(n, G)`` expression whose rows can be indexed, sparse, dense or in a file.
    columns
        Columns of ``obs`` to look at, beside those whose name is usual for data sets.

    Returns
    -------
    At most 300 cells of each group are read first; what looks filled in them is looked up in all cells of the group.
    """
    usual = [str(name) for name in adata.obs.columns if str(name).lower() in _USUAL]
    found = [
        filled
        for column in dict.fromkeys([*columns, *usual])
        for filled in _of_column(values, adata.obs[column], adata.var_names)
    ]
    return max(found, key=lambda filled: len(filled.genes), default=None)


def _of_column(values: Any, labels: pd.Series, names: pd.Index) -> Iterator[Filled]:
    codes, groups = pd.factorize(labels)
    most = min(_MOST_OF_GROUP, _MOST_CELLS // max(len(groups), 1))
    # with fewer cells a group can never have as many as are expected
    if len(groups) < 2 or most < _EXPECTED:
        return
    rows = [np.flatnonzero(codes == group) for group in range(len(groups))]
    some = [own[np.unique(np.linspace(0, len(own) - 1, most).astype(int))] for own in rows]
    have = np.stack([_n_expressed(values, own) for own in some])
    n_cells = np.array([len(own) for own in some])
    for group in np.flatnonzero(n_cells >= _EXPECTED):
        others = (have.sum(0) - have[group]) / (n_cells.sum() - n_cells[group])
        absent = np.flatnonzero((have[group] == 0) & (others * n_cells[group] >= _EXPECTED))
        if len(absent) and len(rows[group]) > n_cells[group]:
            absent = absent[_n_expressed(values, rows[group])[absent] == 0]
        if len(absent) >= max(_LEAST_GENES, _LEAST_SHARE * len(names)):
            yield Filled(str(labels.name), str(groups[group]), names[absent].astype(str).tolist())


def _n_expressed(values: Any, rows: np.ndarray, longest: int = 2000) -> np.ndarray:
    """Number of cells ``(G,)`` of `rows` that have each gene."""
    found = np.zeros(values.shape[1], dtype=int)
    for start in range(0, len(rows), longest):
        block = values[rows[start : start + longest]]
        if sparse.issparse(block):
            found += np.bincount(block.indices[block.data != 0], minlength=values.shape[1])
        else:
            found += (np.asarray(block) != 0).sum(0)
    return found
