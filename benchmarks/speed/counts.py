"""Counts carried over from control cells: the compiled loop, compared with gamma and Poisson numbers of torch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.speed.row import Row, compare
from scperturbrl.flow.observation.carry import ControlCounts, carried_alone, carry_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MEANS = (0.3, 0.6, 3.0, 30.0)
# ratio to torch's numbers that the documentation states
STATED = {0.6: 4.0}


def measure(n_cells: int = 512, n_genes: int = 2000, *, means: Sequence[float] = MEANS) -> list[Row]:
    """Cells a second at each mean count; rates are uneven between genes and move by half of their log in each cell."""
    rows = []
    for mean in means:
        block = _block(n_cells, n_genes, mean)
        ours, torchs = compare(partial(_draw, carried_alone, *block), partial(_draw, carry_counts, *block))
        reference = f"gamma and Poisson numbers, {n_cells / torchs:,.0f} cells/s"
        what = f"counts of {n_genes:,} genes, mean {mean:g}"
        rows.append(
            Row("counts", what, n_cells / ours, "cells/s", reference, torchs / ours, STATED.get(mean, float("nan")))
        )
    return rows


def _draw(draw: Callable[..., Any], control: ControlCounts, mean: torch.Tensor, theta: torch.Tensor) -> Any:
    return draw(control, mean, theta, torch.Generator().manual_seed(0))


def _block(n_cells: int, n_genes: int, mean: float) -> tuple[ControlCounts, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    normal = lambda *shape: torch.randn(*shape, generator=rng)
    # log-normal with the wanted mean
    log_mean = torch.log(torch.tensor(mean)) + normal(n_genes) - 0.5 + 0.2 * normal(n_cells, n_genes)
    theta = torch.full((n_genes,), 5.0)
    factor = torch._standard_gamma(theta.expand(n_cells, n_genes).contiguous(), generator=rng) / theta
    counts = torch.poisson(log_mean.exp() * factor, generator=rng)
    return ControlCounts(counts, log_mean), torch.exp(log_mean + 0.5 * normal(n_cells, n_genes)), theta
