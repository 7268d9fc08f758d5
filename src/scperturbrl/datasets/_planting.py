"""Plant effects into real control cells: conditions, assignment of cells, and thinning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl.datasets._effects import draw_effects
from scperturbrl.datasets._names import CONTROL, COUNTS, DOSE, PERTURBATION, RESPONDER, TRUTH
from scperturbrl.datasets._programs import draw_loadings, draw_network, pathway_programs
from scperturbrl.datasets._simulated import log_normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scperturbrl.datasets._settings import Settings

_DRAWS = 4
# as in other condition names: a slash would become a group in an h5ad file
_SLASH = "∕"


def draw_truth(
    settings: Settings, genes: pd.Index, counts: sparse.csr_matrix, rngs: Sequence[np.random.Generator]
) -> dict[str, Any]:
    """Draw programs, their network, and the effect of every condition at the usual activity of programs."""
    mean = np.asarray(counts.mean(axis=0), dtype=float).ravel()
    # only used to draw targets from well-expressed genes
    baseline = pd.DataFrame({"mean": mean}, index=genes)
    loadings = draw_loadings(settings, rngs[0]).set_axis(genes, axis=0)
    pathways = pathway_programs(settings)
    effects = draw_effects(settings, baseline=baseline, loadings=loadings, rng=rngs[1])
    return {
        "drawn": effects,
        "program_loadings": loadings,
        "singles": effects.singles,
        "interaction": effects.interaction,
        "pathways": pathways,
        "network": draw_network(loadings, pathways, rngs[3]),
    }


def put_in_contexts(
    truth: dict[str, Any],
    contexts: pd.Index,
    context_key: str | None,
    *,
    spread: float,
    max_fold: float,
    rng: np.random.Generator,
) -> None:
    """Add the conditions of every context and their effects, limited to what thinning can plant."""
    effects, loadings = truth.pop("drawn"), truth["program_loadings"]
    modulation = rng.lognormal(0.0, spread if context_key else 0.0, (len(contexts), loadings.shape[1]))
    modulation = pd.DataFrame(modulation / modulation.mean(axis=0), index=contexts, columns=loadings.columns)
    direct = effects.effects.to_numpy() - (loadings @ effects.activity.T).to_numpy()
    records, columns = [], {}
    for number, row in enumerate(effects.conditions.to_dict("records")):
        for context, factor in modulation.iterrows():
            own = row if context_key is None else row | {context_key: context}
            name = " | ".join([row[PERTURBATION], *(f"{key}={_shown(own[key])}" for key in own if key != PERTURBATION)])
            name = name.replace("/", _SLASH)
            records.append({"condition": name, "context": context, **own})
            columns[name] = loadings @ (effects.activity.iloc[number] * factor) + direct[:, number]
    changes = pd.DataFrame(columns).clip(upper=np.log(max_fold))
    truth["conditions"] = pd.DataFrame(records).set_index("condition")
    truth["effects"] = changes
    truth["kept"] = pd.DataFrame({"kept": np.exp(-np.maximum(changes.max(axis=1), 0.0))})
    if context_key is not None:
        truth["context_modulation"] = modulation


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def deal_cells(
    settings: Settings,
    conditions: pd.DataFrame,
    contexts: pd.Categorical,
    control_fraction: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the row in `conditions` of every cell (-1 for controls), and whether the cell responds."""
    row = np.full(len(contexts), -1)
    for context in contexts.categories:
        cells = rng.permutation(np.flatnonzero(contexts == context))
        wanted = np.flatnonzero(conditions["context"] == context)
        n = min(settings.n_cells_per_condition, int(len(cells) * (1 - control_fraction)) // len(wanted))
        if n == 0:
            msg = (
                f"Context {context!r} has {len(cells)} cells, too few for {len(wanted)} conditions. Lower `n_singles`, `n_doubles` "
                "or `control_fraction`, or leave its cells out."
            )
            raise ValueError(msg)
        row[cells[: n * len(wanted)]] = np.repeat(wanted, n)
    return row, (row >= 0) & (rng.random(len(row)) >= settings.fraction_nonresponding)


def planted(
    controls: AnnData,
    counts: sparse.csr_matrix,
    truth: dict[str, Any],
    row: NDArray[np.intp],
    responder: NDArray[np.bool_],
    rng: np.random.Generator,
) -> AnnData:
    """Thin the counts, and combine the cells with their labels and the truth."""
    conditions = truth["conditions"]
    keep = truth["kept"]["kept"].to_numpy()
    # the last row is for controls and for treated cells that do not respond
    chance = np.vstack([np.exp(truth["effects"].to_numpy().T) * keep, keep])
    active = np.where(responder, row, -1)
    thinned = _thinned(counts, chance, active, rng)
    obs = controls.obs.copy()
    labels = np.append(conditions[PERTURBATION].to_numpy(dtype=object), CONTROL)[row]
    obs[PERTURBATION] = pd.Categorical(labels, categories=[CONTROL, *conditions[PERTURBATION].unique()])
    if DOSE in conditions:
        obs[DOSE] = np.append(conditions[DOSE].to_numpy(dtype=float), 0.0)[row]
    obs[RESPONDER] = responder
    adata = AnnData(log_normalise(thinned), obs=obs, var=controls.var[[]].copy(), layers={COUNTS: thinned})
    adata.uns[keys.PATHWAY_NETWORK] = truth.pop("network")
    mean = _mean_effects(counts, chance, row, active, rng)
    truth["mean_effects"] = pd.DataFrame(mean, index=controls.var_names, columns=conditions.index.to_list())
    truth["conditions"] = conditions.drop(columns="context")
    adata.uns[TRUTH] = truth
    return adata


def _thinned(
    counts: sparse.csr_matrix, chance: NDArray[np.float64], row: NDArray[np.intp], rng: np.random.Generator
) -> sparse.csr_matrix:
    """Keep each count with the probability of its cell's row and its gene."""
    cell = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    share = np.minimum(chance[row[cell], counts.indices], 1.0)
    data = rng.binomial(counts.data.astype(np.int64), share).astype(np.float32)
    thinned = sparse.csr_matrix((data, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)
    thinned.eliminate_zeros()
    return thinned


def _mean_effects(
    counts: sparse.csr_matrix,
    chance: NDArray[np.float64],
    row: NDArray[np.intp],
    active: NDArray[np.intp],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Genes x conditions: mean difference between cells thinned as treated and the same cells thinned as controls."""
    own = np.flatnonzero(row >= 0)
    member = sparse.csr_matrix((np.ones(len(own)), (row[own], np.arange(len(own)))), shape=(len(chance) - 1, len(own)))
    member = sparse.diags(1 / np.maximum(np.asarray(member.sum(axis=1)).ravel(), 1)) @ member
    total = np.zeros((len(chance) - 1, counts.shape[1]))
    for _ in range(_DRAWS):
        for sign, rows in ((1, active[own]), (-1, np.full(len(own), -1))):
            total += sign * (member @ log_normalise(_thinned(counts[own], chance, rows, rng))).toarray()
    return (total / _DRAWS).T
