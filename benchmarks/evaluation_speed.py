"""The cost of an evaluation: 10,000 predicted and 10,000 real cells, 2,000 genes, 40 conditions, all metrics."""

from __future__ import annotations

import resource
import time
import warnings

import numpy as np
import pandas as pd

import scperturbrl as spr


def run(*, n_conditions: int = 40, n_cells: int = 250, n_genes: int = 2000, seed: int = 0) -> pd.Series:
    """Evaluate a second draw of the same conditions as a prediction, with all metrics, baselines and ceilings."""
    warnings.filterwarnings("ignore", category=UserWarning)
    adata = spr.datasets.simulated_perturbseq(
        n_genes=n_genes,
        n_singles=max(24, n_conditions // 2),
        n_doubles=n_conditions + 10,
        n_cells_per_condition=2 * n_cells,
        n_controls=4 * n_cells,
        seed=seed,
    )
    network = adata.uns["pathway_network"]
    doubles = sorted(name for name in adata.obs["perturbation"].unique() if "+" in name)[:n_conditions]
    chosen = adata.obs["perturbation"].isin(doubles).to_numpy()
    # the second half of every condition is the prediction
    second = adata.obs.groupby("perturbation", observed=True).cumcount().to_numpy() >= n_cells
    predicted = adata[chosen & second].copy()
    adata = adata[~(second & (adata.obs["perturbation"] != "control").to_numpy())].copy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="combinations", values=doubles)
    spr.pp.reference(adata, network=network)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wall, cpu = time.perf_counter(), time.process_time()
    table = spr.tl.evaluate(adata, keys=[], predictions={"second draw": predicted}, networks={"hallmark": network})
    return pd.Series(
        {
            "conditions": table["condition"].nunique(),
            "real cells": int((adata.obs["split"] == "test").sum()),
            "predicted cells": predicted.n_obs,
            "genes": adata.n_vars,
            "models": table["model"].nunique(),
            "metrics": table["metric"].nunique(),
            "seconds": round(time.perf_counter() - wall, 1),
            "CPU seconds": round(time.process_time() - cpu, 1),
            "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "peak GB before": round(before, 2),
            "missing values": int(np.isnan(table["value"]).sum()),
        }
    )
