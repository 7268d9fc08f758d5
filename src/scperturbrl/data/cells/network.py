"""Pathway networks as matrices over the genes of the data."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_network(network: pd.DataFrame) -> pd.DataFrame:
    """Return the columns ``source``, ``target`` and ``weight`` (1 if missing) of a network table.

    Raises
    ------
    KeyError
        If ``source`` or ``target`` is missing.
    ValueError
        If weights are not finite numbers.
    """
    missing = {"source", "target"} - set(network.columns)
    if missing:
        msg = f"The network has no column {sorted(missing)}; a table with `source`, `target` and `weight` is needed."
        raise KeyError(msg)
    table = pd.DataFrame({"source": network["source"].astype(str), "target": network["target"].astype(str)})
    table["weight"] = pd.to_numeric(network["weight"], errors="coerce") if "weight" in network else 1.0
    if not np.isfinite(table["weight"]).all():
        msg = "The column `weight` of the network holds values that are not finite numbers."
        raise ValueError(msg)
    return table.drop_duplicates(["source", "target"]).reset_index(drop=True)


def network_matrix(network: pd.DataFrame, genes: Iterable[str]) -> tuple[np.ndarray, list[str]]:
    """Weights as a matrix.

    Returns
    -------
    weights
        ``(n_genes, n_sources)`` float32, 0 if a gene is not a target.
    sources
        Names of the columns, sorted.
    """
    index = {gene: row for row, gene in enumerate(genes)}
    inside = network[network["target"].isin(index)]
    sources = sorted(inside["source"].unique())
    weights = np.zeros((len(index), len(sources)), dtype=np.float32)
    columns = {source: column for column, source in enumerate(sources)}
    weights[inside["target"].map(index), inside["source"].map(columns)] = inside["weight"]
    return weights, sources


def table_hash(network: pd.DataFrame) -> str:
    """Hash of the sets, targets and weights of a checked table, independent of the order of rows."""
    table = network.astype({"source": object, "target": object, "weight": np.float64})
    rows = np.sort(pd.util.hash_pandas_object(table[["source", "target", "weight"]], index=False).to_numpy())
    return hashlib.sha256(rows.tobytes()).hexdigest()[:16]


def network_hash(weights: np.ndarray) -> str:
    """Hash of the gene sets ``(n_genes, n_sources)``, independent of their names and order; empty without a network."""
    columns = sorted(np.ascontiguousarray(column, dtype=np.float32).tobytes() for column in weights.T if column.any())
    return hashlib.sha256(b"".join(columns)).hexdigest()[:16] if columns else ""
