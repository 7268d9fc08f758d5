"""Give latent cells their counts, some cells at a time, so that arrays over genes stay in the caches of a processor."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

import torch

from scperturbrl.flow.observation.carry import is_hashed

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.control_cells import ControlCells
    from scperturbrl.flow.generator import Generator

# number of cells that have their rates and counts at a time on the CPU
AT_ONCE = 128


@torch.no_grad()
def counted_cells(
    generator: Generator,
    latent: Tensor,
    control: ControlCells,
    unit: Tensor,
    conditions: ConditionBatch,
    index: Tensor,
    rng: torch.Generator,
    *,
    refuse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-normalised cells ``(n, G)`` and their counts; see :meth:`Generator.sample_cells`.

    Raises
    ------
    FloatingPointError
        If `refuse` and a rate is not finite.
    """
    n, state = len(latent), rng.get_state()
    cells = latent.new_empty(n, generator.architecture.n_genes)
    counts = torch.empty_like(cells)
    at_once = AT_ONCE if is_hashed(latent) else max(n, 1)
    for first in range(0, n, at_once):
        # the counts have their own places among the random numbers, so those of a part are those of the whole
        rng.set_state(state)
        rows = slice(first, first + at_once)
        some = control.each(itemgetter(rows))
        log_rate = generator.cell_log_rate(latent[rows], some, conditions, index[rows])
        # one number that is not finite makes the sum so
        if refuse and not torch.isfinite(log_rate.sum()):
            msg = "The generator gives rates that are not finite: its weights are damaged, or a dose is far beyond those it was fitted to."
            raise FloatingPointError(msg)
        measured = generator.measured(some, first)
        cells[rows], counts[rows] = generator.observation.sample(log_rate, unit[rows], rng, control=measured)
    return cells, counts
