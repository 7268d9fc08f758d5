"""Simulated campaigns: measure a batch per round, and count measurements until the best pairs are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import scperturbrl as spr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

STRATEGIES = ("balanced", "exploit", "explore", "additive", "random")
N_SINGLES, N_START, BATCH, TOP, FOUND = 16, 8, 6, 0.1, 0.5
"""Number of perturbations, of initial pairs and of pairs per batch; share of best pairs; share of these to find."""


def load(seed: int) -> tuple[AnnData, pd.Series]:
    """All simulated pairs, and the objective of each from all of its cells: the pathway in which pairs differ most."""
    n = N_SINGLES * (N_SINGLES - 1) // 2
    adata = spr.datasets.simulated_perturbseq(
        n_genes=300, n_singles=N_SINGLES, n_doubles=n, n_cells_per_condition=40, n_controls=400, seed=seed
    )
    spr.pp.pathway_network(adata, adata.uns["pathway_network"])
    spr.pp.setup_anndata(adata)
    adata.obs["round"] = "train"
    spr.pp.split(adata, holdout="column", column="round")
    best = None
    for name in sorted(adata.uns["pathway_network"]["source"].unique()):
        spr.tl.screen(adata, "pairs", objective={name: 1.0}, n_refine=0)
        value = spr.get.screen(adata)["value"]
        if best is None or value.std() > best.std():
            best = value.rename(name)
    assert best is not None
    return adata, best


def play(adata: AnnData, truth: pd.Series, strategy: str, *, seed: int) -> pd.DataFrame:
    """One row per round: measured pairs, and the share of the best pairs among them."""
    rng = np.random.default_rng(seed)
    pairs = truth.index.to_numpy(dtype=str)
    best = set(truth.nlargest(round(TOP * len(truth))).index)
    measured = list(rng.choice(pairs, N_START, replace=False))
    rows = []
    while True:
        rows.append({"measured": len(measured), "found": len(best & set(measured)) / len(best)})
        if rows[-1]["found"] >= FOUND or len(measured) == len(pairs):
            return pd.DataFrame(rows).assign(strategy=strategy, seed=seed)
        rest = np.array([pair for pair in pairs if pair not in set(measured)])
        measured += _batch(adata, str(truth.name), measured, rest, strategy, rng)


def _batch(
    adata: AnnData, objective: str, measured: list[str], rest: np.ndarray, strategy: str, rng: np.random.Generator
) -> list[str]:
    n = min(BATCH, len(rest))
    if strategy == "random":
        return list(rng.choice(rest, n, replace=False))
    label = adata.obs["perturbation"].astype(str)
    adata.obs["round"] = np.where(label.isin(rest), "test", "train")
    spr.pp.split(adata, holdout="column", column="round")
    spr.tl.screen(adata, "pairs", objective={objective: 1.0}, n_refine=0)
    if strategy == "additive":
        frame = spr.get.screen(adata, measured=False)
        return list(frame["additive"].nlargest(n).index)
    return list(spr.tl.propose(adata, n=n, strategy=strategy).index)


def run(seeds: Iterable[int]) -> pd.DataFrame:
    """Number of measurements that every strategy needs after the start, one row per seed and strategy."""
    found = []
    for seed in seeds:
        adata, truth = load(seed)
        for strategy in STRATEGIES:
            rounds = play(adata, truth, strategy, seed=seed)
            found.append({"seed": seed, "strategy": strategy, "needed": int(rounds["measured"].iloc[-1])})
            print(found[-1], flush=True)
    return pd.DataFrame(found)


def summary(needed: pd.DataFrame) -> str:
    """Markdown: pairs measured until half of the best tenth was found, also relative to random and additive choice."""
    wide = needed.pivot_table(index="seed", columns="strategy", values="needed")
    lines = ["| strategy | pairs measured | over random | over additive |", "|---" * 4 + "|"]
    for name in STRATEGIES:
        ratio = {rival: wide[name].mean() / wide[rival].mean() for rival in ("random", "additive")}
        lines.append(f"| {name} | {wide[name].mean():.1f} | {ratio['random']:.2f} | {ratio['additive']:.2f} |")
    return "\n".join(lines)
