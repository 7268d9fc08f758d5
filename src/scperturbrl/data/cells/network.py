"""Pathway networks as matrices over the genes of the data."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import log

if TYPE_CHECKING:
    from collections.abc import Iterable


# share of the targets above which those that are lost by their spelling are reported
_LOST = 0.05


def check_network(network: pd.DataFrame) -> pd.DataFrame:
    """Return the columns ``source``, ``target`` and ``weight`` (1 if missing) of a network table.

    Raises
    ------
    KeyError
        If ``source`` or ``target`` is missing.
    ValueError
        If weights are not finite numbers, names are missing, or one edge has two weights.
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
    nameless = int(network[["source", "target"]].isna().any(axis=1).sum())
    if nameless:
        msg = f"{nameless} rows of the network have no `source` or no `target`. Drop them: `network.dropna(subset=['source', 'target'])`."
        raise ValueError(msg)
    edges = table.drop_duplicates()
    twice = edges.duplicated(["source", "target"])
    if twice.any():
        source, target, _ = edges[twice].iloc[0]
        msg = (
            f"{int(twice.sum())} edges of the network, such as {source!r} to {target!r}, have more than one weight. Keep one, such as their mean: "
            "`network.groupby(['source', 'target'], as_index=False)['weight'].mean()`."
        )
        raise ValueError(msg)
    return edges.reset_index(drop=True)


def warn_other_case(network: pd.DataFrame, genes: Iterable[str]) -> None:
    """Warn if many targets of a checked network are genes but for upper and lower case or blanks."""
    names = set(map(str, genes))
    plain = {name.strip().casefold() for name in names}
    targets = pd.Series(network["target"].unique())
    lost = targets[~targets.isin(names) & targets.str.strip().str.casefold().isin(plain)]
    if len(lost) > _LOST * len(targets):
        log.warn(
            f"{len(lost)} of {len(targets)} targets of the network, such as {lost.iloc[0]!r}, are genes of the data but for upper and lower case or "
            "blanks, and are left out. Give both the same names."
        )


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
