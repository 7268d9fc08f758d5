"""Time and peak memory of a screen of all pairs, in a fresh process; prints them as JSON."""

from __future__ import annotations

import json
import sys
import time

import torch

import scperturbrl as spr
from benchmarks.speed.memory import in_subprocess, peak
from benchmarks.speed.row import Row, limit
from benchmarks.speed.screen import screen

N_SINGLES, N_GENES, N_CELLS = 500, 2000, 30_000
MOST_MINUTES, MOST_MEGABYTES = 10.0, 4096.0


def measure() -> list[Row]:
    """CPU minutes and peak memory of the pairs of 500 perturbations on one core, by the straight line."""
    found = in_subprocess("benchmarks.speed.candidates", n_singles=N_SINGLES, n_genes=N_GENES, n_cells=N_CELLS)
    what = f"screen of {int(found['candidates']):,} pairs, {N_GENES:,} genes"
    return [
        limit("candidates", what, found["minutes"], "CPU minutes", most=MOST_MINUTES),
        limit("candidates", f"memory of the {what}", found["peak"], "MB", most=MOST_MEGABYTES),
    ]


def main(options: dict[str, int]) -> None:
    """Screen for a pathway and the size of the effect; all conditions are trained on."""
    torch.set_num_threads(1)
    # a tenth more conditions, which are measured pairs
    adata = screen(options["n_cells"], options["n_genes"], round(options["n_singles"] / 0.9))
    adata.obs["side"] = "train"
    spr.pp.split(adata, holdout="column", column="side")
    with peak() as found:
        started = time.process_time()
        spr.tl.screen(adata, "pairs", objective={"pathway0": -1, "size": 0.5}, n_refine=0)
        minutes = (time.process_time() - started) / 60
    print(json.dumps({"minutes": minutes, "peak": found.total, "candidates": len(spr.get.screen(adata))}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
