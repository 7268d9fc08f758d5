"""Compare spaces and backbones of the generator, each fitted for the same time on the simulated suite."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

import scperturbrl as spr
from benchmarks import simulated
from benchmarks.kept import add, has, read, table_file
from scperturbrl._core.machine.device import resolve_device

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

METRICS = {
    "pearson_delta": "Pearson Δ",
    "pearson_delta_top": "top DE",
    "de_overlap": "DE overlap",
    "mse": "MSE x 1,000",
    "energy_distance": "E-distance",
    "variance_ratio": "Variance ratio",
    "zero_fraction_error": "Zero fraction error",
    "classifier_auroc": "C2ST",
}
NAME = "backbones"
STEPS = 100_000
ARMS: dict[str, dict[str, Any]] = {
    "mlp, components": {"n_steps": 2500},
    "mlp, scVI": {"n_steps": 2500, "space": "scvi"},
    "mlp, genes": {"space": "genes", "width": 512},
    "transformer": {
        "backbone": "transformer",
        "width": 256,
        "n_blocks": 3,
        "batch_size": 64,
        "learning_rate": 3e-4,
        "precision": "bfloat16",
        "compile": True,
    },
}


def run(out: Path, arms: Sequence[str], seeds: Sequence[int], *, minutes: float, device: str) -> pd.DataFrame:
    """Fit and evaluate every arm that has no row for this kind of device yet; return the whole table."""
    kind, file = resolve_device(device).type, table_file(out, NAME)
    for seed in seeds:
        for arm in arms:
            if not has(read(file), arm=arm, device_kind=kind, seed=seed):
                row = _measure(simulated.load({}, seed, out)[0], arm, seed, minutes, device) | {"device_kind": kind}
                add(pd.DataFrame([row]), file, keys=["arm", "device_kind", "seed"])
                print(row, flush=True)
    return read(file)


def _measure(adata: AnnData, arm: str, seed: int, minutes: float, device: str) -> dict[str, Any]:
    options = {"n_steps": STEPS, **ARMS[arm]}
    began = time.perf_counter()
    spr.tl.fit_generator(adata, max_minutes=minutes, device=device, seed=seed, progress=False, **options)
    spent = time.perf_counter() - began
    fitted = adata.uns["generator"]["fitted"]
    table = spr.tl.evaluate(adata, keys=["generator"], seed=seed)
    own = table[table["model"] == "generator"].groupby("metric")["value"].mean()
    name = torch.cuda.get_device_name() if resolve_device(device).type == "cuda" else "CPU"
    return {
        "arm": arm,
        "seed": seed,
        "device": name,
        "seconds": round(spent, 1),
        "best_step": fitted["best_step"],
        "stopped": fitted["stopped"],
        **{metric: own[metric] for metric in METRICS},
    }


def markdown(table: pd.DataFrame) -> str:
    """Medians over seeds."""
    lines = ["| Generator | Device | Seeds | Seconds | " + " | ".join(METRICS.values()) + " |"]
    lines.append("|" + "---|" * (4 + len(METRICS)))
    for (arm, device), rows in table.groupby(["arm", "device"], sort=False):
        middle = rows[["seconds", *METRICS]].median()
        middle["mse"] *= 1000
        values = [f"{middle[metric]:.3g}" for metric in METRICS]
        lines.append(f"| {arm} | {device} | {len(rows)} | {middle['seconds']:.0f} | " + " | ".join(values) + " |")
    return "\n".join(lines)
