"""The linear model of a screen: a combination ridge, a context line and a map of unseen perturbations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics.baselines.combination_ridge import combination_ridge_effect
from scperturbrl.metrics.baselines.context_line import fit_context_line
from scperturbrl.metrics.baselines.context_transfer import fit_transfer_line, transferred_effect
from scperturbrl.metrics.baselines.feature_map import MIN_TRAINED
from scperturbrl.metrics.baselines.ridge import ridge_effect
from scperturbrl.screen.part_effects import PartEffects, single_effects, single_noise, summed
from scperturbrl.screen.unseen import fit_unseen_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from scperturbrl.metrics.baselines.context_line import ContextLine
    from scperturbrl.screen.conditions import Conditions, Ground, Measured
    from scperturbrl.screen.part_effects import UnseenMap

# with more values, effects in a new context are pooled over all contexts
MOST_VALUES = 20_000_000
# Share of its own measured effect in the effect of a part, beside the ridge. Combinations interact, so what the ridge
# learns from them about a part is biased; an average of both has smaller errors than either.
MEASURED_SHARE = 0.5
BASELINES = ("additive", "ridge", "context_line", "mean_response")


@dataclass
class Line:
    """The linear part of a generator, fitted to effects only, so that it can be refitted without some of them.

    It is fitted to denoised effects. They are denoised here, so that a line that is fitted without some conditions knows
    nothing of them. The simple rules take effects as they are measured.

    Attributes
    ----------
    ground
        Perturbations and contexts.
    measured
        Training conditions.
    """

    ground: Ground
    measured: Measured
    _kept: dict[tuple[str, int], PartEffects | None] = field(default_factory=dict, init=False, repr=False)

    def predict(self, conditions: Conditions) -> tuple[np.ndarray, np.ndarray]:
        """Effects ``(n, G)``, and whether all parts of a condition are known ``(n,)``."""
        return self._by_group(conditions, lambda g: [self._own(g), self._context(g), self._pooled])

    def baseline(self, name: str, conditions: Conditions) -> tuple[np.ndarray, np.ndarray]:
        """The same for a simple baseline of :data:`BASELINES`."""
        if name == "mean_response":
            return self._mean_response(conditions)
        kinds: dict[str, Callable[[int], list[PartEffects | None]]] = {
            "additive": lambda g: [self._singles(g), self._singles(-1)],
            "ridge": lambda g: [self._ridge(g), self._ridge(-1)],
            "context_line": lambda g: [self._carried(g)],
        }
        return self._by_group(conditions, kinds[name])

    def sums(self, conditions: Conditions) -> np.ndarray:
        """Sums ``(n, G)`` of the denoised effects of the parts; NaN for singles and if a part was not measured alone."""
        found, known = self._by_group(conditions, lambda g: [self._clean_singles(g), self._clean_singles(-1)])
        found[~known | (conditions.n_parts < 2)] = np.nan
        return found

    def measured_sums(self, conditions: Conditions) -> np.ndarray:
        """The same of the measured effects."""
        found, known = self.baseline("additive", conditions)
        found[~known | (conditions.n_parts < 2)] = np.nan
        return found

    def noise_of_sums(self, conditions: Conditions) -> np.ndarray:
        """Sampling variance ``(n,)`` of a measured departure from these sums, beside that of the cells of the condition.

        The control cells, which every effect has in common, are counted once.
        """
        squared = replace(conditions, amount=conditions.amount**2)
        found = np.zeros(len(conditions))
        for group in np.unique(conditions.group):
            rows = np.flatnonzero(conditions.group == group)
            usable = [x for x in (self._noise(int(group)), self._noise(-1)) if x is not None]
            found[rows] = summed(usable, squared.select(rows), 1)[0][:, 0]
        n = conditions.n_parts
        return found + ((n - 1) ** 2 - n) * self.ground.control_noise[conditions.group]

    def _by_group(
        self, conditions: Conditions, sources: Callable[[int], list[PartEffects | None]]
    ) -> tuple[np.ndarray, np.ndarray]:
        n_genes = self.ground.controls.shape[1]
        found, known = np.zeros((len(conditions), n_genes), np.float32), np.zeros(len(conditions), dtype=bool)
        for group in np.unique(conditions.group):
            rows = np.flatnonzero(conditions.group == group)
            usable = [source for source in sources(int(group)) if source is not None]
            found[rows], known[rows] = summed(usable, conditions.select(rows), n_genes)
        return found, known

    def _mean_response(self, conditions: Conditions) -> tuple[np.ndarray, np.ndarray]:
        effects, found = self.measured.effects, np.zeros((len(conditions), self.ground.controls.shape[1]), np.float32)
        several = self.measured.conditions.n_parts > 1
        for group in np.unique(conditions.group):
            inside = self._inside(int(group)) if self._inside(int(group)).any() else self._inside(-1)
            for combined in (False, True):
                rows = (conditions.group == group) & ((conditions.n_parts > 1) == combined)
                alike = inside & (several == combined)
                if rows.any() and inside.any():
                    found[rows] = effects[alike if alike.any() else inside].mean(0)
        return found, np.full(len(conditions), len(self.measured) > 0)

    def _inside(self, group: int) -> np.ndarray:
        """``(C,)`` training conditions of a context; all for -1."""
        return (self.measured.conditions.group == group) | (group < 0)

    def _remember(self, what: str, group: int, make: Callable[[], PartEffects | None]) -> PartEffects | None:
        if (what, group) not in self._kept:
            self._kept[what, group] = make() if self._inside(group).any() else None
        return self._kept[what, group]

    @cached_property
    def _pooled(self) -> PartEffects | None:
        return self._remember("fit", -1, lambda: self._fit(-1))

    def _own(self, group: int) -> PartEffects | None:
        if self._inside(group).all():
            return self._pooled
        return self._remember("fit", group, lambda: self._fit(group))

    def _fit(self, group: int) -> PartEffects:
        fitted = self._combination_ridge(group)
        unseen = self._unseen(group, fitted.place >= 0)
        return replace(fitted, unseen=unseen)

    @cached_property
    def _clean(self) -> Measured:
        return self.measured.denoised(self.ground)

    def _combination_ridge(self, group: int) -> PartEffects:
        rows, mean, seen = self._designs(group, self._clean.scores)
        pooled = self._pooled.additivity if group >= 0 and self._pooled is not None else 1.0
        found = combination_ridge_effect(rows, mean, design_query=np.eye(len(seen)), otherwise=pooled)
        effect, alone = found.effect.copy(), self._clean_singles(group)
        if alone is not None:
            own = alone.place[seen]
            effect[own >= 0] += MEASURED_SHARE * (alone.scores[own[own >= 0]] - effect[own >= 0])
        return PartEffects.of(len(self.ground.names), seen, effect, self._clean.directions, found.additivity)

    def _ridge(self, group: int) -> PartEffects | None:
        def fit() -> PartEffects:
            rows, mean, seen = self._designs(group)
            found = ridge_effect(rows, mean, design_query=np.eye(len(seen))).effect
            return PartEffects.of(len(self.ground.names), seen, found, self.measured.directions)

        return self._remember("ridge", group, fit)

    def _designs(self, group: int, scores: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distinct designs ``(D, P)`` of a context, the mean scores ``(D, R)`` of each, and the P trained perturbations."""
        inside = np.flatnonzero(self._inside(group))
        design = self.measured.conditions.select(inside).design(len(self.ground.names))
        seen = np.flatnonzero((design != 0).any(0))
        rows, same = np.unique(design[:, seen], axis=0, return_inverse=True)
        own = (self.measured.scores if scores is None else scores)[inside]
        total = np.zeros((len(rows), own.shape[1]))
        np.add.at(total, same.ravel(), own)
        return rows, total / np.bincount(same.ravel())[:, None], seen

    def _unseen(self, group: int, trained: np.ndarray) -> UnseenMap | None:
        """The map for perturbations without measurements in any context, if any are requested."""
        ever = np.zeros(len(self.ground.names) + 1, dtype=bool)
        ever[self.measured.conditions.codes] = True
        wanted = self.ground.described() & ~ever[:-1]
        if not wanted.any() or (trained & self.ground.described()).sum() < MIN_TRAINED:
            return None
        rows, mean, seen = self._designs(group, self.measured.masked)
        own = ridge_effect(rows, mean, design_query=np.eye(len(seen))).effect
        return fit_unseen_map(self.ground, seen, own, self.measured.masked_directions, wanted)

    def _singles(self, group: int) -> PartEffects | None:
        return self._remember("singles", group, lambda: self._single_effects(self.measured, group))

    def _clean_singles(self, group: int) -> PartEffects | None:
        return self._remember("clean singles", group, lambda: self._single_effects(self._clean, group))

    def _single_effects(self, part: Measured, group: int) -> PartEffects:
        return single_effects(self.ground, part.conditions, part.scores, part.directions, self._inside(group))

    def _noise(self, group: int) -> PartEffects | None:
        part, inside = self.measured, self._inside(group)
        make = partial(single_noise, self.ground, part.conditions, part.noise, inside)
        return self._remember("noise", group, make)

    def _context(self, group: int) -> PartEffects | None:
        """Effects in a context without perturbed training cells."""
        if self._inside(group).any():
            return None
        return self._carry("transferred", group, self._transfer_line, self._clean_singles, transferred_effect)

    def _carried(self, group: int) -> PartEffects | None:
        """What the context line alone makes of effects as they are measured, a baseline."""
        along = lambda line, controls, effects, query: line.predict(controls, effects, control_query=query)
        return self._carry("carried", group, self._context_line, self._singles, along)

    def _carry(
        self,
        what: str,
        group: int,
        line: ContextLine | None,
        singles: Callable[[int], PartEffects | None],
        transfer: Callable[..., np.ndarray],
    ) -> PartEffects | None:
        if (what, group) not in self._kept:
            found = None if line is None else self._transfer(group, partial(transfer, line), self._by_context(singles))
            self._kept[what, group] = found
        return self._kept[what, group]

    def _transfer(self, group: int, transfer: Callable[..., np.ndarray], table: np.ndarray) -> PartEffects | None:
        """Effects in context `group`, made of those in the others ``(K, P, G)``."""
        controls, contexts, which = self.ground.controls, self._contexts, self._single_parts
        known = np.isfinite(table).all(2) & (contexts != group)[:, None]
        told = np.flatnonzero(known.any(0))
        if not len(told):
            return None
        additivity = self._pooled.additivity if self._pooled is not None else 1.0
        found = np.stack(
            [transfer(controls[contexts[known[:, p]]], table[known[:, p], p], controls[group]) for p in told]
        )
        return PartEffects.of(len(self.ground.names), which[told], found, np.eye(found.shape[1]), additivity)

    @cached_property
    def _contexts(self) -> np.ndarray:
        """The K contexts with training conditions."""
        return np.unique(self.measured.conditions.group)

    @cached_property
    def _single_parts(self) -> np.ndarray:
        """The P perturbations that were measured alone."""
        return np.unique(self.measured.conditions.codes[self.measured.conditions.n_parts == 1, :1])

    @cached_property
    def _context_line(self) -> ContextLine | None:
        """Fitted to effects as they are measured; None with one context."""
        return self._fitted_line(fit_context_line) if len(self._contexts) > 1 else None

    @cached_property
    def _transfer_line(self) -> ContextLine | None:
        """The same for :func:`~scperturbrl.metrics.baselines.context_transfer.transferred_effect`, and also with one context."""
        return self._fitted_line(fit_transfer_line)

    def _fitted_line(self, fit: Callable[..., ContextLine]) -> ContextLine | None:
        """`fit` applied to effects as they are measured; None if there are none, or too many values."""
        size = len(self._contexts) * len(self._single_parts) * self.ground.controls.shape[1]
        if not 0 < size <= MOST_VALUES:
            return None
        return fit(self.ground.controls[self._contexts], self._by_context(self._singles))

    def _by_context(self, singles: Callable[[int], PartEffects | None]) -> np.ndarray:
        """Effects ``(K, P, G)`` of single perturbations, NaN where not measured; `singles` gives those in a context."""
        table = np.full((len(self._contexts), len(self._single_parts), self.ground.controls.shape[1]), np.nan)
        for k, context in enumerate(self._contexts):
            measured = singles(int(context))
            if measured is not None:
                own = measured.place[self._single_parts]
                table[k, own >= 0] = measured.scores[own[own >= 0]] @ measured.directions
        return table
