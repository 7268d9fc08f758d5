"""Errors of left-out training conditions for every kind of candidate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl.screen.conformal import effect_errors, expected_error, interval_width, support
from scperturbrl.screen.kinds import KINDS, MEASURED, SEVERAL, kinds_of
from scperturbrl.screen.left_out import leave_out
from scperturbrl.screen.stream import values_of

if TYPE_CHECKING:
    from scperturbrl.screen.conditions import Conditions, Ground, Measured
    from scperturbrl.screen.conformal import Errors
    from scperturbrl.screen.left_out import LeftOut
    from scperturbrl.screen.line import Line
    from scperturbrl.screen.objectives import Objective


@dataclass
class Trust:
    """Reliability of the predictions for `conditions`.

    Attributes
    ----------
    ground, measured, conditions
        Perturbations and contexts, training conditions, and n candidates.
    kind
        ``(n,)`` kind of each.
    left, errors
        Left-out training conditions, and the errors of their predictions, for every kind of the candidates.
    """

    ground: Ground
    measured: Measured
    conditions: Conditions
    kind: np.ndarray = field(init=False)
    left: dict[str, LeftOut] = field(default_factory=dict, init=False)
    errors: dict[str, Errors] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.kind = kinds_of(self.conditions, self.measured.conditions)
        for kind in KINDS:
            if (self.kind == kind).any() and kind not in (MEASURED, SEVERAL):
                self.left[kind] = leave_out(self.ground, self.measured, kind)
                self.errors[kind] = effect_errors(self.measured, self.left[kind], kind)

    def of_effects(self, level: float) -> pd.DataFrame:
        """Expected error of the effect of each candidate with its interval, reliability and support ``(n,)``."""
        rows = {kind: self._row(kind, level) for kind in np.unique(self.kind)}
        columns = ["expected_error", "error_low", "error_high", "reliability", "support"]
        found = pd.DataFrame([rows[kind] for kind in self.kind], columns=columns)
        at, places = self.measured_places()
        # for measured conditions, the sampling error of the mean
        found.loc[at, "expected_error"] = np.sqrt(self.measured.noise[places])
        return found

    def residuals(self, objective: Objective, line: Line, real: np.ndarray) -> dict[str, np.ndarray]:
        """Measured minus predicted objective of the left-out conditions, for kinds with enough of them.

        `real` ``(C,)`` are the measured values of the training conditions.
        """
        found = {}
        for kind, left in self.left.items():
            own = values_of(objective, line, self.measured.conditions.select(left.index), left.effects)[:, 0]
            gap = real[left.index] - own
            found[kind] = gap[np.isfinite(gap)] if self.errors[kind].enough else np.zeros(0)
        return found

    def widths(self, residuals: dict[str, np.ndarray], level: float) -> np.ndarray:
        """Half the width ``(n,)`` of the interval of each candidate, NaN if there is none."""
        by_kind = {kind: interval_width(own, level) for kind, own in residuals.items()}
        return np.array([by_kind.get(kind, np.nan) for kind in self.kind])

    def measured_places(self) -> tuple[np.ndarray, np.ndarray]:
        """Candidates with training cells, and their indices among the training conditions."""
        own = {label: i for i, label in enumerate(self._keys(self.measured.conditions))}
        rows = np.flatnonzero(self.kind == MEASURED)
        return rows, np.array([own[key] for key in self._keys(self.conditions.select(rows))], dtype=int)

    @staticmethod
    def _keys(conditions: Conditions) -> list[tuple[tuple[int, ...], int, float]]:
        amount = np.round(conditions.amount, 6).tolist()
        return list(zip(conditions.labels(), conditions.group.tolist(), amount, strict=True))

    def _row(self, kind: str, level: float) -> tuple[float, float, float, float, str]:
        errors = self.errors.get(kind)
        nothing = (float("nan"),) * 3
        told = nothing if errors is None else expected_error(errors, level)
        r2 = errors.r2 if errors is not None and errors.enough else float("nan")
        return (*told, 1.0 if kind == MEASURED else r2, support(kind, errors))

    def table(self) -> pd.DataFrame:
        """One row for each kind: candidates, left-out conditions, their units, median error and reliability."""
        rows = {
            kind: {
                "n_candidates": int((self.kind == kind).sum()),
                "n_left_out": len(errors.rmse),
                "n_units": errors.n_units,
                "error": float(np.median(errors.rmse)) if len(errors.rmse) else float("nan"),
                "reliability": errors.r2,
                "calibrated": errors.enough,
            }
            for kind, errors in self.errors.items()
        }
        columns = ["n_candidates", "n_left_out", "n_units", "error", "reliability", "calibrated"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
