"""The main job on every data set: does post-training raise the scores, and what does it cost?

Arms: the generator; the same trained on for as long as post-training took (``generator_longer``); post-trained with the
defaults (``generator_rl``); the same without rewards (``energy_only``); and the raw rewards without anchor, energy
distance or guard (``unguarded``), which is how rewards get hacked.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

import pandas as pd

import scperturbrl as spr
from benchmarks.suites import load

if TYPE_CHECKING:
    from pathlib import Path

ARMS = {
    "generator_rl": {},
    "energy_only": {"reward_steps": 0},
    "unguarded": {"calibrate": False, "anchor": 0.0, "energy_steps": 0, "guard": False},
}
COLUMNS = {
    "score_pearson_topk": "Pearson top-k",
    "score_rmse_topk": "RMSE top-k",
    "score_de_spearman": "DE Spearman",
    "score_pathway_activity": "Pathway",
    "pearson_delta_systema": "Systema Pearson",
    "discrimination": "Discrimination",
    "mse": "MSE x 1e3",
    "energy_distance": "E-distance",
    "mmd": "MMD x 1e3",
    "variance_ratio": "Variance ratio",
}
SCALE = {"mse": 1e3, "mmd": 1e3}
CLAIMED = list(COLUMNS)[:4]
SHORT_COLUMNS = [*CLAIMED, "discrimination", "mse", "energy_distance", "variance_ratio"]
SHORT_MODELS = ["split_half", "generator", "generator_longer", "generator_rl", "additive", "additive_ridge"]
LABELS = {"split_half": "real cells (one half)"}


def run(suite: str, seed: int, data: Path) -> pd.DataFrame:
    """Fit, post-train, train on and evaluate; one row a model, condition and metric, with the seconds of each stage."""
    warnings.filterwarnings("ignore", category=UserWarning)
    adata = load(suite, seed, data)
    start = time.perf_counter()
    spr.tl.fit_generator(adata, seed=seed)
    seconds = {"generator": time.perf_counter() - start}
    for key, options in ARMS.items():
        spr.tl.rl_finetune(adata, key_added=key, seed=seed, **options)
        seconds[key] = float(adata.uns[key]["params"]["seconds"])
    spr.tl.fit_generator(
        adata,
        init_from="generator",
        key_added="generator_longer",
        n_steps=1_000_000,
        learning_rate=3e-4,
        max_minutes=seconds["generator_rl"] / 60,
        seed=seed,
    )
    table = spr.tl.evaluate(adata, seed=seed).assign(suite=suite, seed=seed)
    table["stopped"] = table["model"].map({key: adata.uns[key]["params"]["stopped"] for key in ARMS}).fillna("")
    return table.assign(seconds=table["model"].map(seconds))


def summarise(results: pd.DataFrame, *, short: bool = False) -> str:
    """Markdown: a table a suite, mean over held-out conditions, then median over seeds with the range behind it.

    The short form leaves out the range and some rows and columns.
    """
    parts = []
    for suite, rows in results.groupby("suite", sort=False):
        columns = SHORT_COLUMNS if short else list(COLUMNS)
        means = rows.groupby(["model", "seed", "metric"], sort=False)["value"].mean().unstack("metric")[columns]
        means = means.mul(pd.Series({name: SCALE.get(name, 1) for name in columns})).rename(columns=COLUMNS)
        if short:
            means = means.loc[SHORT_MODELS]
        n_seeds, n = rows["seed"].nunique(), rows.groupby("seed")["condition"].nunique().tolist()
        title = f"**{suite.capitalize()}**, {n_seeds} seeds, {'/'.join(map(str, n))} held-out conditions"
        parts += [f"{title}\n", _markdown(means, short=short), _verdict(rows)]
    return "\n".join(parts)


def _markdown(means: pd.DataFrame, *, short: bool) -> str:
    lines = ["| model | " + " | ".join(means.columns) + " |", "|---" * (len(means.columns) + 1) + "|"]
    for model, own in means.groupby("model", sort=False):
        cells = [_cell(own[column], short=short) for column in means.columns]
        lines.append(f"| {LABELS.get(str(model), model)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: pd.Series, *, short: bool) -> str:
    if values.isna().all():
        return "-"
    digits = 2 if values.abs().max() >= 10 else 3
    median = f"{values.median():.{digits}f}"
    return median if short else f"{median} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def _verdict(rows: pd.DataFrame) -> str:
    wide = rows.groupby(["seed", "metric", "model"])["value"].mean().unstack("model")
    change = (wide["generator_rl"] - wide["generator_longer"]).unstack("metric")
    ratio = (wide["generator_rl"] / wide["generator_longer"]).unstack("metric")["energy_distance"]
    gains = ", ".join(f"{COLUMNS[name]} {_signed(change[name])}" for name in CLAIMED)
    raised = int((change[CLAIMED] > 0).all(axis=1).sum())
    return (
        f"Post-trained minus trained on for as long, per seed: {gains}. All four raised in {raised} of {len(change)} seeds; "
        f"E-distance x {' / '.join(f'{value:.3f}' for value in ratio)}.\n"
    )


def _signed(values: pd.Series) -> str:
    return " / ".join(f"{value:+.4f}" for value in values)
