"""Effects predicted by baselines from the training conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core import keys
from scperturbrl.data.cells.grouping import rows_of
from scperturbrl.data.reference.context_baseline import CONTEXT_LINE, ContextEffects, control_profiles
from scperturbrl.data.reference.moments import measured_effects
from scperturbrl.metrics.baselines.combination_ridge import combination_ridge_effect
from scperturbrl.metrics.baselines.dose import interpolated_dose_effect, nearest_dose_effect
from scperturbrl.metrics.baselines.means import (
    additive_effect,
    matching_mean_effect,
    nearest_effect,
    perturbed_mean_effect,
)
from scperturbrl.metrics.baselines.registry import ADDED, Known, Wanted
from scperturbrl.metrics.baselines.ridge import ridge_effect

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells

BASELINES = (
    "control",
    "perturbed_mean",
    "matching_mean",
    "nearest_condition",
    "additive",
    "additive_ridge",
    "combination_ridge",
)
DOSE_BASELINES = {"nearest_dose": nearest_dose_effect, "interpolated_dose": interpolated_dose_effect}
"""Additional baselines if perturbations have doses."""
RIDGES = ("additive_ridge", "combination_ridge")
CONTEXT_BASELINES = (CONTEXT_LINE,)
"""Additional baselines if several contexts have perturbed training cells."""


@dataclass(frozen=True)
class TrainingEffects:
    """Mean effects of the training conditions, the only data that baselines may use.

    Attributes
    ----------
    conditions
        Names of the C conditions.
    effects
        ``(C, G)`` mean effects, not shrunk.
    groups
        Control group of each.
    """

    conditions: list[str]
    effects: np.ndarray
    groups: np.ndarray
    _fits: dict[tuple[str, bytes], tuple[np.ndarray, float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _designed: dict[bytes, tuple[list[str], np.ndarray, np.ndarray]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _collected: list[ContextEffects] = field(default_factory=list, init=False, repr=False, compare=False)
    _known: list[Known] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, cells: Cells) -> TrainingEffects:
        """Compute them from the training cells of `cells`."""
        conditions = cells.conditions(keys.TRAIN, min_cells=2)
        effects = measured_effects(cells, cells.is_training(), conditions).effect.astype(np.float32)
        return cls(conditions, effects, cells.table.loc[conditions, "group"].to_numpy())

    def predict(self, cells: Cells, condition: str, baseline: str) -> np.ndarray:
        """Effect ``(G,)`` that `baseline` predicts for `condition`.

        Training conditions with the same covariates are used if they cover every part of the condition. Otherwise
        effects of a perturbation are averaged over all covariates.
        """
        parts = cells.table.loc[condition, "parts"]
        if baseline in ADDED:
            return np.asarray(ADDED[baseline].predict(self._shown(cells), _wanted(cells, condition)))
        if baseline == "control":
            return np.zeros(self.effects.shape[1], dtype=np.float32)
        if baseline == CONTEXT_LINE:
            otherwise = self.predict(cells, condition, "matching_mean")
            return self._contexts(cells).predict(str(cells.table.loc[condition, "group"]), parts, otherwise)
        if baseline in DOSE_BASELINES:
            return self._at_dose(cells, condition, baseline)
        chosen = self._same_context(cells, condition, parts)
        labels = cells.table.loc[self.conditions, "perturbation"].to_numpy()[chosen]
        effects = self.effects[chosen]
        if baseline == "perturbed_mean":
            return perturbed_mean_effect(effects, n_queries=1)[0]
        if baseline == "matching_mean":
            return matching_mean_effect(
                labels.tolist(), effects, labels_query=[cells.table.loc[condition, "perturbation"]]
            ).effect[0]
        design, means, query = self._designs(cells, chosen, parts)
        if baseline == "nearest_condition":
            return nearest_effect(design, means, features_query=query)[0]
        if baseline == "additive":
            return additive_effect(design, means, design_query=query).effect[0]
        of_parts, additivity = self._ridge(cells, baseline, chosen)
        seen = design.any(0)
        return (query[0, seen] @ of_parts) * (additivity if len(parts) > 1 else 1.0)

    def fit(self, cells: Cells, condition: str, baseline: str) -> None:
        """Fit `baseline` for `condition` and cache the fit, so that predictions have no side effects."""
        parts = cells.table.loc[condition, "parts"]
        if baseline == CONTEXT_LINE:
            self._contexts(cells)
        if baseline in ADDED:
            self._shown(cells)
        chosen = self._same_context(cells, condition, parts)
        if baseline in RIDGES:
            self._ridge(cells, baseline, chosen)
        self._designs(cells, chosen, ())

    def _contexts(self, cells: Cells) -> ContextEffects:
        """Effects by context, collected once."""
        if not self._collected:
            self._collected.append(ContextEffects.of(cells, self.conditions, self.effects))
        return self._collected[0]

    def _shown(self, cells: Cells) -> Known:
        """The data for added baselines, collected once."""
        if not self._known:
            conditions = tuple(_wanted(cells, name) for name in self.conditions)
            self._known.append(Known(conditions, self.effects, control_profiles(cells)))
        return self._known[0]

    def _at_dose(self, cells: Cells, condition: str, baseline: str) -> np.ndarray:
        """Effect ``(G,)`` of the same perturbation at other doses, in the same context or else in other contexts."""
        known, query = cells.table.loc[self.conditions], cells.table.loc[condition]
        same = (known["perturbation"] == query["perturbation"]).to_numpy()
        inside = same & (self.groups == query["group"])
        chosen = inside if inside.any() else np.ones(len(same), dtype=bool)
        found = DOSE_BASELINES[baseline](
            known["perturbation"].to_numpy()[chosen].tolist(),
            self.effects[chosen],
            doses_train=known["dose"].to_numpy(dtype=float)[chosen],
            labels_query=[query["perturbation"]],
            doses_query=[float(query["dose"])],
        )
        return np.asarray(found[0])

    def _designs(
        self, cells: Cells, chosen: np.ndarray, parts: tuple[str, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Parts ``(L, P)`` and mean effects ``(L, G)`` of the labels of some training conditions, and a query ``(1, P)``."""
        key = chosen.tobytes()
        if key not in self._designed:
            self._designed[key] = self._design(cells, chosen)
        vocabulary, design, means = self._designed[key]
        new = sorted(set(parts) - set(vocabulary))
        design = np.hstack([design, np.zeros((len(design), len(new)))]) if new else design
        return design, means, np.array([[part in parts for part in [*vocabulary, *new]]], dtype=float)

    def _design(self, cells: Cells, chosen: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Names of the parts of some training conditions, with their design and mean effects as in :meth:`_designs`."""
        known = cells.table.loc[np.asarray(self.conditions, dtype=object)[chosen]]
        effects = self.effects[chosen]
        labels, row = np.unique(known["perturbation"].to_numpy(), return_inverse=True)
        of_label = dict(zip(known["perturbation"], known["parts"], strict=True))
        vocabulary = sorted({part for own in of_label.values() for part in own})
        column = {part: place for place, part in enumerate(vocabulary)}
        design = np.zeros((len(labels), len(vocabulary)))
        for own, label in zip(design, labels, strict=True):
            own[[column[part] for part in of_label[label]]] = 1
        means = np.stack([effects[own].mean(0) for own in rows_of(row, len(labels))])
        return vocabulary, design, means

    def _ridge(self, cells: Cells, baseline: str, chosen: np.ndarray) -> tuple[np.ndarray, float]:
        """Effects ``(P, G)`` of the parts of some training conditions, and the additivity of combinations; fitted once."""
        key = (baseline, chosen.tobytes())
        if key not in self._fits:
            design, means, _ = self._designs(cells, chosen, ())
            parts = np.eye(design.shape[1])
            if baseline == "additive_ridge":
                self._fits[key] = ridge_effect(design, means, design_query=parts).effect, 1.0
            else:
                # contexts without combinations use the pooled additivity
                pooled = 1.0 if chosen.all() else self._ridge(cells, baseline, np.ones_like(chosen))[1]
                found = combination_ridge_effect(design, means, design_query=parts, otherwise=pooled)
                self._fits[key] = found.effect, found.additivity
        return self._fits[key]

    def parts_seen(self, cells: Cells, condition: str) -> int:
        """Number of parts of `condition` that were measured alone in training, in any context."""
        alone = {parts[0] for parts in cells.table.loc[self.conditions, "parts"] if len(parts) == 1}
        return len(alone & set(cells.table.loc[condition, "parts"]))

    def _same_context(self, cells: Cells, condition: str, parts: tuple[str, ...]) -> np.ndarray:
        same = self.groups == cells.table.loc[condition, "group"]
        covered = set().union(*cells.table.loc[self.conditions, "parts"].to_numpy()[same])
        return same if set(parts) <= covered else np.ones(len(same), dtype=bool)


def _wanted(cells: Cells, condition: str) -> Wanted:
    own = cells.table.loc[condition]
    return Wanted(str(own["perturbation"]), tuple(own["parts"]), str(own["group"]), float(own["dose"]))
