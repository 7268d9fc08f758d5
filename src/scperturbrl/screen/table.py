"""The table of a screen: one row for each candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl._core.random import numpy_rng
from scperturbrl.screen.conformal import UNSUPPORTED
from scperturbrl.screen.ranking import normal_width, ranks, top_probability

if TYPE_CHECKING:
    import pandas as pd

    from scperturbrl.screen.objectives import Objective
    from scperturbrl.screen.stream import Predicted
    from scperturbrl.screen.trust import Trust


class RealValues(NamedTuple):
    """Of C training conditions.

    Attributes
    ----------
    values
        ``(C, 1 + T)`` objective and its terms.
    spread, error
        ``(C,)`` standard deviation over cells, and standard error of the objective, by leaving a tenth of the cells out
        at a time.
    fall
        ``(C,)`` relative decrease of the distance to the target population; NaN without a target population.
    """

    values: np.ndarray
    spread: np.ndarray
    error: np.ndarray
    fall: np.ndarray


class Refined(NamedTuple):
    """Candidates with generated cells.

    Attributes
    ----------
    rows
        ``(m,)`` their indices.
    values
        ``(m, 1 + T)`` objective and its terms.
    spread, fall
        ``(m,)`` standard deviation over cells, and relative decrease of the distance to the target population.
    key
        Generator of these cells, "" for none.
    """

    rows: np.ndarray
    values: np.ndarray
    spread: np.ndarray
    fall: np.ndarray
    key: str


@dataclass
class Screen:
    """All results of a screen.

    Attributes
    ----------
    candidates
        Their condition table.
    trust
        Kinds and errors.
    predicted
        By the line.
    real
        Of the training conditions.
    objective
        What is wanted.
    """

    candidates: pd.DataFrame
    trust: Trust
    predicted: Predicted
    real: RealValues
    objective: Objective

    def promising(self, n: int) -> np.ndarray:
        """Indices of the `n` best candidates without training cells."""
        value = np.where(self._measured(), np.nan, self.predicted.values[:, 0])
        order = np.argsort(-np.nan_to_num(value, nan=-np.inf), kind="stable")
        return order[np.isfinite(value[order])][: max(n, 0)]

    def table(
        self, refined: Refined, residuals: dict[str, np.ndarray], *, level: float, top: int, seed: int
    ) -> pd.DataFrame:
        """One row per candidate, best first; see :func:`scperturbrl.get.screen`."""
        values, spread = self._values(refined)
        width = self._widths(residuals, level)
        trust = self._trust(level)
        frame = self.candidates[["perturbation", "group", "dose"]].copy()
        frame["rank"] = ranks(values[:, 0])
        frame["value"] = values[:, 0]
        # only errors of the line are known, so intervals are around its value, not around that of generated cells
        calibrated = np.where(self._measured(), values[:, 0], self.predicted.values[:, 0])
        least, most = self.objective.bounds
        # an interval ends where the objective has no further values
        frame["low"] = np.clip(calibrated - width, least, most)
        frame["high"] = np.clip(calibrated + width, least, most)
        rng = numpy_rng(seed, "top probability")
        kind, known = self.trust.kind, residuals | self._of_measured()
        # an unsupported prediction has no probability, but its value is used in the draws
        errors = np.where(trust["support"] == UNSUPPORTED, "", kind)
        frame["top_probability"] = top_probability(calibrated, errors, known, top, rng)
        frame["support"], frame["kind"] = trust["support"].to_numpy(), kind
        frame["reliability"] = trust["reliability"].to_numpy()
        for name in ("expected_error", "error_low", "error_high"):
            frame[name] = trust[name].to_numpy()
        frame["spread"], frame["line"] = spread, self.predicted.values[:, 0]
        for name, own in self.predicted.baselines.items():
            frame[name] = own
        if len(self.objective.terms) > 1:
            for column, term in enumerate(self.objective.terms, start=1):
                frame[f"value_{term.name}"] = values[:, column]
        fall = self._falls(refined)
        if np.isfinite(fall).any():
            frame["energy_fall"] = fall
        frame["made_cells"] = np.isin(np.arange(len(frame)), refined.rows)
        frame["n_parts"], frame["parts_seen"] = self.trust.conditions.n_parts, self._parts_seen()
        frame["nearest"] = self._nearest()
        # with a dose column only if doses are declared
        frame = frame if (frame["dose"] > 0).any() else frame.drop(columns="dose")
        frame.index = frame.index.astype(str)
        return frame.sort_values("rank", kind="stable")

    def _trust(self, level: float) -> pd.DataFrame:
        """Trust of the candidates; empty for candidates with an unknown part."""
        found = self.trust.of_effects(level)
        found.loc[~self.predicted.known, "support"] = UNSUPPORTED
        found.loc[~self.predicted.known, ["reliability", "expected_error", "error_low", "error_high"]] = np.nan
        return found

    def _measured(self) -> np.ndarray:
        found = np.zeros(len(self.candidates), dtype=bool)
        found[self.trust.measured_places()[0]] = True
        return found

    def _values(self, refined: Refined) -> tuple[np.ndarray, np.ndarray]:
        values, spread = self.predicted.values.copy(), np.full(len(self.candidates), np.nan)
        values[refined.rows], spread[refined.rows] = refined.values, refined.spread
        at, places = self.trust.measured_places()
        values[at], spread[at] = self.real.values[places], self.real.spread[places]
        return values, spread

    def _falls(self, refined: Refined) -> np.ndarray:
        fall = np.full(len(self.candidates), np.nan)
        at, places = self.trust.measured_places()
        fall[refined.rows], fall[at] = refined.fall, self.real.fall[places]
        return fall

    def _widths(self, residuals: dict[str, np.ndarray], level: float) -> np.ndarray:
        width = self.trust.widths(residuals, level)
        at, places = self.trust.measured_places()
        width[at] = normal_width(1.0, level) * self.real.error[places]
        return width

    def _of_measured(self) -> dict[str, np.ndarray]:
        """Errors of measured values, one standard error each, for the probability of being best."""
        at, places = self.trust.measured_places()
        known = self.real.error[places][np.isfinite(self.real.error[places])]
        return {str(self.trust.kind[at[0]]): known} if len(known) else {}

    def _parts_seen(self) -> np.ndarray:
        trained = np.unique(self.trust.measured.conditions.codes)
        codes = self.trust.conditions.codes
        return (np.isin(codes, trained) & (codes >= 0)).sum(1)

    def _nearest(self) -> list[str]:
        names = self.trust.measured.names.astype(str)
        return ["; ".join(row) for row in names[self.predicted.nearest]]
