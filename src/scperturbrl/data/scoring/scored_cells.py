"""Check that scores still belong to their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl.data.cells.fingerprint import Fingerprint, cell_numbers
from scperturbrl.data.cells.row_blocks import is_out_of_core
from scperturbrl.data.cells.setup import expression

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

_LOOKED_AT = 256


def record_scored(adata: AnnData, layer: str | None, columns: Sequence[str]) -> dict[str, Any]:
    """The record for :func:`check_scored`: some of the cells of `layer`, and their `columns` of ``obs``."""
    rows = np.argsort(cell_numbers(adata, layer))[
        : _LOOKED_AT // (4 if is_out_of_core(expression(adata, layer)) else 1)
    ]
    labels, own = _labels(adata.obs.iloc[rows], columns)
    codes = np.zeros(adata.n_obs, dtype=int)
    codes[rows] = own
    found = Fingerprint.of(adata, layer, labels, codes, rows)
    return {"layer": layer or "", "cells": found.to_uns()}


def check_scored(adata: AnnData, key: str, record: Mapping[str, Any]) -> str | None:
    """Return the scored layer of `key` (None for ``X``) if its cells have not changed.

    Raises
    ------
    ValueError
        The message says what changed.
    """
    layer, columns = str(record["layer"]) or None, [str(column) for column in record["columns"]]
    then, numbers = Fingerprint.from_uns(record["cells"]), cell_numbers(adata, layer)
    moved = then.relabelled(numbers, *_labels(adata.obs, columns))
    if len(moved):
        msg = (
            f"The labels of cells in `obs[{columns!r}]` changed since the scores {key!r} were made, such as that of "
            f"{adata.obs_names[moved[0]]!r}. Call `tl.score` again."
        )
        raise ValueError(msg)
    other, n_compared = then.rewritten(adata, layer, numbers)
    if len(other):
        where = "`X`" if layer is None else f"`layers[{layer!r}]`"
        msg = (
            f"The cells in {where} changed since the scores {key!r} were made: {len(other)} of the {n_compared} that were compared differ, such as "
            f"{adata.obs_names[other[0]]!r}. Call `tl.score` again."
        )
        raise ValueError(msg)
    return layer


def _labels(obs: pd.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct labels, and the index of the label of each cell."""
    joined = [" | ".join(map(str, row)) for row in zip(*(obs[column] for column in columns), strict=True)]
    labels, codes = np.unique(np.asarray(joined, dtype=str), return_inverse=True)
    return labels, codes
