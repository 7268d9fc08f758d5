"""The value of every cell to which a dose-response curve is fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core import keys
from scperturbrl._core.validate import near_matches

if TYPE_CHECKING:
    from anndata import AnnData

Objective = str | Sequence[str] | Mapping[str, float] | Callable[[np.ndarray], Any]


def cell_values(adata: AnnData, objective: Objective) -> Callable[[np.ndarray], np.ndarray]:
    """Function from log-normalised cells ``(n, G)`` to the values ``(n,)`` of an objective.

    Raises
    ------
    KeyError
        If a gene or pathway does not exist.
    """
    if callable(objective):
        return lambda cells: _checked(objective(cells), cells)
    weights = _weights(adata, objective)
    total = float(np.abs(weights).sum())
    if not np.isfinite(total) or total == 0:
        msg = "The weights of `objective` must be finite, and not all 0."
        raise ValueError(msg)
    return lambda cells: np.asarray(cells @ (weights / total), dtype=np.float64)


def objective_label(objective: Objective | None) -> str:
    """Axis label of an objective."""
    if objective is None:
        return "Length of the effect"
    if isinstance(objective, str):
        return objective
    return getattr(objective, "__name__", "Signature").replace("_", " ")


def _weights(adata: AnnData, objective: str | Sequence[str] | Mapping[str, float]) -> np.ndarray:
    genes = adata.var_names
    if isinstance(objective, str) and objective not in genes:
        return _pathway(adata, objective)
    given = {objective: 1.0} if isinstance(objective, str) else objective
    wanted = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, 1.0)
    unknown = [gene for gene in wanted if gene not in genes]
    if unknown:
        msg = f"`objective` names {unknown[0]!r}, which is not a gene of `adata`.{near_matches(str(unknown[0]), genes)}"
        raise KeyError(msg)
    weights = np.zeros(len(genes))
    weights[genes.get_indexer(list(wanted))] = list(wanted.values())
    return weights


def _pathway(adata: AnnData, name: str) -> np.ndarray:
    known = [*adata.var_names]
    if keys.PATHWAY_NETWORK in adata.uns:
        network = adata.uns[keys.PATHWAY_NETWORK]
        own = network[network["source"] == name]
        if len(own):
            place = adata.var_names.get_indexer(own["target"])
            weights = np.zeros(adata.n_vars)
            weights[place[place >= 0]] = own["weight"].to_numpy(float)[place >= 0]
            return weights
        known += [str(source) for source in network["source"].unique()]
    msg = (
        f"`objective` is {name!r}, which is neither a gene nor a pathway of "
        f"`uns[{keys.PATHWAY_NETWORK!r}]`.{near_matches(name, known)}"
    )
    raise KeyError(msg)


def _checked(values: Any, cells: np.ndarray) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (len(cells),) or not np.isfinite(found).all():
        msg = f"`objective` gave an array of shape {found.shape} for {len(cells)} cells; expected a finite number for each cell."
        raise ValueError(msg)
    return found
