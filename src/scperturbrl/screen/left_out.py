"""Training conditions that were left out and predicted from the others, by kind of prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.screen.kinds import COMBINATION, CONTEXT, DOSE, PERTURBATION, TRANSFER, UNSEEN_PART, kinds_of
from scperturbrl.screen.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scperturbrl.screen.conditions import Ground, Measured

MOST_FOLDS = 20
# with this many conditions a fit takes seconds, so fewer folds are used
_MANY, _FEWER_FOLDS = 256, 8


@dataclass(frozen=True)
class LeftOut:
    """Predictions of training conditions by linear models fitted without them.

    Attributes
    ----------
    index
        ``(m,)`` indices of the training conditions.
    effects
        ``(m, G)`` predicted effects.
    unit
        ``(m,)`` unit that was left out: one value for each combination, perturbation, context or dose.
    """

    index: np.ndarray
    effects: np.ndarray
    unit: np.ndarray

    @property
    def n_units(self) -> int:
        """Number of independent predictions."""
        return len(np.unique(self.unit))


def leave_out(
    ground: Ground, measured: Measured, kind: str, predict: Callable[[Line, np.ndarray], np.ndarray] | None = None
) -> LeftOut:
    """Predict training conditions as candidates of `kind` are predicted.

    Combinations are left out in all contexts and doses, a perturbation with every condition that it is part of, a
    context with all its perturbed conditions. Only conditions that become of `kind` without their fold are used.

    Parameters
    ----------
    ground, measured
        Perturbations and contexts, and the training conditions.
    kind
        One of :data:`~scperturbrl.screen.kinds.KINDS`.
    predict
        Function of a line fitted to the others and of indices of training conditions. It returns their effects and
        whether they are known; by default, the prediction of the line.
    """
    index, effects, units = [], [np.zeros((0, ground.controls.shape[1]), np.float32)], []
    for unit, gone in _folds(measured, kind):
        rest = np.flatnonzero(~gone)
        # a single condition cannot calibrate others
        if len(rest) < 2:
            continue
        rows = np.flatnonzero(gone)
        own = kinds_of(measured.conditions.select(rows), measured.conditions.select(rest))
        rows = rows[own == kind]
        found, known = _predicted(Line(ground, measured.select(rest)), measured, rows, predict)
        index.append(rows[known])
        effects.append(found[known])
        units.append(unit[rows[known]])
    if not index:
        return LeftOut(np.zeros(0, dtype=int), effects[0], np.zeros(0, dtype=int))
    places, every = np.concatenate(index), np.concatenate(units)
    # a condition that two folds leave out, such as one with two perturbations, counts once
    first = np.sort(np.unique(places, return_index=True)[1])
    return LeftOut(places[first], np.concatenate(effects)[first], every[first])


def _predicted(
    line: Line, measured: Measured, rows: np.ndarray, predict: Callable[[Line, np.ndarray], np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    if predict is None:
        return line.predict(measured.conditions.select(rows))
    found = predict(line, rows)
    return found, np.isfinite(found).all(1)


def _folds(measured: Measured, kind: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Unit of every condition ``(C,)``, and its fold ``(C,)``."""
    conditions, labels = measured.conditions, measured.conditions.labels()
    if kind in (PERTURBATION, UNSEEN_PART):
        for some in _dealt(np.unique(conditions.codes[conditions.codes >= 0]), len(measured)):
            own = np.isin(conditions.codes, some)
            first = np.where(own, conditions.codes, conditions.codes.max() + 1).min(1)
            yield first, np.asarray(own.any(1))
        return
    if kind == CONTEXT:
        unit = conditions.group
    elif kind == COMBINATION:
        unit = _numbered([label if len(label) > 1 else None for label in labels])
    elif kind == TRANSFER:
        unit = _numbered(list(zip(labels, conditions.group.tolist(), strict=True)))
    elif kind == DOSE:
        unit = _numbered(list(zip(labels, conditions.amount.tolist(), strict=True)))
    else:
        return
    for some in _dealt(np.unique(unit[unit >= 0]), len(measured)):
        yield unit, np.isin(unit, some)


def _numbered(labels: list[object]) -> np.ndarray:
    order = {label: i for i, label in enumerate(dict.fromkeys(label for label in labels if label is not None))}
    return np.array([-1 if label is None else order[label] for label in labels])


def _dealt(units: np.ndarray, n_conditions: int) -> Iterator[np.ndarray]:
    """Assign units to folds, every n-th to the same one."""
    n = min(len(units), MOST_FOLDS if n_conditions <= _MANY else _FEWER_FOLDS)
    for first in range(n):
        yield units[first::n]
