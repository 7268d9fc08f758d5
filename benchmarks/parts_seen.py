"""Distances of combinations by the number of their parts in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.arms import BASE, LONGER, RL

if TYPE_CHECKING:
    import pandas as pd

MODELS = (BASE, LONGER, RL, "additive_ridge", "additive", "nearest_condition", "perturbed_mean")
METRICS = {"energy_distance": "E-distance", "l2": "L2"}


def lines(rows: pd.DataFrame) -> str:
    """Means over the held-out combinations of all seeds; empty where all have as many parts seen."""
    rows = rows[rows["metric"].isin(list(METRICS)) & rows["model"].isin(MODELS)]
    counts = rows.groupby("parts_seen")["condition"].nunique().sort_index(ascending=False)
    if len(counts) < 2:
        return ""
    means = rows.groupby(["model", "parts_seen", "metric"])["value"].mean()
    heads = [f"{seen:.0f} seen ({n}): {label}" for seen, n in counts.items() for label in METRICS.values()]
    text = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for model in (name for name in MODELS if name in set(rows["model"])):
        cells = [f"{means[model, seen, metric]:.3g}" for seen in counts.index for metric in METRICS]
        text.append(f"| {model} | " + " | ".join(cells) + " |")
    return "Means over combinations, by how many of their parts training saw alone:\n\n" + "\n".join(text) + "\n"
