"""Values of the best candidates, computed from cells of the generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core import log
from scperturbrl._core.default_key import default_key
from scperturbrl._core.machine.device import resolve_device
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.generator.controls import draw_controls
from scperturbrl.data.generator.generation import generate_cells
from scperturbrl.data.generator.stored import is_generator, read_generator, warn_leaked
from scperturbrl.screen.objectives import Effects
from scperturbrl.screen.ranking import spread_of
from scperturbrl.screen.table import Refined

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.data.screen.known import Known
    from scperturbrl.data.screen.population import EnergyFall
    from scperturbrl.screen.line import Line
    from scperturbrl.screen.table import Screen


@dataclass(frozen=True)
class CandidateCells:
    """Generates `n_cells` cells of one candidate at a time, with the generator `key`."""

    key: str
    stored: StoredGenerator
    cells: Cells
    n_cells: int
    device: torch.device
    seed: int

    @classmethod
    def of(
        cls, adata: AnnData, cells: Cells, key: str | None, *, n_cells: int, device: str | torch.device, seed: int
    ) -> CandidateCells | None:
        """Read the generator; None if there is none and none was requested."""
        name = default_key(adata, key)
        if key is None and not is_generator(adata, name):
            return None
        return cls(name, read_generator(adata, name), cells, n_cells, resolve_device(device), seed)

    def usable(self, table: pd.DataFrame) -> np.ndarray:
        """Mask of the candidates whose perturbations the generator knows; warns of those that it was trained on."""
        mask = np.array([all(map(self.stored.vocabulary.known, parts)) for parts in table["parts"]], dtype=bool)
        warn_leaked(self.key, self.stored, self.cells.split_of(), table.index[mask])
        return mask

    def made(self, one: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Cells ``(n, G)`` of the candidate in a table of one row, and the control cells that they started from."""
        controls = draw_controls(self.cells, one["group"].tolist() * self.n_cells, None, seed=self.seed)
        made = generate_cells(
            self.stored,
            self.cells,
            one,
            np.zeros(self.n_cells, dtype=int),
            controls,
            library_size="control",
            seed=self.seed,
            device=self.device,
        )
        return dense(made), self.cells.block(controls)


def refine(
    screen: Screen, known: Known, line: Line, makes: CandidateCells | None, n: int, fall: EnergyFall | None = None
) -> Refined:
    """Generate cells of the `n` most promising candidates, one after the other, and compute their values.

    An effect is the difference from the mean of the control cells that the generated ones started from.
    """
    objective, rows = screen.objective, screen.promising(n)
    if makes is None or not len(rows):
        return Refined(np.zeros(0, dtype=int), np.zeros((0, 1 + len(objective.terms))), np.zeros(0), np.zeros(0), "")
    rows = rows[makes.usable(screen.candidates.iloc[rows])]
    table = screen.candidates.iloc[rows]
    conditions = known.encode(table)
    additive = line.sums(conditions)
    values, spread = np.full((len(rows), 1 + len(objective.terms)), np.nan), np.full(len(rows), np.nan)
    falls = np.full(len(rows), np.nan)
    for i in range(len(rows)):
        block, source = makes.made(table.iloc[[i]])
        # a generated cell shares the noise of the control cell that it started from
        n_made = len(block)
        paired = ((block - source).var(0, ddof=1) - block.var(0, ddof=1)).mean() / n_made if n_made > 1 else 0.0
        own = Effects(block[:1], int(conditions.group[i]), source.mean(0), additive[i : i + 1], paired, paired)
        values[i] = objective.of_population(block, own)
        spread[i] = spread_of(objective.of_cells(block, own)[:, 0])
        if fall is not None:
            falls[i] = fall(block, own.group)
    log.note(f"generated cells of {len(rows)} candidates by {makes.key!r}")
    return Refined(rows, values, spread, falls, makes.key)
