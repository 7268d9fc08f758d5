"""Time, added memory and speed-up by workers of ``tl.generate``, in a process that did not fit the generator."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anndata as ad
import scanpy as sc
import torch

import scperturbrl as spr
from benchmarks.speed.memory import in_subprocess, peak
from benchmarks.speed.row import Row, limit
from benchmarks.speed.screen import screen

PART = "generate"
# of the sparse layer that is written
MOST_MEMORY = 1.5
# how many times as fast two workers are to be
TWO_WORKERS = 1.7


def measure(n_cells: int = 10_000, n_genes: int = 2000, n_conditions: int = 70, *, n_steps: int = 100) -> list[Row]:
    """Cells a second of one thread, memory beside the layer, and seconds by the clock of one worker and of two."""
    adata = screen(n_cells, n_genes, n_conditions)
    spr.tl.fit_generator(adata, n_steps=n_steps, device="cpu", progress=False)
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "fitted.h5ad")
        adata.write_h5ad(path)
        found = in_subprocess("benchmarks.speed.generation", path=path)
    size = f"{n_cells:,} x {n_genes:,} x {n_conditions}"
    most = MOST_MEMORY * found["layer"]
    faster = found["one"] / found["two"]
    return [
        Row(PART, f"tl.generate, {size}", found["cells"] / found["cpu"], "cells/s"),
        limit(PART, "memory that it adds", found["extra"], "MB", most=most, what=f"{MOST_MEMORY} layers,"),
        Row(PART, "two workers", found["two"], "s by the clock", f"one worker, {found['one']:.2f} s", faster, TWO_WORKERS, within_run=False),
    ]  # fmt: skip


def main(options: dict[str, Any], *, repeats: int = 3) -> None:
    """Generate for the AnnData at ``path`` and print what it took as JSON."""
    torch.set_num_threads(1)
    adata = ad.read_h5ad(options["path"])
    # what is imported and compiled only then
    small = screen(1500, 300, 10)
    spr.tl.fit_generator(small, n_steps=5, device="cpu", progress=False)
    spr.tl.generate(small, device="cpu")
    # buffers that libraries of linear algebra take once and keep are not those of this verb
    spr.tl.generate(adata, device="cpu")
    del adata.layers["generator"], adata.obsm["X_pca_generator"]
    with peak() as memory:
        spr.tl.generate(adata, device="cpu")
    layer = adata.layers["generator"]
    size = sum(part.nbytes for part in (layer.data, layer.indices, layer.indptr)) / 2**20
    cpu, one, two = (math.inf,) * 3
    for _ in range(repeats):
        # in turn, because other programs come and go
        started, clock = time.process_time(), time.perf_counter()
        spr.tl.generate(adata, device="cpu")
        cpu, one = min(cpu, time.process_time() - started), min(one, time.perf_counter() - clock)
        sc.settings.n_jobs = 2
        clock = time.perf_counter()
        spr.tl.generate(adata, device="cpu")
        two = min(two, time.perf_counter() - clock)
        sc.settings.n_jobs = 1
    cells = int((adata.obs["perturbation"] != "control").sum())
    print(json.dumps({"cells": cells, "cpu": cpu, "one": one, "two": two, "extra": memory.extra, "layer": size}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
