"""Trained conditions: compare generated cells with held-out real cells of the same conditions.

A third of the cells of every training condition is held out. The generator is fitted to the rest with its defaults and
generates as many cells, at the library sizes of the held-out ones. It is compared with ``controls``, as many unchanged
control cells, and ``halves``, as many real cells of the condition that were kept for training.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

import scperturbrl as spr
from benchmarks.kept import add, has, read, table_file
from benchmarks.suites import DATASETS, TRAINED
from scperturbrl.data.cells.cells import Cells, dense
from scperturbrl.data.cells.components import training_components
from scperturbrl.data.generator.depth import in_order_of
from scperturbrl.data.generator.generation import generate_cells
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.latent.cells import control_units
from scperturbrl.metrics import classifier_auroc, energy_distance, mse, zero_fraction_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anndata import AnnData

    from benchmarks.suites import Prepared

NAME = "trained"
MODELS = ("generated", "controls", "halves")
COLUMNS = {
    "energy_distance": "E-distance",
    "mse": "MSE x 1e3",
    "zero_fraction_error": "Zeros",
    "classifier_auroc": "C2ST",
}
# upper limits for the generator, given the controls and the halves
LIMITS: dict[str, Callable[[float, float], float]] = {
    "energy_distance": lambda controls, halves: 0.1 * controls + halves,
    "mse": lambda controls, halves: 1.3 * halves,
    "zero_fraction_error": lambda controls, halves: halves + 0.01,
    "classifier_auroc": lambda controls, halves: 0.62,
}
_MIN_CELLS, _MAX_CELLS, _N_COMPONENTS = 10, 500, 30


class Halves(NamedTuple):
    """Data to fit to, all cells, and the rows of `cells` that are the held-out cells of each condition."""

    kept: AnnData
    cells: Cells
    held_out: dict[str, np.ndarray]


def run(names: Sequence[str], seeds: Sequence[int], *, data: Path, out: Path) -> pd.DataFrame:
    """Measure data sets and seeds that are missing from the table, and return the whole table."""
    warnings.filterwarnings("ignore", category=UserWarning)
    file = table_file(out, NAME)
    for name in names:
        for seed in seeds:
            if has(read(file), suite=name, seed=seed):
                print(f"{name}, seed {seed}: kept")
                continue
            try:
                prepared = (DATASETS | TRAINED)[name].load(seed, data)
            except (ConnectionError, FileNotFoundError) as error:
                print(f"{name}, seed {seed}: not available here ({error})")
                continue
            new = measured(prepared, seed).assign(suite=name, seed=seed)
            add(new, file, keys=["suite", "seed"])
            print(f"{name}, seed {seed}: {new['condition'].nunique()} conditions", flush=True)
    return read(file)


def measured(prepared: Prepared, seed: int) -> pd.DataFrame:
    """Fit to two thirds of the cells of each training condition and measure against the rest."""
    halves = without_a_third(prepared.adata, seed)
    spr.tl.fit_generator(halves.kept, embeddings=prepared.embeddings, seed=seed)
    kept, rng = Cells.of(halves.kept), np.random.default_rng([seed, 1])
    projection = training_components(kept, n_components=_N_COMPONENTS).loadings
    chosen = {
        condition: np.resize(
            rng.permutation(np.flatnonzero(kept.codes == kept.control_row(kept.rows([condition])[0]))), len(held_out)
        )
        for condition, held_out in halves.held_out.items()
    }
    generated, rows = _generated(halves, kept, chosen, seed), []
    for condition, held_out in halves.held_out.items():
        observed, own = halves.cells.block(held_out), np.flatnonzero(kept.codes == kept.rows([condition])[0])
        made = {
            "generated": generated[condition],
            # the same control cells for both models, so that their choice makes no difference
            "controls": kept.block(chosen[condition]),
            "halves": kept.block(rng.permutation(own)[: len(held_out)]),
        }
        for model in MODELS:
            values = compared(made[model], observed, projection, seed)
            rows += [
                {"condition": condition, "n_cells": len(held_out), "model": model, "metric": name, "value": value}
                for name, value in values.items()
            ]
    return pd.DataFrame(rows)


def without_a_third(adata: AnnData, seed: int) -> Halves:
    """Hold out a third of the cells, at most 500, of every training condition with at least 30."""
    cells = Cells.of(adata)
    rng, kept, held_out = np.random.default_rng([seed, 0]), np.ones(adata.n_obs, dtype=bool), {}
    for condition in cells.conditions("train", min_cells=3 * _MIN_CELLS):
        own = np.flatnonzero(cells.codes == cells.table.index.get_loc(condition))
        chosen = np.sort(rng.permutation(own)[: min(len(own) // 3, _MAX_CELLS)])
        kept[chosen] = False
        held_out[condition] = chosen
    return Halves(adata[kept].copy(), cells, held_out)


def _generated(halves: Halves, kept: Cells, controls: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Cells of all conditions at the depths of the held-out ones.

    They are generated together: separately, all conditions would have the same random numbers, and means over conditions the noise of one.
    """
    stored, table = read_generator(halves.kept, "generator"), kept.table.loc[list(controls)]
    unit = [
        in_order_of(control_units(kept, own), control_units(halves.cells, halves.held_out[condition]))
        for condition, own in controls.items()
    ]
    codes = np.repeat(np.arange(len(table)), [len(own) for own in controls.values()])
    started, how = np.concatenate(list(controls.values())), {"seed": seed, "device": torch.device("cpu")}
    made = dense(generate_cells(stored, kept, table, codes, started, unit=np.concatenate(unit), **how))
    return {condition: made[codes == row] for row, condition in enumerate(table.index)}


def compared(predicted: np.ndarray, observed: np.ndarray, projection: np.ndarray, seed: int) -> dict[str, float]:
    """Metrics of two populations; the energy distance and the classifier use components of the training cells."""
    first, second = predicted @ projection, observed @ projection
    return {
        "energy_distance": energy_distance(first, second),
        "mse": mse(predicted.mean(0, dtype=float), observed.mean(0, dtype=float)),
        "zero_fraction_error": zero_fraction_error(predicted, observed),
        "classifier_auroc": classifier_auroc(first, second, seed=seed),
    }


def markdown(results: pd.DataFrame) -> str:
    """One row per data set: means over conditions and seeds for the generated cells, the controls and the real halves."""
    means = results.groupby(["suite", "metric", "model"], sort=False)["value"].mean().unstack("model")
    lines = ["| data set | seeds | " + " | ".join(COLUMNS.values()) + " | misses |", "|---" * 7 + "|"]
    for name, rows in results.groupby("suite", sort=False):
        cells, missed = [], []
        for metric, label in COLUMNS.items():
            generated, controls, halves = means.loc[(name, metric), list(MODELS)]
            scale = 1e3 if metric == "mse" else 1
            cells.append(f"{scale * generated:.3g} ({scale * controls:.3g}; {scale * halves:.3g})")
            if not generated <= LIMITS[metric](controls, halves):
                missed.append(label.split(" ")[0])
        lines.append(f"| {name} | {rows['seed'].nunique()} | {' | '.join(cells)} | {', '.join(missed) or '-'} |")
    head = "Generated cells (unchanged controls; as many real cells) against held-out cells of trained conditions:\n\n"
    return head + "\n".join(lines) + "\n"
