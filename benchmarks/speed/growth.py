"""Time and memory of every stage against cells, genes and conditions, each size in a separate process."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

import scperturbrl as spr
from benchmarks.speed.memory import in_subprocess, peak
from benchmarks.speed.row import Row
from benchmarks.speed.screen import screen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

BASE = {"n_cells": 6000, "n_genes": 500, "n_conditions": 40}
SIZES: dict[str, list[int]] = {
    "n_cells": [1000, 3000, 10_000, 30_000, 100_000],
    "n_genes": [250, 1000, 4000, 20_000],
    "n_conditions": [10, 100, 1000, 10_000],
}
LABELS = {"n_cells": "cells", "n_genes": "genes", "n_conditions": "conditions"}
# a condition needs cells, and a fold of its calibration too
CELLS_PER_CONDITION = 12
MOST = 1.1


def measure(axes: Sequence[str] = tuple(SIZES), *, largest: int | None = None, n_steps: int = 50) -> pd.DataFrame:
    """Seconds and MB of the stages at every size along `axes`; a size that does not fit is left out and reported."""
    found = []
    for axis in axes:
        for size in SIZES[axis]:
            if largest is not None and size > largest:
                continue
            options = BASE | {axis: size}
            options["n_cells"] = max(options["n_cells"], CELLS_PER_CONDITION * options["n_conditions"])
            try:
                result = in_subprocess("benchmarks.speed.growth", **options, n_steps=n_steps)
            except Exception as error:  # noqa: BLE001
                print(f"{LABELS[axis]} {size}: {type(error).__name__}", flush=True)
                continue
            print(f"{LABELS[axis]} {size}: {result}", flush=True)
            found += [
                {"axis": LABELS[axis], "size": size, "quantity": name, "value": value} for name, value in result.items()
            ]
    return pd.DataFrame(found)


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Slope of each quantity on logarithmic axes over the upper half of the sizes."""
    found = []
    for (axis, quantity), rows in table.groupby(["axis", "quantity"], sort=False):
        upper = rows.sort_values("size").tail(max(2, -(-len(rows) // 2)))
        if len(upper) < 2:
            continue
        values = np.log(np.maximum(upper["value"], 1e-3))
        slope = np.polyfit(np.log(upper["size"]), values, 1)[0]
        found.append({"axis": axis, "quantity": quantity, "exponent": slope, "largest": int(upper["size"].max())})
    return pd.DataFrame(found)


def rows(table: pd.DataFrame) -> list[Row]:
    """One row an exponent; the ratio is how far below the largest allowed it is."""
    return [
        Row("growth", f"{e['quantity']} against {e['axis']} up to {e['largest']:,}", e["exponent"], "exponent",
            f"at most {MOST}", MOST / max(e["exponent"], 0.01), 1.0, within_run=False)
        for _, e in exponents(table).iterrows()
    ]  # fmt: skip


def _stages(adata: AnnData, n_steps: int) -> dict[str, Callable[[], object]]:
    def score() -> None:
        spr.tl.score(adata, layer="generator")

    return {
        "pp.reference": lambda: spr.pp.reference(adata),
        "tl.fit_generator": lambda: spr.tl.fit_generator(adata, n_steps=n_steps, device="cpu", progress=False),
        "tl.generate": lambda: spr.tl.generate(adata, device="cpu"),
        "tl.score": score,
    }


def main(options: dict[str, int]) -> None:
    """Measure one size and print it as JSON."""
    torch.set_num_threads(1)
    n_steps = options.pop("n_steps")
    # so that nothing is imported in a stage that is timed
    small = screen(600, 60, 10)
    for work in _stages(small, 5).values():
        work()
    with peak() as start:
        pass
    # few counts per gene if there are many genes, as in real data
    adata = screen(**options, depth=min(0.6, 600 / options["n_genes"]))
    found = {}
    for name, work in _stages(adata, n_steps).items():
        started = time.process_time()
        with peak() as memory:
            work()
        found[f"{name}, s"] = time.process_time() - started
        # the data themselves included: what a stage adds depends on what the one before has given back
        found[f"{name}, MB"] = memory.total - start.before
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
