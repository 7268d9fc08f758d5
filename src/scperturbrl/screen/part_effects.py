"""Effects of single perturbations in one context, from which effects of all conditions are computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scperturbrl.screen.conditions import Conditions, Ground


# values of the effects of all parts that are kept in memory; with more, effects are computed for each condition
_MOST_VALUES = 20_000_000


@dataclass(frozen=True)
class PartEffects:
    """Effect of each perturbation alone at full dose, and the additivity of combinations.

    Attributes
    ----------
    place
        ``(V,)`` row of each perturbation in `scores`, -1 if it is unknown.
    scores, directions
        ``(P, R)`` and ``(R, G)``, whose product are the effects of P perturbations.
    additivity
        Effect of a combination as a share of the sum of its parts.
    unseen
        Effects of unmeasured perturbations from their features.
    """

    place: np.ndarray
    scores: np.ndarray
    directions: np.ndarray
    additivity: float = 1.0
    unseen: UnseenMap | None = None

    @classmethod
    def of(
        cls, n_names: int, which: np.ndarray, scores: np.ndarray, directions: np.ndarray, additivity: float = 1.0
    ) -> PartEffects:
        """Of the perturbations `which`, in the order of the rows of `scores`."""
        place = np.full(n_names, -1)
        place[which] = np.arange(len(which))
        return cls(place, scores, directions, additivity)

    def covers(self, codes: np.ndarray) -> np.ndarray:
        """``(n,)`` whether all parts in ``codes`` ``(n, L)`` are known."""
        known = self.place >= 0
        if self.unseen is not None:
            known = known | self.unseen.covered
        return (known[codes] | (codes < 0)).all(1) & (codes >= 0).any(1)

    @cached_property
    def _padded(self) -> np.ndarray:
        """Scores ``(P + 1, R)``, the last ones 0."""
        return np.vstack([self.scores, np.zeros((1, self.scores.shape[1]))]).astype(np.float32)

    @cached_property
    def _whole(self) -> np.ndarray | None:
        """Effects ``(P + 1, G)``, the last ones 0; None if they are too many."""
        few = len(self._padded) * self.directions.shape[1] <= _MOST_VALUES
        return self._padded @ self.directions.astype(np.float32) if few else None

    def effects(self, conditions: Conditions) -> np.ndarray:
        """Effects ``(n, G)`` of conditions whose parts are all covered, float32."""
        codes = conditions.codes
        rows = np.where(codes >= 0, self.place[codes], -1)
        if self._whole is not None:
            total = self._whole[rows].sum(1)
        else:
            total = self._padded[rows].sum(1) @ self.directions.astype(np.float32)
        if self.unseen is not None:
            for slot in range(codes.shape[1]):
                new = np.flatnonzero((codes[:, slot] >= 0) & (rows[:, slot] < 0))
                if len(new):
                    total[new] += self.unseen.effects(codes[new, slot])
        share = np.where(conditions.n_parts > 1, self.additivity, 1.0) * conditions.amount
        return np.asarray(total * share.astype(np.float32)[:, None])


@dataclass(frozen=True)
class UnseenMap:
    """A linear map from features of perturbations to their effects.

    Attributes
    ----------
    covered
        ``(V,)`` whether it covers a perturbation.
    features
        ``(V, F)``
    rows
        ``(1 + F, G)`` intercept, and below it the slope of each feature.
    r2
        Explained share of the squared effects of left-out perturbations.
    """

    covered: np.ndarray
    features: np.ndarray
    rows: np.ndarray
    r2: float

    def effects(self, codes: np.ndarray) -> np.ndarray:
        """Effects ``(n, G)`` at amount 1 of the perturbations at `codes` ``(n,)``, float32."""
        found = self.rows[0] + self.features[codes] @ self.rows[1:]
        return np.asarray(found, dtype=np.float32)


def summed(sources: list[PartEffects], conditions: Conditions, n_genes: int) -> tuple[np.ndarray, np.ndarray]:
    """Effects ``(n, G)`` by the first of `sources` that covers a condition, and whether any does ``(n,)``; else 0."""
    found = np.zeros((len(conditions), n_genes), dtype=np.float32)
    known = np.zeros(len(conditions), dtype=bool)
    for source in sources:
        rows = np.flatnonzero(source.covers(conditions.codes) & ~known)
        if len(rows):
            found[rows] = source.effects(conditions.select(rows))
            known[rows] = True
    return found, known


def single_effects(
    ground: Ground, conditions: Conditions, scores: np.ndarray, directions: np.ndarray, inside: np.ndarray
) -> PartEffects:
    """Effects of the measured singles among the conditions `inside`, by least squares over doses and contexts."""
    which, total, square = _over_singles(conditions, scores, inside, power=1)
    return PartEffects.of(len(ground.names), which, total / square, directions)


def single_noise(ground: Ground, conditions: Conditions, noise: np.ndarray, inside: np.ndarray) -> PartEffects:
    """Sampling variance of these effects, given that ``(C,)`` of the measured ones, as effects on a single gene."""
    which, total, square = _over_singles(conditions, noise[:, None], inside, power=2)
    return PartEffects.of(len(ground.names), which, total / square**2, np.ones((1, 1)))


def _over_singles(
    conditions: Conditions, values: np.ndarray, inside: np.ndarray, *, power: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The measured singles, and for each the sums ``(P, R)`` of `values` times amounts and ``(P, 1)`` of squared amounts."""
    rows = np.flatnonzero(inside & (conditions.n_parts == 1))
    codes, amount = conditions.codes[rows, 0], conditions.amount[rows]
    which, place = np.unique(codes, return_inverse=True)
    total, square = np.zeros((len(which), values.shape[1])), np.zeros((len(which), 1))
    np.add.at(total, place, amount[:, None] ** power * values[rows])
    np.add.at(square, place, amount[:, None] ** 2)
    return which, total, np.maximum(square, 1e-12)
