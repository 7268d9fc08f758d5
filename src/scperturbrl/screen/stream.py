"""Predictions of the linear model for all candidates, some thousand at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl.screen.line import BASELINES
from scperturbrl.screen.objectives import Effects
from scperturbrl.screen.ranking import nearest_measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scperturbrl.screen.conditions import Conditions, Ground
    from scperturbrl.screen.line import Line
    from scperturbrl.screen.objectives import Objective

# number of values of an effect matrix in memory; there are about six such matrices
_VALUES = 8_000_000


class Predicted(NamedTuple):
    """Predictions for n candidates.

    Attributes
    ----------
    values
        ``(n, 1 + T)`` objective, and its terms; NaN where a part is unknown.
    baselines
        Objective ``(n,)`` of each simple rule, NaN where it does not apply.
    nearest
        ``(n, 3)`` indices of the nearest training conditions.
    known
        ``(n,)`` whether every part is known.
    """

    values: np.ndarray
    baselines: dict[str, np.ndarray]
    nearest: np.ndarray
    known: np.ndarray


def predict_all(line: Line, conditions: Conditions, objective: Objective) -> Predicted:
    """Values of all `conditions`; at most some hundred MB of effects are in memory."""
    n, measured = len(conditions), line.measured
    values = np.full((n, 1 + len(objective.terms)), np.nan)
    baselines = {name: np.full(n, np.nan) for name in BASELINES}
    nearest = np.zeros((n, min(3, len(measured))), dtype=int)
    every = np.zeros(n, dtype=bool)
    for rows in blocks(conditions, line.ground):
        own = conditions.select(rows)
        effects, known = line.predict(own)
        every[rows] = known
        nearest[rows] = nearest_measured(own, effects, measured)
        values[rows] = _valued(objective, line.ground, own, effects, known, line.sums(own))
        additive = line.measured_sums(own)
        for name in BASELINES:
            found, told = line.baseline(name, own)
            baselines[name][rows] = _valued(objective, line.ground, own, found, told, additive)[:, 0]
    return Predicted(values, baselines, nearest, every)


def values_of(
    objective: Objective, line: Line, conditions: Conditions, effects: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """Value ``(n, 1 + T)`` of predicted `effects` ``(n, G)`` of `conditions`, NaN where they are not `known`."""
    found = np.full((len(conditions), 1 + len(objective.terms)), np.nan)
    told = np.ones(len(conditions), dtype=bool) if known is None else known
    for rows in blocks(conditions, line.ground):
        own = conditions.select(rows)
        found[rows] = _valued(objective, line.ground, own, effects[rows], told[rows], line.sums(own))
    return found


def measured_values(objective: Objective, line: Line) -> np.ndarray:
    """Value ``(C, 1 + T)`` of the measured effects of the training conditions."""
    measured, ground = line.measured, line.ground
    found = np.full((len(measured), 1 + len(objective.terms)), np.nan)
    for rows in blocks(measured.conditions, ground):
        own, noise = measured.conditions.select(rows), measured.noise[rows]
        group = int(own.group[0])
        departure = noise - ground.control_noise[group] + line.noise_of_sums(own)
        effects = measured.effects[rows]
        found[rows] = objective.of_effects(
            Effects(effects, group, ground.controls[group], line.measured_sums(own), noise, departure)
        )
    return found


def blocks(conditions: Conditions, ground: Ground) -> Iterator[np.ndarray]:
    """Indices of some thousand conditions of one context at a time."""
    size = max(_VALUES // ground.controls.shape[1], 1)
    for group in np.unique(conditions.group):
        rows = np.flatnonzero(conditions.group == group)
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


def _valued(
    objective: Objective,
    ground: Ground,
    conditions: Conditions,
    effects: np.ndarray,
    known: np.ndarray,
    additive: np.ndarray,
) -> np.ndarray:
    group = int(conditions.group[0])
    own = Effects(effects[known], group, ground.controls[group], additive[known])
    found = np.full((len(conditions), 1 + len(objective.terms)), np.nan)
    if known.any():
        found[known] = objective.of_effects(own)
    return found
