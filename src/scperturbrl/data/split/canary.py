"""Scramble the expression of cells, and compare results of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core.random import numpy_rng

if TYPE_CHECKING:
    from anndata import AnnData

# Times differ between any two runs.
_CLOCKS = ("seconds", "time")


def scrambled(adata: AnnData, rows: np.ndarray, *, seed: int) -> AnnData:
    """Copy in which the values of every cell of `rows` are permuted over genes, alike in ``X`` and all layers.

    Cells keep their values, library size and number of zeros, so that checks of the expression pass.
    """
    copy, rng = adata.copy(), numpy_rng(seed, "scrambled cells")
    orders = np.stack([rng.permutation(adata.n_vars) for _ in rows]) if len(rows) else np.empty((0, adata.n_vars), int)
    if copy.X is not None:
        copy.X = _dealt(copy.X, rows, orders)
    for name in [name for name in copy.layers if name is not None]:
        copy.layers[name] = _dealt(copy.layers[name], rows, orders)
    return copy


def _dealt(matrix: Any, rows: np.ndarray, orders: np.ndarray) -> Any:
    if not sparse.issparse(matrix):
        dense = np.array(matrix)
        dealt = np.empty_like(dense[rows])
        np.put_along_axis(dealt, orders, dense[rows], axis=1)
        dense[rows] = dealt
        return dense
    csr = sparse.csr_matrix(matrix, copy=True)
    for row, order in zip(rows, orders, strict=True):
        own = slice(csr.indptr[row], csr.indptr[row + 1])
        csr.indices[own] = order[csr.indices[own]]
    csr.has_sorted_indices = False
    csr.sort_indices()
    return csr


def findings(result: Any, kept: np.ndarray, names: pd.Index) -> dict[str, np.ndarray]:
    """All arrays in the result of a pipeline, by path; for an AnnData, the parts that must not depend on other cells.

    Parameters
    ----------
    result
        AnnData, or nested dictionaries, lists and tables of arrays.
    kept
        Rows of the cells that are not scrambled, for results with one row per cell.
    names
        Names of all cells, to recognise such results.
    """
    if hasattr(result, "obs_names") and hasattr(result, "uns"):
        return _of_adata(result, names[kept])
    return {path: value for path, value in _flat(result, "result") if not path.endswith(_CLOCKS)}


def _of_adata(adata: AnnData, kept: pd.Index) -> dict[str, np.ndarray]:
    rows = np.flatnonzero(adata.obs_names.isin(kept))
    parts: dict[str, Any] = {"var_names": adata.var_names.to_numpy(), "var": adata.var, "uns": dict(adata.uns)}
    parts |= {"varm": dict(adata.varm), "varp": dict(adata.varp), "obs": adata.obs.iloc[rows]}
    parts["X"] = None if adata.X is None else adata.X[rows]
    parts["obsm"] = {name: value.iloc[rows] if _is_table(value) else value[rows] for name, value in adata.obsm.items()}
    parts["layers"] = {name: adata.layers[name][rows] for name in adata.layers if name is not None}
    found = [pair for name, part in parts.items() for pair in _flat(part, name)]
    return {path: value for path, value in found if not path.endswith(_CLOCKS)}


def _flat(value: Any, path: str) -> list[tuple[str, np.ndarray]]:
    if value is None:
        return []
    if isinstance(value, dict) or (hasattr(value, "items") and not _is_table(value)):
        return [pair for key, item in value.items() for pair in _flat(item, f"{path}/{key}")]
    if isinstance(value, list | tuple):
        return [pair for i, item in enumerate(value) for pair in _flat(item, f"{path}/{i}")]
    if isinstance(value, pd.Series):
        value = value.to_frame(str(value.name))
    if _is_table(value):
        return [pair for name in value for pair in _flat(np.asarray(value[name]), f"{path}/{name}")]
    return [(path, value.toarray() if sparse.issparse(value) else np.asarray(value))]


def _is_table(value: Any) -> bool:
    return isinstance(value, pd.DataFrame)


def equal(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    """Whether two findings are the same, NaN being equal to NaN."""
    if first is None or second is None or first.shape != second.shape:
        return False
    if first.dtype.kind in "fc" and second.dtype.kind in "fc":
        return bool(np.array_equal(first, second, equal_nan=True))
    return bool((pd.Series(first.ravel()).astype(str) == pd.Series(second.ravel()).astype(str)).all())
