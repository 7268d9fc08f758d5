"""Quality against CPU time on the simulated suite, compared with the additive baseline."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import scperturbrl as spr
from benchmarks.clock import stopwatch
from benchmarks.simulated import load
from benchmarks.speed.row import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

BUDGETS = (10, 30, 60, 120)
METRICS = ("pearson_delta", "mse", "energy_distance")
BASELINES = ("additive",)


def curve(budgets: Sequence[float] = BUDGETS, *, seed: int = 0) -> pd.DataFrame:
    """Mean over held-out combinations of each metric for every budget of seconds, and for additive.

    The additive baseline predicts control cells moved by the sum of the effects, so its energy distance is that of
    additive-shifted controls. Budgets are CPU seconds of the whole verb, spaces and observation layer included, turned into
    steps by a short run: a clock on the wall would measure how busy the machine is.
    """
    adata, _ = load({}, seed, Path())
    names = {}
    per_step, before = _pace(adata, seed)
    for budget in budgets:
        key = f"seconds_{budget:g}"
        n_steps = max(50, round((budget - before) / per_step))
        with stopwatch() as watch:
            spr.tl.fit_generator(adata, key_added=key, n_steps=n_steps, seed=seed, progress=False)
        names[key] = (budget, watch.seconds)
    table = spr.tl.evaluate(adata, keys=list(names), seed=seed)
    wanted = table[table["metric"].isin(METRICS) & table["model"].isin([*names, *BASELINES])]
    means = wanted.groupby(["model", "metric"])["value"].mean().unstack()
    means["budget"] = [names.get(str(model), (math.nan, math.nan))[0] for model in means.index]
    means["cpu_seconds"] = [names.get(str(model), (math.nan, math.nan))[1] for model in means.index]
    return means.sort_values("budget").reset_index()


def _pace(adata: AnnData, seed: int) -> tuple[float, float]:
    """CPU seconds per step, and before the first one."""
    spent = []
    for n_steps in (20, 200):
        with stopwatch() as watch:
            spr.tl.fit_generator(adata, key_added="pilot", n_steps=n_steps, seed=seed, progress=False)
        spent.append(watch.seconds)
    per_step = max((spent[1] - spent[0]) / 180, 1e-6)
    return per_step, max(spent[0] - 20 * per_step, 0.0)


def rows(table: pd.DataFrame) -> list[Row]:
    """Stated results at 30 and 120 seconds."""
    additive = table[table["model"] == "additive"].iloc[0]
    found = []
    for _, own in table.dropna(subset="budget").iterrows():
        at = f"after {own['budget']:g} s"
        early, late = own["budget"] == 30, own["budget"] == 120
        gap = additive["pearson_delta"] - own["pearson_delta"]
        found += [
            Row("anytime", f"Pearson delta {at}", own["pearson_delta"], "", f"additive {additive['pearson_delta']:.3f} - .005",
                1.0 if gap <= 0.005 else 0.0, 1.0 if early else math.nan, within_run=False),
            Row("anytime", f"MSE {at}", own["mse"], "", f"additive {additive['mse']:.4f}",
                additive["mse"] / own["mse"], 1.0 if early else math.nan, within_run=False),
            Row("anytime", f"energy distance {at}", own["energy_distance"], "", f"additive-shifted controls {additive['energy_distance']:.3f}",
                additive["energy_distance"] / own["energy_distance"], 1.0 if early else 2.0 if late else math.nan, within_run=False),
        ]  # fmt: skip
    return found
