"""Cell types in lineages, the effect of each perturbation in each of them, and the true mean effects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from scperturbrl.datasets._effects import Effects, by_share
from scperturbrl.datasets._names import (
    BATCH,
    CELL_TYPE,
    LINEAGE,
    PERTURBATION,
    RESPONSE_STRENGTH,
    SCALED,
    SHARED,
    SPECIFIC,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scperturbrl.datasets._context_settings import ContextSettings

# Standard deviations between lineages and between the cell types of one lineage.
_BASELINE_SD = (0.6, 0.3)
_STATE_SD = (0.8, 0.4)
_FACTOR_SD = 0.5
_TARGET_SUM = 1e4


def draw_contexts(
    settings: ContextSettings, programs: pd.Index, genes: pd.Index, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Draw how cell types differ.

    Returns
    -------
    contexts
        Table indexed by cell type: ``lineage``, and the ``factor`` on scaled effects, with mean 1 over cell types.
    baseline
        Shift of the log rate of every gene, genes x cell types.
    activity
        Program activity of unperturbed cells, cell types x programs; 0 for programs that respond to perturbations.
    """
    index = pd.Index(settings.cell_types, name=CELL_TYPE, dtype=object)
    lineage, _ = pd.factorize(np.asarray(settings.lineages))
    factor = rng.lognormal(0.0, _FACTOR_SD, len(index))
    contexts = pd.DataFrame({LINEAGE: settings.lineages, "factor": factor / factor.mean()}, index=index)

    def nested(n: int, spread: tuple[float, float]) -> NDArray[np.float64]:
        shared = rng.normal(0.0, spread[0], (settings.n_lineages, n))
        return shared[lineage] + rng.normal(0.0, spread[1], (len(index), n))

    baseline = pd.DataFrame(nested(len(genes), _BASELINE_SD).T, index=genes, columns=settings.cell_types)
    activity = nested(len(programs), _STATE_SD)
    activity[:, : settings.screen.n_response_programs] = 0.0
    return contexts, baseline, pd.DataFrame(activity, index=index, columns=programs)


def in_contexts(
    settings: ContextSettings,
    effects: Effects,
    contexts: pd.DataFrame,
    loadings: pd.DataFrame,
    rng: np.random.Generator,
) -> Effects:
    """Turn the response of every perturbation into one response for each perturbation and cell type."""
    singles = effects.singles.copy()
    shares = [settings.fraction_shared, settings.fraction_scaled]
    singles["kind"] = rng.permutation(by_share(len(singles), [SHARED, SCALED, SPECIFIC], shares))
    own = rng.choice(contexts[LINEAGE].unique(), len(singles))
    singles[LINEAGE] = np.where(singles["kind"] == SPECIFIC, own, "")
    conditions = pd.DataFrame(
        [
            (f"{name} | {CELL_TYPE}={cell_type}", name, cell_type)
            for name in singles.index
            for cell_type in contexts.index
        ],
        columns=["condition", PERTURBATION, CELL_TYPE],
    ).set_index("condition")
    kind = singles["kind"].to_numpy()[:, None]
    factor = np.where(kind == SCALED, contexts["factor"].to_numpy(), 1.0)
    # The targeted gene itself is knocked down or activated in every cell type.
    present = np.where(kind == SPECIFIC, singles[[LINEAGE]].to_numpy() == contexts[LINEAGE].to_numpy(), 1.0)
    conditions["kind"] = np.repeat(singles["kind"].to_numpy(), len(contexts))
    conditions["factor"] = (factor * present).ravel()
    low, high = settings.depth_range
    conditions["depth_ratio"] = np.exp(rng.uniform(np.log(low), np.log(high), len(conditions)))
    activity = effects.activity.loc[conditions[PERTURBATION]].to_numpy() * conditions[["factor"]].to_numpy()
    activity = pd.DataFrame(activity, index=conditions.index, columns=effects.activity.columns)
    changes = loadings @ activity.T
    targets = changes.index.get_indexer(conditions[PERTURBATION])
    direct = np.repeat(singles["target_effect"].to_numpy(), len(contexts)) * factor.ravel()
    values = changes.to_numpy(copy=True)
    values[targets, np.arange(len(conditions))] += direct
    changes = pd.DataFrame(values, index=changes.index, columns=conditions.index.to_list())
    return replace(effects, singles=singles, conditions=conditions, activity=activity, effects=changes)


def mean_effects(
    settings: ContextSettings,
    obs: pd.DataFrame,
    activity: pd.DataFrame,
    row: NDArray[np.intp],
    *,
    baseline: pd.DataFrame,
    loadings: pd.DataFrame,
    effects: Effects,
) -> pd.DataFrame:
    """Expected log-normalised expression of the cells of each condition minus that of the same cells without treatment.

    Genes x conditions. Both are at the mean depth of control cells, so that depth is not part of the effect.
    """
    change, columns = effects.effects.to_numpy().T, {}
    for number, name in enumerate(effects.conditions.index):
        own = np.flatnonzero(row == number)
        strength = obs[RESPONSE_STRENGTH].to_numpy()[own, None]
        origin = baseline.to_numpy().T[obs[BATCH].cat.codes.to_numpy()[own]]
        treated = origin + activity.to_numpy()[own] @ loadings.to_numpy().T
        treated += strength * (change[number] - effects.activity.to_numpy()[number] @ loadings.to_numpy().T)
        levels = [
            expected_log(_softmax(log_rate) * settings.library_size, settings.library_size, settings.dispersion)
            for log_rate in (treated, treated - strength * change[number])
        ]
        columns[name] = (levels[0] - levels[1]).mean(axis=0)
    return pd.DataFrame(columns, index=effects.effects.index)


def expected_log(mean: ArrayLike, library_size: float, dispersion: float) -> NDArray[np.float64]:
    r"""Expected ``log1p(1e4 x / library_size)`` of negative-binomial counts x of these means.

    With the Laplace transform M of the scaled count, :math:`E\log(1 + y) = \int_0^\infty (1 - M(t)) e^{-t} / t\,dt`. The
    integral is taken over :math:`\log t` on a grid of means, with interpolation of logarithms between them.
    """
    mean = np.asarray(mean, dtype=float)
    scale = _TARGET_SUM / library_size
    levels = np.linspace(np.log(1e-6), np.log(max(mean.max(), 1e-6)) + 1e-9, 600)
    log_t = np.linspace(-40.0, 5.0, 1500)
    t = np.exp(log_t)
    transform = -dispersion * np.log1p(np.exp(levels)[:, None] * -np.expm1(-scale * t) / dispersion)
    expected = trapezoid(-np.expm1(transform) * np.exp(-t), log_t, axis=1)
    return np.interp(np.log(np.maximum(mean, 1e-6)), levels, expected)


def _softmax(log_rate: NDArray[np.float64]) -> NDArray[np.float64]:
    rate = np.exp(log_rate - log_rate.max(axis=1, keepdims=True))
    return rate / rate.sum(axis=1, keepdims=True)
