"""Check that cells are unique, have not changed since the split, and lack no genes that other cells have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl._core.provenance import counted
from scperturbrl.data.cells.fingerprint import cell_numbers
from scperturbrl.data.cells.setup import expression

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


def check_split_labels(adata: AnnData, table: pd.DataFrame, codes: np.ndarray, split: np.ndarray) -> None:
    """Raise unless ``obs["split"]`` is what `pp.split` wrote for the current condition of each cell.

    Labels that were not written by `pp.split` need only be the same for all cells of a perturbed condition.

    Raises
    ------
    ValueError
        The message names a condition, its label in the split and its current label.
    """
    column, record = f"obs[{keys.SPLIT!r}]", adata.uns.get(keys.SETUP, {}).get(keys.SPLIT)
    if record is None:
        _check_one_side(table, codes, split, column)
        return
    of = {str(name): label for label in (keys.TRAIN, keys.VALIDATION, keys.TEST) for name in record[label]}
    unknown = [str(name) for name in table.index if name not in of]
    if unknown:
        msg = (
            f"{len(unknown)} conditions are not in the split ({counted(unknown)}): labels changed, or cells were added, since "
            "`scperturbrl.pp.split`. Call it again, then `pp.reference`."
        )
        raise ValueError(msg)
    wrong = np.flatnonzero(split != np.array([of[str(name)] for name in table.index], dtype=object)[codes])
    if len(wrong):
        name = str(table.index[codes[wrong[0]]])
        msg = (
            f"`{column}` is {split[wrong[0]]!r} for a cell of {name!r}, which `pp.split` made {of[name]!r} ({len(wrong)} cells are like "
            f"this): the column, or labels, were changed by hand. Call `scperturbrl.pp.split(adata)` again; with "
            f"`holdout='column', column={keys.SPLIT!r}` it uses the column unchanged."
        )
        raise ValueError(msg)


def _check_one_side(table: pd.DataFrame, codes: np.ndarray, split: np.ndarray, column: str) -> None:
    labels, perturbed = pd.Series(split).groupby(codes), ~table["is_control"].to_numpy(dtype=bool)
    mixed = [str(table.index[row]) for row, n in labels.nunique().items() if n > 1 and perturbed[row]]
    if mixed:
        msg = (
            f"`{column}` assigns cells of one condition to different parts of the split: {counted(mixed)}. Hold out "
            "whole conditions with `scperturbrl.pp.split(adata)`."
        )
        raise ValueError(msg)


def check_not_doubled(adata: AnnData, layer: str | None) -> None:
    """Raise if cells occur more than once, by name and by expression, as after ``ad.concat([a, a])``.

    Raises
    ------
    ValueError
        The message says how many, and how to keep one of each.
    """
    names = adata.obs_names
    if names.is_unique or getattr(expression(adata, layer), "dtype", np.dtype(object)).kind not in "fiu":
        return
    again = pd.Series(cell_numbers(adata, layer)).duplicated().to_numpy()
    if not again.any():
        return
    alike = bool((again == names.duplicated()).all())
    remedy = (
        "Keep one of each: `adata = adata[~adata.obs_names.duplicated()].copy()`."
        if alike
        else "Keep one of each, and make the names of different cells unique (`adata.obs_names_make_unique()`)."
    )
    msg = (
        f"{int(again.sum())} of {adata.n_obs} cells occur more than once, with the same name and the same expression, "
        "such as "
        f"{names[again][0]!r}: they would count twice. {remedy}"
    )
    raise ValueError(msg)


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
            f"cells ({counted(self.genes)}). If data sets with different genes were joined, the zeros are not measurements and look like an effect: "
            "join with `anndata.concat(..., join='inner')`, or leave these genes out. Marker genes of other cell types are truly zero."
        )


def filled_genes(adata: AnnData, values: Any, columns: Sequence[str]) -> Filled | None:
    """The group with the most genes that an outer join seems to have filled with zeros; None if there is none.

    Parameters
    ----------
    adata
        Cells with the columns in ``obs``.
    values
        ``(n, G)`` expression whose rows can be indexed, sparse, dense or in a file.
    columns
        Columns of ``obs`` to check, in addition to columns with a usual name for data sets, such as ``batch``.

    Notes
    -----
    At most 300 cells of each group are read first. Genes that are zero in all of these are then checked in all cells of the group.
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
    # cells without any counts lack every gene, but no join did that
    for group in np.flatnonzero((n_cells >= _EXPECTED) & have.any(1)):
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
