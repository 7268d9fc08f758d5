"""The generator beside baselines on perturbations that training never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scperturbrl as spr
from benchmarks.arms import BASE
from benchmarks.simulated import UNSEEN

if TYPE_CHECKING:
    import pandas as pd

# what of a gene that training never saw these say; the other baselines of the table come down to the mean response
RIVALS = {
    "perturbed_mean": "perturbed mean",
    "nearest_condition": "nearest condition",
    "nearest_embedding": "nearest gene by embedding",
    "embedding_ridge": "ridge on embeddings",
}
METRICS = {"pearson_delta": "Pearson delta", "discrimination": "discrimination"}


def lines(rows: pd.DataFrame) -> str:
    """Median over seeds of each baseline, and the generator's paired difference from it; empty for other data sets.

    Every seed draws new data, so every condition of every seed is a unit of the bootstrap.
    """
    rivals = [name for name in RIVALS if name in set(rows["model"])]
    if not set(rows["suite"]) & set(UNSEEN) or BASE not in set(rows["model"]) or not rivals:
        return ""
    found = spr.get.differences(rows.assign(dataset=rows["seed"]), BASE, reference=rivals, metrics=list(METRICS))
    found = found.set_index(["reference", "metric"])
    means = rows.groupby(["model", "metric", "seed"])["value"].mean()
    head = " | ".join(f"{label} | generator minus it (95 %) | seeds ahead" for label in METRICS.values())
    text = [f"| | {head} |", "|---" * (3 * len(METRICS) + 1) + "|"]
    own = " | ".join(f"{means[BASE, metric].median():.3f} | - | -" for metric in METRICS)
    text.append(f"| {BASE} | {own} |")
    for rival in rivals:
        cells = []
        for metric in METRICS:
            gap, other = found.loc[(rival, metric)], means[rival, metric]
            # a baseline may not have been measured with every seed yet
            ahead = (means[BASE, metric] - other).dropna() > 0
            interval = f"{gap['difference']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
            cells.append(f"{other.median():.3f} | {interval} | {ahead.sum()} of {len(ahead)}")
        text.append(f"| {RIVALS[rival]} | {' | '.join(cells)} |")
    n = int(found["n_conditions"].max())
    return f"Paired bootstrap over {n} conditions of all seeds together:\n\n" + "\n".join(text) + "\n"
