"""What post-training changes, and what better means would: mean differences with their intervals, the same columns for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scperturbrl as spr
from benchmarks.arms import LONGER, RL
from benchmarks.overview import RIGHT_MEANS, SINGLES, UNREWARDED
from benchmarks.report import CLAIMED, COLUMNS

if TYPE_CHECKING:
    import pandas as pd

# no rewards by default, though the last two are related to some
OTHERS = {metric: COLUMNS[metric] for metric in UNREWARDED} | {
    "centroid_accuracy": "Centroid accuracy",
    "de_overlap": "DE overlap",
    "pathway_recovery": "Pathway recovery",
}


def interval_lines(results: pd.DataFrame) -> str:
    """A row a data set and model: the post-trained generator and the oracles beside the generator trained on.

    Units of the paired bootstrap are held-out conditions of single seeds.
    """
    columns = {metric: COLUMNS[metric] for metric in CLAIMED} | OTHERS
    lines = ["| data set | cells | n | " + " | ".join(columns.values()) + " |"]
    lines.append("|---" * (len(columns) + 3) + "|")
    for name, rows in results.groupby("suite", sort=False):
        measured = set(rows["model"])
        if not {RL, LONGER} <= measured:
            continue
        rows = rows.assign(condition=rows["condition"] + " " + rows["seed"].astype(str))
        for model in (RL, RIGHT_MEANS, *SINGLES):
            if model in measured:
                cells = _cells(rows, model, list(columns))
                lines.append(f"| {str(name).replace('_', ' ')} | `{model}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cells(rows: pd.DataFrame, model: str, metrics: list[str]) -> list[str]:
    """Number of conditions, and for each metric the mean difference with its interval: bold where better, in italics where worse."""
    there = [metric for metric in metrics if metric in set(rows["metric"])]
    if not there:
        return ["0", *"-" * len(metrics)]
    found = spr.get.differences(rows, model, reference=LONGER, metrics=there).set_index("metric")
    cells = [str(int(found["n_conditions"].max()))]
    for metric in metrics:
        if metric not in found.index or found.loc[metric, "n_conditions"] < 2:
            cells.append("-")
            continue
        own = found.loc[metric]
        text = f"{own['difference']:+.4f} ({own['low']:+.4f} to {own['high']:+.4f})"
        cells.append({"better": f"**{text}**", "worse": f"*{text}*"}.get(str(own["verdict"]), text))
    return cells
