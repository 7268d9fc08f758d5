"""Evaluate one condition after another: real cells, predicted populations, metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.machine.threads import in_threads
from scperturbrl.data.cells.components import training_components
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.evaluation.metric_calibration import CEILING, MEAN_RESPONSE
from scperturbrl.data.evaluation.observed import Observed
from scperturbrl.data.evaluation.population import Population, draw_population, population_order
from scperturbrl.data.reference.baselines import BASELINES, CONTEXT_BASELINES, DOSE_BASELINES, TrainingEffects
from scperturbrl.metrics.baselines.registry import ADDED
from scperturbrl.metrics.ceiling import interpolated_duplicate, split_half
from scperturbrl.metrics.cells.modules import gene_modules
from scperturbrl.metrics.compute import compute_metrics
from scperturbrl.metrics.differential import welch_t
from scperturbrl.metrics.discrimination import Rivals
from scperturbrl.metrics.pair import ConditionPair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.reference.cross_fit import CrossFit

DUPLICATE = "interpolated_duplicate"
N_TOP = 50
N_COMPONENTS = 30
_MODULE_CELLS = 2000
# distance, and whether the genes that the condition targets are compared
_DISCRIMINATION = {
    "discrimination": ("cosine", False),
    "discrimination_l1": ("l1", False),
    "centroid_accuracy": ("l2", True),
}


@dataclass
class Evaluation:
    """Evaluates predicted populations of test conditions, one condition in memory at a time.

    Attributes
    ----------
    cells
        Expression and conditions.
    conditions
        Conditions to evaluate.
    fitted
        Cross-fitted references of the *observed* cells of these conditions, to score cells with.
    max_cells, seed
        Maximum number of cells of a population, and seed of subsamples.
    networks
        Weights ``(G, P)`` of the gene sets whose enrichment is compared, by name.
    """

    cells: Cells
    conditions: Sequence[str]
    fitted: CrossFit
    max_cells: int
    seed: int
    networks: Mapping[str, np.ndarray] = field(default_factory=dict)
    # the mean response, evaluated on the same cells as the replicate, for calibration of metrics
    mean_response: list[dict[str, Any]] = field(default_factory=list, init=False)

    @cached_property
    def training(self) -> TrainingEffects:
        """Effects of training conditions."""
        return TrainingEffects.of(self.cells)

    @cached_property
    def observed(self) -> Observed:
        """Effects of all measured conditions."""
        return Observed(self.cells)

    @cached_property
    def projection(self) -> np.ndarray:
        """Loadings ``(G, d)`` of the training cells' components, in which cells are compared."""
        return training_components(self.cells, n_components=N_COMPONENTS).loadings

    @cached_property
    def modules(self) -> np.ndarray:
        """Gene modules ``(G, M)`` of a sample of the training cells."""
        rows = np.flatnonzero(self.cells.is_training())
        drawn = shuffled(self.cells, rows, self.seed, "cells for gene modules")[:_MODULE_CELLS]
        return gene_modules(self.cells.block(drawn), seed=0)

    def run(self, predict: Callable[[str], Iterator[Population]]) -> pd.DataFrame:
        """Evaluate the populations of `predict`, baselines and ceilings; one row per model, condition and metric."""
        self._prepare()
        found = in_threads(lambda number: self._of_condition(number, predict), range(len(self.conditions)))
        self.mean_response += [row for _, of_mean in found for row in of_mean]
        return pd.DataFrame([row for rows, _ in found for row in rows])

    def _prepare(self) -> None:
        """Compute shared results before conditions are distributed, or every worker would compute them again."""
        _ = self.projection, self.modules, self._context
        if self.observed.names:
            _ = self.observed.table
        for condition in self.conditions:
            for name in self._names:
                self.training.fit(self.cells, condition, name)

    def _of_condition(
        self, number: int, predict: Callable[[str], Iterator[Population]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of one condition, and rows of the mean response evaluated like the replicate."""
        condition = self.conditions[number]
        rows: list[dict[str, Any]] = []
        real = np.flatnonzero(self.cells.codes == self.cells.table.index.get_loc(condition))
        observed = self._draw(keys.OBSERVED, keys.OBSERVED, real)
        label, rivals = self._label(condition, len(real)), self._rivals(condition)
        for population in [*predict(condition), *self._baselines(condition)]:
            rows += self._measure(label, number, population, observed, rivals)
        real = shuffled(self.cells, real, self.seed, "order of real cells")
        first, second = split_half(real[:, None], seed=self.seed)
        half = self._draw(keys.OBSERVED, keys.OBSERVED, second[:, 0])
        for population in self._ceilings(condition, first[:, 0]):
            rows += self._measure(label, number, population, half, rivals, real=real)
        return rows, self._measure(label, number, self._mean_response(condition), half, rivals)

    def _draw(self, model: str, kind: str, index: np.ndarray) -> Population:
        index = population_order(self.cells, index, self.seed)
        return draw_population(model, kind, self.cells, index, max_cells=self.max_cells)

    def _label(self, condition: str, n_observed: int) -> dict[str, Any]:
        row = self.cells.table.loc[condition]
        return {
            "condition": condition,
            "covariates": row["group"],
            "n_parts": len(row["parts"]),
            "parts_seen": self.training.parts_seen(self.cells, condition),
            "n_observed": n_observed,
        }

    def _measure(
        self,
        label: dict[str, Any],
        number: int,
        population: Population,
        observed: Population,
        rivals: _Rivals | None,
        *,
        real: np.ndarray | None = None,
    ) -> list[dict[str, Any]]:
        """Rows of one model and condition. Verifiers score the cells in `real`, if given, instead of the population."""
        pair = self._pair(label["condition"], population, observed)
        values = compute_metrics(pair, k=N_TOP, max_cells=self.max_cells, seed=self.seed)
        values |= {} if rivals is None else rivals.scores(pair.predicted_effect)
        values |= self._scores(population, number, real)
        whose = {"model": population.model, "kind": population.kind, **label, "n_cells": population.total}
        return [{**whose, "metric": name, "value": value} for name, value in values.items()]

    @cached_property
    def _context(self) -> dict[str, Population]:
        """Control cells of every control group of the conditions."""
        found: dict[str, Population] = {}
        for condition in self.conditions:
            group = str(self.cells.table.loc[condition, "group"])
            if group not in found:
                row = self.cells.control_row(int(self.cells.table.index.get_loc(condition)))
                found[group] = self._draw(
                    "control", "baseline", np.flatnonzero((self.cells.codes == row) & self.cells.is_training())
                )
        return found

    def _control(self, condition: str) -> tuple[np.ndarray, np.ndarray]:
        """Control cells of the covariates of `condition`, and their exact mean."""
        control = self._context[str(self.cells.table.loc[condition, "group"])]
        return control.cells, control.centre

    def _pair(self, condition: str, population: Population, observed: Population) -> ConditionPair:
        control, control_mean = self._control(condition)
        context = self._context[str(self.cells.table.loc[condition, "group"])]
        # a baseline shifts the control mean, which is that of all control cells
        source = context if population.kind == "baseline" else population
        statistic = self.observed.statistic(condition) if population.kind != "ceiling" else None
        targets = np.flatnonzero(np.isin(self.cells.genes, self.cells.table.loc[condition, "parts"]))
        return ConditionPair(
            population.cells,
            observed.cells,
            control,
            predicted_mean=population.mean,
            observed_mean=observed.mean,
            control_mean=control_mean,
            counts=(source.total, observed.total, context.total),
            # one half must not determine the genes on which the other half is evaluated
            observed_statistic=welch_t(observed.cells, control).statistic if statistic is None else statistic,
            target_genes=targets,
            systema_reference=control_mean + self.training.effects.mean(0),
            modules=self.modules,
            networks=self.networks,
            parts=self.observed.parts(condition),
            projection=self.projection,
        )

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Names of baselines, including those for several doses and several contexts if there are any."""
        perturbed = self.cells.table[~self.cells.table["is_control"].to_numpy(dtype=bool)]
        doses = DOSE_BASELINES if perturbed["dose"].nunique() > 1 else ()
        return (*BASELINES, *(CONTEXT_BASELINES if len(set(self.training.groups)) > 1 else ()), *doses, *ADDED)

    def _baselines(self, condition: str) -> Iterator[Population]:
        control, mean = self._control(condition)
        for name in self._names:
            effect = self.training.predict(self.cells, condition, name).astype(np.float32)
            yield Population(name, "baseline", control + effect, mean + effect)

    def _mean_response(self, condition: str) -> Population:
        """The mean response to compare with the replicate: on the same genes, with the noise of all control cells."""
        found = next(one for one in self._baselines(condition) if one.model == MEAN_RESPONSE)
        context = self._context[str(self.cells.table.loc[condition, "group"])]
        return found._replace(kind="ceiling", n_cells=context.total)

    def _ceilings(self, condition: str, half: np.ndarray) -> Iterator[Population]:
        """One half of the real cells, unchanged and shrunk towards the mean response."""
        replicate = self._draw(CEILING, "ceiling", half)
        yield replicate
        response = self.training.predict(self.cells, condition, MEAN_RESPONSE)
        moved, _ = interpolated_duplicate(replicate.cells, mean_response=self._control(condition)[1] + response)
        yield Population(DUPLICATE, "ceiling", moved, n_cells=len(half))

    def _scores(self, population: Population, number: int, real: np.ndarray | None) -> dict[str, float]:
        """Mean raw score of each verifier; real cells are scored against references computed without them."""
        if population.kind == "ceiling" and real is not None and population.model == CEILING:
            raw = self.fitted.score_cells(real, number)
        else:
            raw = self.fitted.score_block(population.cells[: self.max_cells], number)
        return {keys.score(v.name): float(raw[:, i].nanmean()) for i, v in enumerate(self.fitted.verifiers)}

    def _rivals(self, condition: str) -> _Rivals | None:
        """The true effect and those of the conditions to compare with; None if there are none."""
        if condition not in self.observed.names or len(self.observed.names) < 2:
            return None
        chosen = self.observed.rivals(condition)
        row = chosen.index(self.observed.names.index(condition))
        effects = self.observed.table.mean_effect[chosen].astype(np.float64)
        kept = ~self.observed.table.targets[chosen[row]]
        return _Rivals(row, Rivals.of(effects, kept), Rivals.of(effects, np.ones_like(kept)))


class _Rivals(NamedTuple):
    """Row of the true effect, and the effects without and with the genes that the condition targets."""

    row: int
    others: Rivals
    every: Rivals

    def scores(self, effect: np.ndarray) -> dict[str, float]:
        """Rank the true effect by its distance to the predicted effect ``(G,)``."""
        return {
            name: (self.every if targets else self.others).share_farther(effect, row=self.row, metric=metric)
            for name, (metric, targets) in _DISCRIMINATION.items()
        }
