"""Values of an objective for the training cells of measured conditions, with their uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.data.screen.known import training_rows
from scperturbrl.screen.objectives import Effects
from scperturbrl.screen.ranking import spread_of
from scperturbrl.screen.table import RealValues

if TYPE_CHECKING:
    from scperturbrl.data.screen.known import Known
    from scperturbrl.data.screen.population import EnergyFall
    from scperturbrl.screen.line import Line
    from scperturbrl.screen.objectives import Objective

N_PARTS, MOST_CELLS = 10, 4096


def real_values(known: Known, line: Line, objective: Objective, fall: EnergyFall | None = None) -> RealValues:
    """Values of all training conditions, computed from their cells."""
    measured, ground = known.measured, known.ground
    n = len(measured)
    values, spread, error = np.full((n, 1 + len(objective.terms)), np.nan), np.full(n, np.nan), np.full(n, np.nan)
    falls = np.full(n, np.nan)
    additive, departure = line.measured_sums(measured.conditions), line.noise_of_sums(measured.conditions)
    for i, rows in enumerate(training_rows(known.cells, measured.names.tolist())):
        group = int(measured.conditions.group[i])
        block = known.cells.block(rows[:MOST_CELLS])
        noise = ground.control_noise[group]
        own = Effects(block[:1], group, ground.controls[group], additive[i : i + 1], noise, departure[i])
        values[i] = objective.of_population(block, own)
        spread[i] = spread_of(objective.of_cells(block, own)[:, 0])
        error[i] = _jackknife(objective, block, own)
        if fall is not None:
            falls[i] = fall(block, group)
    return RealValues(values, spread, error, falls)


def _jackknife(objective: Objective, block: np.ndarray, own: Effects) -> float:
    n = min(N_PARTS, len(block))
    if n < 2:
        return float("nan")
    parts = np.arange(len(block)) % n
    found = np.array([objective.of_population(block[parts != part], own)[0] for part in range(n)])
    return float(np.sqrt((n - 1) / n * np.square(found - found.mean()).sum()))
