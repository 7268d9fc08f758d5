"""Mean effects of held-out combinations predicted by the combination ridge, from measured and from denoised effects.

No generator is fitted, so many screens take only a minute. Errors are squared errors of the mean, minus the sampling noise of the held-out cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.suites import DATASETS
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.reference.moments import measured_effects
from scperturbrl.metrics import combination_ridge_effect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUITES = ["simulated", "few_conditions", "few_cells", "interacting", "all_additive", "norman_all"]


def run(names: Sequence[str], seeds: Sequence[int], *, data: Path) -> pd.DataFrame:
    """One row per data set and seed: ``suite``, ``seed``, and the errors ``measured`` and ``denoised``, averaged over genes and conditions."""
    rows = []
    for name in names:
        for seed in seeds:
            cells = Cells.of(DATASETS[name].load(seed, data).adata)
            rows.append({"suite": name, "seed": seed} | errors(cells))
    return pd.DataFrame(rows)


def errors(cells: Cells) -> dict[str, float]:
    """Errors of held-out combinations whose parts are all trained on."""
    training, everything = cells.is_training(), np.ones(len(cells.codes), dtype=bool)
    names = cells.conditions("train", min_cells=2)
    tokens = sorted({part for parts in cells.table.loc[names, "parts"] for part in parts})
    known = [set(parts) <= set(tokens) for parts in cells.table.loc[cells.conditions("test", min_cells=2), "parts"]]
    test = np.asarray(cells.conditions("test", min_cells=2), dtype=object)[known]
    design = lambda some: np.array([[token in parts for token in tokens] for parts in cells.table.loc[some, "parts"]])
    trained, true = measured_effects(cells, training, names), measured_effects(cells, everything, list(test))
    found = {}
    for how, effects in (("measured", trained.effect), ("denoised", trained.denoised())):
        fit = combination_ridge_effect(design(names).astype(float), effects, design_query=design(test).astype(float))
        found[how] = float((np.square(fit.effect - true.effect) - true.noise).mean())
    return found


def summary(results: pd.DataFrame) -> str:
    """Markdown table: for each suite, how often denoised effects predict better, and the ratio of the errors summed over its screens.

    Ratios of single screens are unreliable, because an error minus its noise can be close to 0.
    """
    lines = ["| suite | screens | denoised effects are closer in | error, denoised / measured |", "|---" * 4 + "|"]
    for suite, own in results.groupby("suite", sort=False):
        closer, ratio = int((own["denoised"] < own["measured"]).sum()), own["denoised"].sum() / own["measured"].sum()
        lines.append(f"| {suite} | {len(own)} | {closer} | {ratio:.2f} |")
    return "\n".join(lines)
