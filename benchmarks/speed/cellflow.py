"""CellFlow at equal parameters in the same process: steps of training, and cells generated from one checkpoint each.

Runs only where ``cellflow`` can be imported (``pip install cellflow-tools requests``; it pins old versions of scikit-learn and
scipy, so use a separate environment).
"""

from __future__ import annotations

import math
import os
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from benchmarks.adapters.cellflow import CellFlowAdapter
from benchmarks.speed.row import Row, compare, seconds
from benchmarks.speed.training import fit_costs
from scperturbrl._core import keys
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator.stored import read_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from scperturbrl.flow.generator import Generator

PART = "cellflow"
MISSING = "CellFlow is not installed"
_XLA = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
_BATCH, _WIDTHS = 256, range(64, 513, 8)


def measure(adata: AnnData, *, n_steps: int = 300, n_cells: int = 256, repeats: int = 3) -> list[Row]:
    """Rows of training and generation compared with CellFlow; one row that says so if it is not installed."""
    if find_spec("cellflow") is None:
        return [Row(PART, MISSING, math.nan, "")]
    with _one_core():
        _, ours = fit_costs(adata, n_steps)
        generator = read_generator(adata, "generator").generator
        n_own = sum(value.numel() for value in generator.network_parameters())
        adapter, n_their = _of_size(adata, n_own)
        trained = lambda: adapter.model.train(num_iterations=n_steps, batch_size=_BATCH, valid_freq=10 * n_steps)
        theirs = seconds(trained, repeats=1) / n_steps
        sizes = f"CellFlow, {n_their:,} parameters, ours {n_own:,}"
        steps = Row(
            PART, "steps of 256 cells", 1 / ours, "steps/s", f"{sizes}, {1 / theirs:,.0f} steps/s", theirs / ours, 1.2
        )
        return [steps, *_generation(adata, generator, adapter, n_cells, repeats)]


def _generation(adata: AnnData, generator: Generator, adapter: CellFlowAdapter, n: int, repeats: int) -> list[Row]:
    import diffrax

    cells = Cells.of(adata)
    batch = read_generator(adata, "generator").vocabulary.batch(cells.table)
    index = torch.full((n,), int(np.flatnonzero(~cells.table["is_control"])[0]))
    control = torch.randn(n, generator.architecture.n_latent, generator=torch.Generator().manual_seed(0))
    source = np.asarray(control)
    condition = {name: values[:1] for name, values in adapter.model.train_data.condition_data.items()}

    def ours(solver: str, n_steps: int) -> None:
        object.__setattr__(generator.architecture, "solver", solver)
        object.__setattr__(generator.architecture, "solver_steps", n_steps)
        with torch.no_grad():
            generator.sample_latent(control, batch, index, torch.Generator().manual_seed(0))

    def theirs(**solver: Any) -> None:
        adapter.model.solver.predict(source, condition, **solver)

    euler = {"solver": diffrax.Euler(), "dt0": 0.05, "stepsize_controller": diffrax.ConstantStepSize()}
    mine, default = compare(lambda: ours("midpoint", 5), theirs, repeats=1)
    own_euler, their_euler = compare(lambda: ours("euler", 20), lambda: theirs(**euler), repeats=repeats)
    return [
        Row(PART, "latent cells, default of each", n / mine, "cells/s", f"CellFlow's predict, {n / default:,.0f} cells/s", default / mine, 100),
        Row(PART, "latent cells, Euler 20", n / own_euler, "cells/s", f"CellFlow, {n / their_euler:,.0f} cells/s", their_euler / own_euler, 1),
    ]  # fmt: skip


def _of_size(adata: AnnData, n_parameters: int) -> tuple[CellFlowAdapter, int]:
    """CellFlow as the grid runs it, with layers as wide as give it about as many parameters, and their number."""
    train = adata[adata.obs[keys.SPLIT] != keys.TEST].copy()
    train.obs = pd.DataFrame({"scgen_label": train.obs["perturbation"].astype(str), "scgen_context": "all"})
    small, large = (_fitted(train, width)[1] for width in (_WIDTHS[0], _WIDTHS[-1]))
    # a polynomial of degree 2 in the width; its linear term is small
    share = (n_parameters - small) / (large - small)
    width = math.sqrt(_WIDTHS[0] ** 2 + max(share, 0) * (_WIDTHS[-1] ** 2 - _WIDTHS[0] ** 2))
    return _fitted(train, min(_WIDTHS, key=lambda w: abs(w - width)))


def _fitted(train: AnnData, width: int) -> tuple[CellFlowAdapter, int]:
    import jax

    adapter = CellFlowAdapter(num_iterations=2, width=width)
    adapter.fit(train.copy(), seed=0)
    return adapter, sum(int(leaf.size) for leaf in jax.tree.leaves(adapter.model.solver.vf_state.params))


def one_thread_of_jax() -> None:
    """Let JAX compute with one thread; it reads this from the environment when it is imported."""
    if "jax" not in sys.modules:
        os.environ.setdefault("XLA_FLAGS", _XLA)


@contextmanager
def _one_core() -> Iterator[None]:
    """One core, and one thread for JAX."""
    one_thread_of_jax()
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
