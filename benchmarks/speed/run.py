"""``python -m benchmarks speed``: measure the parts, write the results; ``--smoke`` checks ratios in under a minute."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pandas as pd
import torch

from benchmarks.speed import (
    anytime,
    candidates,
    cellflow,
    counts,
    floor,
    generation,
    gpu,
    growth,
    many,
    report,
    scoring,
    training,
)
from benchmarks.speed.memory import in_subprocess
from benchmarks.speed.screen import screen
from scperturbrl._core.machine.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.speed.row import Row

PARTS = (
    "scoring",
    "many",
    "counts",
    "training",
    "generate",
    "witness",
    "memory",
    "anytime",
    "growth",
    "cellflow",
    "gpu",
    "candidates",
)
_STEPS_FOR_MEMORY = 200


def run(out: Path, parts: Sequence[str] = PARTS, *, largest: int | None = None) -> str:
    """Measure `parts` on one CPU thread and write ``<part>.csv`` and pictures into `out`; returns the report.

    Parts measured before are read from there, so they can be measured one at a time.
    """
    out.mkdir(parents=True, exist_ok=True)
    with one_thread(torch.device("cpu")):
        for part in parts:
            rows = _MEASURE[part](out) if part != "growth" else _growth(out, largest)
            if rows:
                # no rows if the device is missing; measurements of another machine are kept
                report.table(rows).to_csv(out / f"{part}.csv", index=False)
    found = [pd.read_csv(out / f"{part}.csv", keep_default_na=True) for part in PARTS if (out / f"{part}.csv").exists()]
    frame = pd.concat(found, ignore_index=True)
    # columns without text are read as numbers
    texts = dict.fromkeys(("ok", "reference", "unit"), object)
    frame = frame.astype(texts).fillna(dict.fromkeys(texts, ""))
    text = f"{report.markdown(frame)}\n\n{report.markdown_floor(floor.table())}\n\nMeasured on {report.device()}.\n"
    (out / "report.md").write_text(text, encoding="utf-8")
    return text


def _scoring(out: Path) -> list[Row]:
    del out
    adata = screen(10_000, 2000, 70)
    return [*scoring.measure(adata), scoring.energy_row(adata)]


def _many(out: Path) -> list[Row]:
    del out
    return many.measure()


def _counts(out: Path) -> list[Row]:
    del out
    return counts.measure()


def _training(out: Path) -> list[Row]:
    adata = screen(10_000, 2000, 70)
    rows = training.measure(adata)
    curve = training.solver_curve()
    pd.DataFrame(curve).to_csv(out / "solvers.csv", index=False)
    report.solver_picture(pd.DataFrame(curve), out / "solvers.png")
    return [*rows, training.evaluation_row(curve), training.transformer_row()]


def _generate(out: Path) -> list[Row]:
    del out
    return generation.measure()


def _witness(out: Path) -> list[Row]:
    del out
    return [scoring.witness_memory()]


def _memory(out: Path) -> list[Row]:
    del out
    options = {"n_cells": 10_000, "n_genes": 2000, "n_conditions": 70, "n_steps": _STEPS_FOR_MEMORY}
    fit = in_subprocess("benchmarks.speed.footprint", what="fit", **options)
    # more cells, so that what any number of them takes matters less
    options["n_cells"] *= 4
    score = in_subprocess("benchmarks.speed.footprint", what="score", **options)
    return training.memory_rows({**fit, **score}, dense=4 * options["n_cells"] * options["n_genes"] / 2**20)


def _cellflow(out: Path) -> list[Row]:
    del out
    return cellflow.measure(screen(3000, 500, 30))


def _gpu(out: Path) -> list[Row]:
    del out
    return gpu.measure()


def _candidates(out: Path) -> list[Row]:
    del out
    return candidates.measure()


def _anytime(out: Path) -> list[Row]:
    table = anytime.curve()
    table.to_csv(out / "anytime_curve.csv", index=False)
    return anytime.rows(table)


def _growth(out: Path, largest: int | None) -> list[Row]:
    table = growth.measure(largest=largest)
    table.to_csv(out / "growth_sizes.csv", index=False)
    report.growth_picture(table, growth.exponents(table), out / "growth.png")
    return growth.rows(table)


_MEASURE = {
    "scoring": _scoring,
    "many": _many,
    "counts": _counts,
    "training": _training,
    "generate": _generate,
    "witness": _witness,
    "memory": _memory,
    "anytime": _anytime,
    "cellflow": _cellflow,
    "gpu": _gpu,
    "candidates": _candidates,
}


def smoke() -> list[Row]:
    """Rows of a small run: the same ratios on fewer cells."""
    started = time.perf_counter()
    with one_thread(torch.device("cpu")):
        rows = [row for part in _SMOKE for row in _again_if_low(part)]
    print(f"{time.perf_counter() - started:.0f} s")
    return rows


def _again_if_low(measure: Callable[[], list[Row]]) -> list[Row]:
    """Rows of a part; a part with a low ratio is measured once more, to rule out a temporary disturbance."""
    rows = measure()
    if not any(row.below_half() for row in rows):
        return rows
    return [second if first.below_half() else first for first, second in zip(rows, measure(), strict=True)]


_SMOKE: tuple[Callable[[], list[Row]], ...] = (
    lambda: scoring.measure(screen(1500, 2000, 10), n_loop=100, repeats=7),
    # pertpy's matrix of all cells must be what costs, as in a real screen, not the call
    lambda: [scoring.energy_row(screen(6000, 100, 40))],
    lambda: [many.observed_row(1200, 1000, 30)],
    lambda: counts.measure(means=(0.6,)),
    lambda: training.measure(screen(1500, 300, 10), n_steps=100, n_iterations=2),
)


def check(rows: Sequence[Row]) -> int:
    """Exit status of the smoke run: 1, with a message, if a ratio of the run is below half of the stated one."""
    bad = [row for row in rows if row.below_half()]
    for row in bad:
        print(
            f"{row.part}, {row.stage}: {row.ratio:.3g} times {row.reference}, below half of the stated {row.stated:g}"
        )
    return int(bool(bad))
