"""Values of the best candidates, computed from cells of the generator."""

from __future__ import annotations

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
    from scperturbrl.data.screen.known import Known
    from scperturbrl.data.screen.population import EnergyFall
    from scperturbrl.screen.line import Line
    from scperturbrl.screen.objectives import Objective


def refine(
    adata: AnnData,
    cells: Cells,
    known: Known,
    line: Line,
    table: pd.DataFrame,
    rows: np.ndarray,
    objective: Objective,
    fall: EnergyFall | None = None,
    *,
    key: str | None,
    n_cells: int,
    device: str | torch.device,
    seed: int,
) -> Refined:
    """Generate `n_cells` cells of each candidate at `rows` of `table`, one candidate after the other, and compute their values.

    An effect is the difference from the mean of the control cells that the generated ones started from. No cells are generated if there
    is no generator and none was requested.
    """
    name = default_key(adata, key)
    if not len(rows) or (key is None and not is_generator(adata, name)):
        return Refined(np.zeros(0, dtype=int), np.zeros((0, 1 + len(objective.terms))), np.zeros(0), np.zeros(0), "")
    stored = read_generator(adata, name)
    usable = np.array([all(map(stored.vocabulary.known, table["parts"].iloc[row])) for row in rows], dtype=bool)
    rows = rows[usable]
    warn_leaked(name, stored, cells.split_of(), table.index[rows])
    conditions = known.encode(table.iloc[rows])
    additive = line.sums(conditions)
    values, spread = np.full((len(rows), 1 + len(objective.terms)), np.nan), np.full(len(rows), np.nan)
    falls = np.full(len(rows), np.nan)
    for i, row in enumerate(rows):
        one = table.iloc[[row]]
        controls = draw_controls(cells, one["group"].tolist() * n_cells, None, seed=seed)
        made = generate_cells(
            stored,
            cells,
            one,
            np.zeros(n_cells, dtype=int),
            controls,
            library_size="control",
            seed=seed,
            device=resolve_device(device),
        )
        block, source = dense(made), cells.block(controls)
        # a generated cell shares the noise of the control cell that it started from
        paired = ((block - source).var(0, ddof=1) - block.var(0, ddof=1)).mean() / n_cells if n_cells > 1 else 0.0
        own = Effects(block[:1], int(conditions.group[i]), source.mean(0), additive[i : i + 1], paired, paired)
        values[i] = objective.of_population(block, own)
        spread[i] = spread_of(objective.of_cells(block, own)[:, 0])
        if fall is not None:
            falls[i] = fall(block, own.group)
    log.note(f"generated cells of {len(rows)} candidates by {name!r}")
    return Refined(rows, values, spread, falls, name)
