"""Check that cells are unique and have not changed since the split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.provenance import counted
from scperturbrl.data.cells.fingerprint import cell_numbers
from scperturbrl.data.cells.setup import expression

if TYPE_CHECKING:
    from anndata import AnnData


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
