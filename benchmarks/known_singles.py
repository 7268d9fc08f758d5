"""An oracle for unseen doubles that knows a simulated screen except for the interactions of perturbations.

It is not a model: it reads the truth stored by the simulator. Held-out doubles are simulated with the true responses of
their singles, each times the mean weight that singles have in the doubles of the screen. Which doubles are additive,
buffered or masked, and which programs are new to a double, is drawn at random by the simulator, so it cannot be learnt
from training conditions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from benchmarks.adapters.base import NotApplicable
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.datasets._cells import draw_activity, draw_counts, draw_design
from scperturbrl.datasets._effects import Effects
from scperturbrl.datasets._settings import Settings
from scperturbrl.datasets._simulated import log_normalise

if TYPE_CHECKING:
    from collections.abc import Mapping


def known_singles(adata: ad.AnnData, n_cells: int, seed: int) -> ad.AnnData:
    """Simulated cells of each held-out double with the average interaction of singles."""
    setup, weight = Setup.of(adata), mean_weight(adata)
    truth, cells = adata.uns["truth"], Cells.of(adata, setup)
    doubles = cells.table.loc[cells.conditions("test"), "perturbation"].tolist()
    settings = replace(Settings(**truth["parameters"], **_absent(truth)), n_cells_per_condition=n_cells, n_controls=1)
    effects = _expected(truth, doubles, weight)
    types = {name: truth[f"cell_type_{name}"] for name in ("activity", "modulation")}
    rng = np.random.default_rng([seed, len(doubles)])
    obs, row = draw_design(settings, effects.conditions, rng)
    obs, row = obs[row >= 0], row[row >= 0]
    activity = draw_activity(settings, obs, row, effects=effects, types=types, rng=rng)
    shared = {"baseline": truth["baseline"], "loadings": truth["program_loadings"], "effects": effects}
    counts = draw_counts(settings, obs, activity, row, **shared, rng=rng)
    made = pd.DataFrame({setup.perturbation_key: np.array(doubles, dtype=object)[row]}, index=obs.index)
    return ad.AnnData(log_normalise(counts), obs=made, var=adata.var[[]])


def mean_weight(adata: ad.AnnData) -> float:
    """Mean weight of a single in the doubles of the simulated screen."""
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup)
    held_out = set(cells.table.loc[cells.conditions("test"), "perturbation"])
    pairs = adata.uns.get("truth", {}).get("interaction", pd.DataFrame())
    if setup.covariate_keys or setup.dose_key or not held_out <= set(pairs.index):
        msg = "Only of held-out doubles of a simulated screen without covariates and doses is it known what their singles do."
        raise NotApplicable(msg)
    return float(pairs[["first_weight", "second_weight"]].to_numpy().mean())


def _expected(truth: Mapping[str, Any], doubles: list[str], weight: float) -> Effects:
    """Effects of `doubles` with this weight of their singles; the direct effects on the two targets add, as they always do."""
    pairs, activity, loadings = truth["interaction"], truth["program_activity"], truth["program_loadings"]
    own = pairs.loc[doubles]
    expected = weight * (activity.loc[own["first"]].to_numpy() + activity.loc[own["second"]].to_numpy())
    expected = pd.DataFrame(expected, index=doubles, columns=activity.columns)
    direct = truth["effects"][doubles] - loadings @ activity.loc[doubles].T
    conditions = pd.DataFrame({"perturbation": doubles}, index=doubles)
    return Effects(truth["singles"], pairs, conditions, expected, loadings @ expected.T + direct)


def _absent(truth: Mapping[str, Any]) -> dict[str, None]:
    """Settings that were None, which files cannot store."""
    return {} if "doses" in truth["parameters"] else {"doses": None}
