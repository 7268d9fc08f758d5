"""Many conditions: time of functions that used to grow faster than linearly, and scoring against observed cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scperturbrl as spr
from benchmarks.clock import stopwatch
from benchmarks.speed.row import Row, compare, limit
from benchmarks.speed.screen import screen

if TYPE_CHECKING:
    from collections.abc import Callable

N_EVALUATED = 10
MOST_SECONDS = 30.0
# CPU time of scoring against observed cells, as a multiple of that against training references
MOST_TIMES = 1.5


def measure(
    n_cells: int = 42_000,
    n_genes: int = 2000,
    n_conditions: int = 2000,
    *,
    small: tuple[int, int, int] = (2400, 2000, 60),
) -> list[Row]:
    """CPU seconds of each verb on a screen with many conditions, and the price of observed references on a `small` one."""
    adata = screen(n_cells, n_genes, n_conditions)
    held_out = sorted(adata.obs.loc[adata.obs["split"] == "test", "perturbation"].unique())[:N_EVALUATED]
    verbs: dict[str, Callable[[], object]] = {
        "pp.reference": lambda: spr.pp.reference(adata),
        f"tl.evaluate of {len(held_out)}": lambda: spr.tl.evaluate(adata, keys=[], conditions=held_out),
        "tl.score": lambda: spr.tl.score(adata),
    }
    rows = []
    for name, verb in verbs.items():
        with stopwatch() as watch:
            verb()
        rows.append(limit("many", f"{name}, {n_conditions:,} conditions", watch.seconds, "s", most=MOST_SECONDS))
    return [*rows, observed_row(*small)]


def observed_row(n_cells: int, n_genes: int, n_conditions: int) -> Row:
    """Scoring against observed cells, compared with scoring against training references."""
    adata = screen(n_cells, n_genes, n_conditions)
    spr.pp.reference(adata)
    observed, training = compare(lambda: spr.tl.score(adata, reference="observed"), lambda: spr.tl.score(adata))
    what = f"tl.score against observed cells, {n_cells:,} cells, {n_conditions} conditions"
    reference = f"against training references, {training:.2f} s"
    return Row("many", what, observed, "s", reference, training / observed, 1 / MOST_TIMES)
