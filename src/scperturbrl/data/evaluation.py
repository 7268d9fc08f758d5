"""One condition after another: real cells, predicted populations, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl.data.populations import BASELINES, TrainingEffects
from scperturbrl.metrics.ceiling import split_half
from scperturbrl.metrics.compute import compute_metrics
from scperturbrl.metrics.differential import welch_t
from scperturbrl.metrics.discrimination import discrimination_score
from scperturbrl.metrics.pair import ConditionPair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scperturbrl.data.cells import Cells
    from scperturbrl.data.cross_fit import CrossFit

CEILING = "split_half"
N_TOP = 50
N_COMPONENTS = 30


class Population(NamedTuple):
    """Cells ``(n, G)`` that a model predicts for a condition, and their mean where it is known exactly."""

    model: str
    kind: str
    cells: np.ndarray
    mean: np.ndarray | None = None


@dataclass
class Evaluation:
    """Evaluates predicted populations of test conditions.

    Attributes
    ----------
    cells
        Expression and conditions.
    conditions
        Conditions to evaluate.
    fitted
        Cross-fitted references of the *observed* cells of these conditions, to score cells with.
    max_cells, seed
        Cap of the distances, and seed of subsamples.
    """

    cells: Cells
    conditions: Sequence[str]
    fitted: CrossFit
    max_cells: int
    seed: int

    @cached_property
    def training(self) -> TrainingEffects:
        """Effects of training conditions."""
        return TrainingEffects.of(self.cells)

    @cached_property
    def projection(self) -> np.ndarray:
        """Loadings ``(G, d)`` of the training cells' components, in which cells are compared."""
        from sklearn.decomposition import PCA

        rows = np.flatnonzero(self.cells.is_training())
        n = min(N_COMPONENTS, len(self.cells.genes), len(rows))
        return PCA(n, svd_solver="covariance_eigh").fit(self.cells.expression[rows]).components_.T

    def run(self, predict: Callable[[str], Iterator[Population]]) -> pd.DataFrame:
        """Evaluate the populations of `predict` beside baselines and ceiling; one row a model, condition and metric."""
        rows: list[dict[str, Any]] = []
        effects: dict[str, dict[str, np.ndarray]] = {}
        for number, condition in enumerate(self.conditions):
            real = self._real(condition)
            for population in [*predict(condition), *self._baselines(condition), self._ceiling(condition)]:
                pair = self._pair(condition, population, real)
                values = compute_metrics(pair, k=N_TOP, max_cells=self.max_cells, seed=self.seed)
                values |= self._scores(population, number, real)
                effects.setdefault(population.model, {})[condition] = pair.predicted_effect
                label = {"model": population.model, "kind": population.kind, "condition": condition}
                n = len(population.cells)
                rows += [{**label, "metric": name, "value": value, "n_cells": n} for name, value in values.items()]
        return pd.DataFrame(rows + self._discrimination(effects, rows))

    def _real(self, condition: str) -> np.ndarray:
        return np.flatnonzero(self.cells.codes == self.cells.table.index.get_loc(condition))

    @cached_property
    def _context(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Control cells (capped) and their exact mean, for every control group of the conditions."""
        found = {}
        for condition in self.conditions:
            group = str(self.cells.table.loc[condition, "group"])
            if group not in found:
                row = self.cells.control_row(int(self.cells.table.index.get_loc(condition)))
                index = np.flatnonzero((self.cells.codes == row) & self.cells.is_training())
                mean = np.asarray(self.cells.expression[index].mean(0)).ravel()
                rng = np.random.default_rng(self.seed)
                kept = np.sort(rng.choice(index, min(len(index), 2 * self.max_cells), replace=False))
                found[group] = self.cells.block(kept), mean
        return found

    def _pair(self, condition: str, population: Population, real: np.ndarray) -> ConditionPair:
        control, control_mean = self._context[str(self.cells.table.loc[condition, "group"])]
        observed, predicted = self.cells.block(real), population.cells
        if population.kind == "ceiling":
            predicted, observed = split_half(observed, seed=self.seed)
        targets = np.flatnonzero(np.isin(self.cells.genes, self.cells.table.loc[condition, "parts"]))
        return ConditionPair(
            predicted,
            observed,
            control,
            predicted_mean=population.mean,
            control_mean=control_mean,
            observed_statistic=welch_t(observed, control).statistic,
            target_genes=targets,
            systema_reference=control_mean + self.training.effects.mean(0),
            projection=self.projection,
        )

    def _baselines(self, condition: str) -> Iterator[Population]:
        control, mean = self._context[str(self.cells.table.loc[condition, "group"])]
        for name in BASELINES:
            effect = self.training.predict(self.cells, condition, name).astype(np.float32)
            yield Population(name, "baseline", control + effect, mean + effect)

    def _ceiling(self, condition: str) -> Population:
        return Population(CEILING, "ceiling", self.cells.block(self._real(condition)))

    def _scores(self, population: Population, number: int, real: np.ndarray) -> dict[str, float]:
        """Mean raw score of each verifier; real cells are scored against references that they are not part of."""
        ceiling = population.kind == "ceiling"
        raw = (
            self.fitted.score_cells(real, number)
            if ceiling
            else self.fitted.score_block(population.cells[: self.max_cells], number)
        )
        return {keys.score(v.name): float(raw[:, i].nanmean()) for i, v in enumerate(self.fitted.verifiers)}

    def _discrimination(
        self, effects: dict[str, dict[str, np.ndarray]], rows: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Rank the true effect among those of all measured conditions, for every model."""
        names = list(self.cells.table.index[~self.cells.table["is_control"]])
        count = np.bincount(self.cells.codes, minlength=len(self.cells.table))[self.cells.rows(names)]
        names = [name for name, n in zip(names, count, strict=True) if n > 1]
        if len(names) < 2:
            return []
        everything = np.ones(len(self.cells.codes), dtype=bool)
        empty = np.zeros((len(self.cells.genes), 0), dtype=np.float32)
        table = fit_all(self.cells, everything, names, empty)
        kinds = {row["model"]: row["kind"] for row in rows}
        sizes = {(row["model"], row["condition"]): row["n_cells"] for row in rows}
        found = []
        for model, predicted in effects.items():
            full = table[0].copy()
            index = [names.index(condition) for condition in predicted]
            full[index] = np.stack(list(predicted.values()))
            score = discrimination_score(full, table[0], metric="cosine", exclude=table[1])[index]
            for condition, value in zip(predicted, score, strict=True):
                label = {
                    "model": model,
                    "kind": kinds[model],
                    "condition": condition,
                    "n_cells": sizes[model, condition],
                }
                found.append({**label, "metric": "discrimination", "value": float(value)})
        return found


def fit_all(cells: Cells, use: np.ndarray, names: list[str], network: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean effects ``(C, G)`` of all conditions, and which genes each one targets."""
    from scperturbrl.data.reference import fit_reference

    table = fit_reference(cells, use, conditions=names, network=network)
    return table.mean_effect.astype(np.float64), table.targets
