"""Generate many cells in blocks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.machine.memory import BatchSize
from scperturbrl._core.machine.threads import stream_in_threads
from scperturbrl._core.random import torch_rng
from scperturbrl.flow.counted_cells import counted_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.control_cells import ControlCells
    from scperturbrl.flow.generator import Generator

# cells are drawn in blocks of this size, each with its own random stream, so results do not depend on memory settings
BLOCK = 512
# fewer conditions than this are encoded together with others, because libraries round products of few rows differently
_LEAST = 8


@torch.no_grad()
def generated_blocks(
    generator: Generator,
    control: Callable[[Tensor], ControlCells],
    unit: Tensor,
    conditions: ConditionBatch,
    index: Tensor,
    *,
    seed: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Generate cells, 512 at a time; see :meth:`Generator.generate`.

    Parameters
    ----------
    generator
        Generator.
    control
        Function from indices of cells to their control cells.
    unit
        ``(n,)`` normalised value of one count in each cell to generate.
    conditions, index
        Conditions, and ``(n,)`` the condition of each cell.
    seed
        Seed.

    Yields
    ------
    Log-normalised cells and their counts, on the CPU.
    """

    def block(number: int, wanted: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
        # padded to whole blocks, because random numbers depend on the size of a draw
        rows = torch.cat([wanted, wanted.new_zeros(BLOCK - len(wanted))])
        parts = rows.split(size)
        drawn = []
        for part, own in enumerate(parts):
            numbers = (number,) if len(parts) == 1 else (number, part)
            rng = torch_rng(seed, "generated block", *numbers, device=generator.device)
            drawn.append(draw_block(generator, control(own), unit[own], *_used(conditions, index[own]), rng))
        return drawn

    batch = BatchSize(BLOCK, "generated cells")

    def work(numbered: tuple[int, Tensor]) -> tuple[Tensor, Tensor]:
        number, wanted = numbered
        drawn = batch(partial(block, number, wanted))
        cells, counts = drawn[0] if len(drawn) == 1 else (torch.cat(parts) for parts in zip(*drawn, strict=True))
        return cells[: len(wanted)], counts[: len(wanted)]

    # on another device, blocks run one after another anyway
    each = stream_in_threads if generator.device.type == "cpu" else map
    # no name here holds a block while the next one is made
    yield from each(work, enumerate(torch.arange(len(unit)).split(BLOCK)))


def _used(conditions: ConditionBatch, index: Tensor) -> tuple[ConditionBatch, Tensor]:
    """The conditions of the cells at `index` ``(n,)``, because a screen has thousands, and the place ``(n,)`` of each cell's among them."""
    if len(conditions) <= _LEAST:
        return conditions, index
    used, own = index.unique(return_inverse=True)
    filled = torch.cat([used, used[:1].expand(max(_LEAST - len(used), 0))])
    return conditions.select(filled.to(conditions.tokens.device)), own


def draw_block(
    generator: Generator,
    control: ControlCells,
    unit: Tensor,
    conditions: ConditionBatch,
    index: Tensor,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """One block of log-normalised cells and their counts, on the CPU."""
    own = index.to(generator.device)
    latent = generator.sample_latent(control.latent, conditions, own, rng)
    found = counted_cells(generator, latent, control, unit.to(generator.device), conditions, own, rng, refuse=True)
    return found[0].cpu(), found[1].cpu()
