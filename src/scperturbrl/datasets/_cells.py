"""Cells: design, library sizes, responders and response strength, program activity, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl.datasets._names import (
    BATCH,
    CELL_TYPE,
    CONTROL,
    DOSE,
    LIBRARY_SIZE,
    PERTURBATION,
    RESPONDER,
    RESPONSE_STRENGTH,
)
from scperturbrl.datasets._programs import BATCHES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scperturbrl.datasets._effects import Effects
    from scperturbrl.datasets._settings import Settings

_LIBRARY_SD = 0.3
_STRENGTH_SHAPE = 6.0
_STATE_SD = 0.5
_CELL_TYPE_SD, _MODULATION_SD = 1.0, 0.2
_CHUNK = 2048


def draw_cell_types(settings: Settings, programs: pd.Index, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Draw how cell types differ (cell types x programs each).

    ``activity`` is the program activity of their unperturbed cells in addition to the baseline. ``modulation`` is the
    factor on every response, with mean 1 over cell types.
    """
    shape = (len(settings.cell_types), settings.n_programs)
    activity = rng.normal(0.0, _CELL_TYPE_SD, shape)
    activity[:, : settings.n_response_programs] = 0.0
    activity -= activity.mean(axis=0)
    modulation = rng.lognormal(0.0, _MODULATION_SD, shape)
    modulation /= modulation.mean(axis=0)
    index = pd.Index(list(settings.cell_types), name=CELL_TYPE, dtype=object)
    tables = {"activity": activity, "modulation": modulation}
    return {name: pd.DataFrame(values, index=index, columns=programs) for name, values in tables.items()}


def draw_design(
    settings: Settings, conditions: pd.DataFrame, rng: np.random.Generator
) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """Draw ``obs``, and the row in `conditions` of every cell, -1 for controls."""
    sizes = [settings.n_controls] + [settings.n_cells_per_condition] * len(conditions)
    row = np.repeat(np.arange(-1, len(conditions)), sizes)
    within = np.concatenate([np.arange(size) for size in sizes])
    n = row.size
    responder = (row >= 0) & (rng.random(n) >= settings.fraction_nonresponding)
    strength = np.where(responder, rng.gamma(_STRENGTH_SHAPE, 1.0 / _STRENGTH_SHAPE, n), 0.0)
    labels = np.append(conditions[PERTURBATION].to_numpy(dtype=object), CONTROL)[row]
    order = [CONTROL, *conditions[PERTURBATION].unique()]
    types = list(settings.cell_types)
    obs = {
        PERTURBATION: pd.Categorical(labels, categories=order),
        CELL_TYPE: pd.Categorical.from_codes(within % len(types), categories=types),
        BATCH: pd.Categorical.from_codes(rng.integers(0, len(BATCHES), n), categories=list(BATCHES)),
        LIBRARY_SIZE: settings.library_size * rng.lognormal(-(_LIBRARY_SD**2) / 2, _LIBRARY_SD, n),
        RESPONDER: responder,
        RESPONSE_STRENGTH: strength,
    }
    if DOSE in conditions:
        obs[DOSE] = np.append(conditions[DOSE].to_numpy(dtype=float), 0.0)[row]
    names = pd.Index([f"cell{i:0{len(str(n))}d}" for i in range(n)], dtype=object)
    return pd.DataFrame(obs, index=names), row


def draw_activity(
    settings: Settings,
    obs: pd.DataFrame,
    row: NDArray[np.intp],
    *,
    effects: Effects,
    types: dict[str, pd.DataFrame],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Draw the program activity of every cell (cells x programs): cell type, state, and response."""
    code = obs[CELL_TYPE].cat.codes.to_numpy()
    state = rng.normal(0.0, _STATE_SD, (len(obs), settings.n_programs))
    state[:, : settings.n_response_programs] = 0.0
    strength = obs[RESPONSE_STRENGTH].to_numpy()[:, None]
    response = strength * effects.activity.to_numpy()[row] * types["modulation"].to_numpy()[code]
    total = types["activity"].to_numpy()[code] + state + response
    return pd.DataFrame(total, index=obs.index, columns=effects.activity.columns)


def draw_counts(
    settings: Settings,
    obs: pd.DataFrame,
    activity: pd.DataFrame,
    row: NDArray[np.intp],
    *,
    baseline: pd.DataFrame,
    loadings: pd.DataFrame,
    effects: Effects,
    rng: np.random.Generator,
) -> sparse.csr_matrix:
    """Draw negative-binomial counts: a gamma-Poisson mixture around ``library size x softmax(log rate)``."""
    direct = effects.effects.to_numpy().T - effects.activity.to_numpy() @ loadings.to_numpy().T
    batch = baseline.to_numpy().T[obs[BATCH].cat.codes.to_numpy()]
    size, strength = obs[LIBRARY_SIZE].to_numpy(), obs[RESPONSE_STRENGTH].to_numpy()
    blocks = []
    for start in range(0, len(obs), _CHUNK):
        part = slice(start, start + _CHUNK)
        log_rate = batch[part] + activity.to_numpy()[part] @ loadings.to_numpy().T
        log_rate += strength[part, None] * direct[row[part]]
        rate = np.exp(log_rate - log_rate.max(axis=1, keepdims=True))
        mean = rate * (size[part] / rate.sum(axis=1))[:, None]
        mean *= rng.standard_gamma(settings.dispersion, mean.shape) / settings.dispersion
        blocks.append(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")
