"""Fitting, post-training and generation: time by part, and accuracy per function evaluation."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import scperturbrl as spr
from benchmarks.simulated import load
from benchmarks.speed.row import Row, compare, limit, seconds
from scperturbrl._core import keys
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.generator.task import build_task
from scperturbrl.flow.observation.base import Observation
from scperturbrl.flow.observation.nb import NegativeBinomialObservation
from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.flow.training import fit
from scperturbrl.flow.training.fit import FitSettings
from scperturbrl.flow.velocity.base import Velocity
from scperturbrl.flow.velocity.transformer import VelocityTransformer
from scperturbrl.rl.finetuner import FinetuneSettings
from scperturbrl.verifiers import Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from scperturbrl.flow.generator import Generator

PART = "training"
# seconds of a step of scDFM's repository at width 128, four blocks, 1,000 genes and batch 4, on one CPU thread of another machine
SCDFM_STEP = 13.0
SOLVERS = [("euler", n) for n in (1, 2, 5, 10, 20, 40)] + [("midpoint", n) for n in (1, 2, 3, 5, 10)]
EVALUATIONS = {"euler": 1, "midpoint": 2}
_PARTS: dict[str, list[tuple[Any, str]]] = {
    "network": [(Velocity, "forward"), (torch.Tensor, "backward")],
    "counts": [(NegativeBinomialObservation, "sample"), (Observation, "log_rate")],
    "verifiers": [(Verifier, "__call__")],
}


@contextmanager
def shares() -> Iterator[dict[str, float]]:
    """CPU seconds spent in the parts of the model, and in ``all``; the network is the velocity and every backward pass."""
    spent: dict[str, float] = defaultdict(float)
    kept = [(owner, name, getattr(owner, name)) for wanted in _PARTS.values() for owner, name in wanted]
    for part, wanted in _PARTS.items():
        for owner, name in wanted:
            setattr(owner, name, _timed(getattr(owner, name), spent, part))
    started = time.process_time()
    try:
        yield spent
    finally:
        spent["all"] = time.process_time() - started
        for owner, name, original in kept:
            setattr(owner, name, original)


def _timed(function: Any, spent: dict[str, float], part: str) -> Any:
    def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[part] += time.process_time() - started

    return timed


def measure(adata: AnnData, *, n_steps: int = 300, n_iterations: int = 10, repeats: int = 3) -> list[Row]:
    """Rows of fitting, post-training and generation; writes ``uns["generator"]``."""
    spr.pp.reference(adata)
    before, per_step = fit_costs(adata, n_steps)
    generator = read_generator(adata, "generator").generator
    bare = _bare_step(generator, repeats=repeats)
    rows = [
        Row(PART, "fit, before the first step", before, "s"),
        Row(
            PART,
            "fit, steps",
            1 / per_step,
            "steps/s",
            f"the bare network, {1 / bare:,.0f} steps/s",
            bare / per_step,
            0.6,
        ),
        Row(PART, "fit, cells", 256 / per_step, "cells/s"),
    ]
    return rows + _post_training(adata, n_iterations, per_step) + _generation(adata, generator, repeats)


def fit_costs(adata: AnnData, n_steps: int) -> tuple[float, float]:
    """CPU seconds before the first step, and the median per step."""
    original, began, spent = fit._training_step, list[float](), list[float]()

    def timed(*args: Any) -> float:
        began.append(time.process_time())
        loss = original(*args)
        spent.append(time.process_time() - began[-1])
        return loss

    fit._training_step = timed
    started = time.process_time()
    try:
        spr.tl.fit_generator(adata, n_steps=n_steps, progress=False)
    finally:
        fit._training_step = original
    return began[0] - started, max(median(spent), 1e-9)


def _bare_step(generator: Generator, *, batch: int = 256, repeats: int = 3) -> float:
    """CPU seconds of one step of the same velocity and nothing else: forward, backward, AdamW."""
    velocity, a = generator.velocity.train(), generator.architecture
    optimiser = torch.optim.AdamW(velocity.parameters())
    x, control = torch.randn(2, batch, a.n_latent)
    code, total = torch.randn(2, batch, a.width)
    t = torch.rand(batch)

    def steps() -> None:
        for _ in range(20):
            optimiser.zero_grad()
            velocity(x, t, control, code, total).square().mean().backward()
            optimiser.step()

    weights = {name: value.clone() for name, value in velocity.state_dict().items()}
    found = seconds(steps, repeats=repeats) / 20
    velocity.load_state_dict(weights)
    velocity.eval()
    return found


def transformer_row(*, n_genes: int = 1000, width: int = 128, n_blocks: int = 4, batch: int = 4) -> Row:
    """One training step of the transformer, beside what scDFM's own took at that width and batch."""
    torch.manual_seed(0)
    velocity = VelocityTransformer(n_genes, width, n_blocks)
    optimiser = torch.optim.AdamW(velocity.parameters())
    x, code, t = torch.randn(batch, n_genes), torch.randn(batch, width), torch.rand(batch)

    def step() -> None:
        optimiser.zero_grad()
        velocity(x, t, x, code, code).square().mean().backward()
        optimiser.step()

    spent, theirs = seconds(step), SCDFM_STEP
    name = f"transformer {width} x {n_blocks}, {n_genes} genes, batch {batch}, step"
    return Row(PART, name, spent, "s", f"scDFM, {theirs:g} s", theirs / spent, 2.0, within_run=False)


def _post_training(adata: AnnData, n_iterations: int, per_step: float) -> list[Row]:
    spent: dict[str, float]
    # everything that is imported only then
    spr.tl.rl_finetune(adata, n_iterations=1)
    with shares() as spent:
        spr.tl.rl_finetune(adata, n_iterations=n_iterations)
    name = "post-training"
    share = spent["network"] / spent["all"]
    rounds = FinetuneSettings().n_iterations
    default = rounds * spent["all"] / n_iterations
    steps = FitSettings().n_steps
    fitting = steps * per_step
    return [
        Row(PART, f"{name}, share in the network", share, "of all", "goal .8 of all", share / 0.8, 1.0),
        Row(PART, f"{name}, share in drawing counts", spent["counts"] / spent["all"], "of all"),
        Row(PART, f"{name}, share in the verifiers", spent["verifiers"] / spent["all"], "of all"),
        Row(
            PART,
            f"{name}, {rounds} iterations",
            default,
            "s",
            f"half of {steps:,} steps of fitting, {fitting / 2:.1f} s",
            fitting / 2 / default,
            1.0,
            within_run=False,
        ),
    ]


def _generation(adata: AnnData, generator: Generator, repeats: int) -> list[Row]:
    n = 512
    control = torch.zeros(n, generator.architecture.n_latent)
    stored = read_generator(adata, "generator")
    cells = Cells.of(adata)
    batch = stored.vocabulary.batch(cells.table)
    index = torch.arange(n) % len(batch)

    def draw(solver: str, steps: int) -> None:
        object.__setattr__(generator.architecture, "solver", solver)
        object.__setattr__(generator.architecture, "solver_steps", steps)
        with torch.no_grad():
            generator.sample_latent(control, batch, index, torch.Generator().manual_seed(0))

    mine, euler = compare(lambda: draw("midpoint", 5), lambda: draw("euler", 20), repeats=repeats)
    whole = seconds(lambda: spr.tl.generate(adata), repeats=1)
    perturbed = int((adata.obs["perturbation"] != "control").sum())
    return [
        Row(
            PART,
            "latent cells, midpoint 5",
            n / mine,
            "cells/s",
            f"Euler 20, {n / euler:,.0f} cells/s",
            euler / mine,
            1.7,
        ),
        Row(PART, "tl.generate", perturbed / whole, "cells/s"),
    ]


def solver_curve(*, seed: int = 0) -> list[dict[str, Any]]:
    """Function evaluations and energy distance to training cells, as a share of their effect, of a generator fitted to the simulator."""
    adata, _ = load({}, seed, Path())
    spr.tl.fit_generator(adata, seed=seed, progress=False)
    stored, cells = read_generator(adata, "generator"), Cells.of(adata)
    names = cells.conditions(keys.TRAIN, min_cells=10)
    yardstick = Yardstick(build_task(stored, cells, names, keys.TRAIN, seed=seed))
    generator, found = stored.generator, []
    for solver, steps in SOLVERS:
        object.__setattr__(generator.architecture, "solver", solver)
        object.__setattr__(generator.architecture, "solver_steps", steps)
        distance = np.mean([yardstick.measure(generator, seed=seed + i) for i in range(3)])
        found.append(
            {"solver": solver, "steps": steps, "evaluations": steps * EVALUATIONS[solver], "distance": distance}
        )
    return found


def evaluation_row(curve: list[dict[str, Any]]) -> Row:
    """How many times fewer evaluations midpoint needs for the distance of Euler 20."""
    of = {(point["solver"], point["steps"]): point for point in curve}
    euler = of["euler", 20]
    # within what the noise of the distance allows: a hundredth of the effect
    enough = [p for p in curve if p["solver"] == "midpoint" and p["distance"] <= euler["distance"] + 0.01]
    fewest = min((p["evaluations"] for p in enough), default=np.nan)
    return Row(
        PART,
        "evaluations of midpoint for the energy distance of Euler 20",
        fewest,
        "evaluations",
        "Euler 20",
        20 / fewest,
        2,
    )


def memory_rows(found: dict[str, float], *, dense: float) -> list[Row]:
    """Peak memory of fit and generate in a process of their own, and what scoring adds to it beside `dense` MB for all of ``X``."""
    most = limit("memory", "fit and generate, 10,000 x 2,000", found["peak"], "MB", most=1024)
    extra, reference = found["extra"], f"all of X made dense, {dense:.0f} MB"
    scoring = Row("memory", "tl.score, 40,000 sparse cells", extra, "MB", reference, dense / extra, 2, within_run=False)
    return [most, Row("memory", "importing alone", found["imported"], "MB"), scoring]
