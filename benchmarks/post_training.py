"""What post-training does to held-out conditions, compared with the same generator after equally long extra training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from benchmarks import grid
from benchmarks.arms import BASE, BASELINES, LONGER, RL
from benchmarks.kept import keep, read, table_file
from scperturbrl.data.evaluation.metric_calibration import CEILING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME = "post_training"
SCORES = {
    "score_pearson_topk": "Pearson top-k",
    "score_rmse_topk": "RMSE top-k",
    "score_de_spearman": "DE Spearman",
    "score_pathway_activity": "Pathway",
}
DISTANCES = {"energy_distance": "E-distance", "mmd": "MMD"}
HELD_OUT = {"pearson_delta_systema": "Systema Pearson", "discrimination": "Discrimination", "de_overlap": "DE overlap"}
HARM = 0.03
"""Share by which the energy distance of a run must rise to count as harm."""
_SMALL = 0.002
"""Below real cells by less than this, there is no gap to close."""


def run(names: Sequence[str], seeds: Sequence[int], *, data: Path, out: Path, again: bool = False) -> pd.DataFrame:
    """Measure what is missing of the data sets, and return one row per run of all that are in the table."""
    grid.run(names, [BASELINES, BASE, RL, LONGER], seeds, data=data, out=out, again=again)
    new = runs(grid.collect(out, names))
    old = read(table_file(out, NAME))
    if len(old):
        old = old[~old["suite"].isin(new["suite"])]
    found = pd.concat([part for part in (old, new) if len(part)], ignore_index=True)
    keep(found, table_file(out, NAME))
    return found


def runs(results: pd.DataFrame) -> pd.DataFrame:
    """One row per data set and seed: means over held-out conditions of all that is compared, as ``<metric>:<model>``."""
    metrics = [*SCORES, *DISTANCES, *HELD_OUT, "variance_ratio"]
    kept = results[results["model"].isin([CEILING, BASE, RL, LONGER]) & results["metric"].isin(metrics)]
    wide = kept.pivot_table(index=["suite", "seed"], columns=["metric", "model"], values="value", sort=False)
    # a run in which post-training was not measured is no run
    wide = wide[wide["energy_distance"][[RL, LONGER]].notna().all(axis=1)]
    wide.columns = [f"{metric}:{model}" for metric, model in wide.columns]
    seconds = results[results["model"] == RL].groupby(["suite", "seed"], sort=False)["cpu_seconds"].first()
    fit = results[results["model"] == BASE].groupby(["suite", "seed"], sort=False)["cpu_seconds"].first()
    return wide.assign(seconds=seconds, fit_seconds=fit).reset_index()


def markdown(found: pd.DataFrame) -> str:
    """One row per run, then a sentence per data set."""
    labels = [*SCORES.values(), *DISTANCES.values(), *HELD_OUT.values()]
    lines = [f"| run | {' | '.join(labels)} | seconds |", "|---" * (len(labels) + 2) + "|"]
    for (_, row), other in zip(found.iterrows(), changed(found), strict=True):
        cells = [_share(row, name) for name in SCORES] + [_ratio(row, name) for name in DISTANCES]
        cells += [f"{row[f'{name}:{RL}'] - row[f'{name}:{LONGER}']:+.3f}" for name in HELD_OUT]
        lines.append(
            f"| {row['suite']} {row['seed']}{'' if other else ', unchanged'} | {' | '.join(cells)} | {row['seconds']:.0f} of {row['fit_seconds']:.0f} |"
        )
    said = [_sentence(str(name), rows) for name, rows in found.groupby("suite", sort=False)]
    return "\n".join(lines) + "\n\n" + "\n".join(said) + "\n"


def changed(found: pd.DataFrame) -> pd.Series:
    """Whether each run kept another state than the pretrained generator."""
    names = [*SCORES, *DISTANCES]
    same = [found[f"{name}:{RL}"].sub(found[f"{name}:{BASE}"]).abs() < 1e-9 for name in names]
    return ~pd.concat(same, axis=1).all(axis=1)


def harmed(found: pd.DataFrame) -> pd.Series:
    """Whether the energy distance of each run is larger than after extra training by more than 3 %, and larger than that of real cells."""
    own, other, real = (found[f"energy_distance:{model}"] for model in (RL, LONGER, CEILING))
    return (own - other > HARM * other.abs()) & (own > real)


def _sentence(name: str, rows: pd.DataFrame) -> str:
    shares = []
    for metric, label in SCORES.items():
        gap = rows[f"{metric}:{CEILING}"] - rows[f"{metric}:{LONGER}"]
        open_ = rows[gap > _SMALL]
        if len(open_):
            share = (open_[f"{metric}:{RL}"] - open_[f"{metric}:{LONGER}"]) / gap[open_.index]
            shares.append(f"{label} {share.median():.2f} ({len(open_)} runs)")
    ratios = (rows[f"energy_distance:{RL}"] / rows[f"energy_distance:{LONGER}"])[
        (
            rows[[f"energy_distance:{RL}", f"energy_distance:{LONGER}"]]
            > rows[[f"energy_distance:{CEILING}"]].to_numpy()
        ).all(axis=1)
    ]
    ratio = f"; median ratio of the energy distance {ratios.median():.2f}" if len(ratios) else ""
    return (
        f"- {name}: post-training changed {int(changed(rows).sum())} of {len(rows)} runs and harmed {int(harmed(rows).sum())}. "
        f"Median share of the gap closed where there is one: {', '.join(shares) or 'none'}{ratio}."
    )


def _share(row: pd.Series, name: str) -> str:
    """Rise over extra training, and in brackets the share of the gap to real cells."""
    rise = row[f"{name}:{RL}"] - row[f"{name}:{LONGER}"]
    gap = row[f"{name}:{CEILING}"] - row[f"{name}:{LONGER}"]
    return f"{rise:+.4f} ({rise / gap:.2f})" if gap > _SMALL else f"{rise:+.4f} (no gap)"


def _ratio(row: pd.Series, name: str) -> str:
    own, other, real = (row[f"{name}:{model}"] for model in (RL, LONGER, CEILING))
    return f"{own / other:.3f}" if min(own, other) > max(real, 0) else f"{own:.4f} ({other:.4f})"
