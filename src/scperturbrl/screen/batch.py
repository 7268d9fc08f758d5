"""Which candidates to measure next, several at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scperturbrl.screen.conditions import Conditions

EXPLOIT, EXPLORE, BALANCED = "exploit", "explore", "balanced"
STRATEGIES = (EXPLOIT, EXPLORE, BALANCED)
# Variance of the interaction of two perturbations, and of the measurement, relative to the variance of single effects.
INTERACTION, NOISE = 0.25, 0.1


def choose_batch(
    conditions: Conditions, measured: Conditions, value: np.ndarray, width: np.ndarray, *, n: int, strategy: str
) -> np.ndarray:
    r"""Indices of the `n` candidates to measure next, in the order in which they were chosen.

    The uncertainty of a candidate is its variance in a Bayesian linear model with an unknown effect for each
    perturbation, and another for each combination,

    .. math:: v(x) = x^\top (X^\top X / \sigma^2 + I)^{-1} x + \delta,

    with the parts :math:`x` of the candidate and :math:`X` of the measured conditions. It does not depend on measured
    values. So it is updated after every choice as if the candidate had been measured [1]_, and a batch avoids redundant
    candidates.

    Parameters
    ----------
    conditions
        Candidates.
    measured
        Training conditions.
    value, width
        ``(n_candidates,)`` predicted objective and half the width of its interval. Candidates without a value are not
        chosen. A missing interval is replaced by the widest one, or else by the spread of the values.
    n
        Number of candidates to choose.
    strategy
        ``"exploit"`` takes the highest value, ``"explore"`` the highest uncertainty, and ``"balanced"`` the highest
        value plus interval, where the interval shrinks with the uncertainty.

    References
    ----------
    .. [1] Desautels T, Krause A, Burdick J (2014). Parallelizing exploration-exploitation tradeoffs in Gaussian process bandit
       optimization. Journal of Machine Learning Research 15, 4053-4103.
    """
    usable = np.isfinite(value)
    if strategy == EXPLOIT:
        order = np.argsort(-np.where(usable, value, -np.inf), kind="stable")
        return order[: min(n, int(usable.sum()))]
    knowledge = Knowledge.of(conditions, measured)
    first, chosen = knowledge.variance(), []
    scale = _filled(width, value) / np.sqrt(max(float(np.median(first[usable])) if usable.any() else 1.0, 1e-12))
    for _ in range(min(n, int(usable.sum()))):
        doubt = np.sqrt(knowledge.variance())
        wanted = doubt if strategy == EXPLORE else value + scale * doubt
        best = int(np.argmax(np.where(usable, wanted, -np.inf)))
        chosen.append(best)
        usable[best] = False
        knowledge.learn(best)
    return np.array(chosen, dtype=int)


def _filled(width: np.ndarray, value: np.ndarray) -> np.ndarray:
    known = width[np.isfinite(width)]
    rest = float(known.max()) if len(known) else float(np.nanstd(value))
    return np.where(np.isfinite(width), width, rest)


@dataclass
class Knowledge:
    """Uncertainty of candidates, given the measured conditions and those learnt since.

    Perturbations that no measured condition has are independent of all others until one of them is learnt. So only
    the measured ones have a covariance matrix, and 15,000 genes that were never perturbed cost no more than a vector.

    Attributes
    ----------
    codes
        ``(n, L)`` columns of each candidate among the effects, the last one for none.
    amount
        ``(n,)``
    several
        ``(n,)`` whether it is a combination.
    prior
        ``(P + 1,)`` variance of the effects of P perturbations before any measurement, 0 for none.
    place
        ``(P + 1,)`` row of each effect in the covariance, the last one if no measured condition has it.
    covariance
        ``(M + 1, M + 1)`` of the M effects in measured conditions, 0 in the last row and column.
    doubt
        ``(n,)`` variance of the sum of the effects of each candidate.
    learnt
        ``(P + 1,)`` for each learnt candidate: the square of it is what learning took off the variance of every effect.
    """

    codes: np.ndarray
    amount: np.ndarray
    several: np.ndarray
    prior: np.ndarray
    place: np.ndarray
    covariance: np.ndarray
    doubt: np.ndarray = field(init=False)
    learnt: list[np.ndarray] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        total = (self.prior * self._is_new())[self.codes].sum(1)
        rows = self.place[self.codes]
        for i in range(rows.shape[1]):
            for j in range(rows.shape[1]):
                total += self.covariance[rows[:, i], rows[:, j]]
        self.doubt = np.square(self.amount) * total

    @classmethod
    def of(cls, conditions: Conditions, measured: Conditions) -> Knowledge:
        """Build it from `measured`; perturbations have separate effects in each context, half of which are shared."""
        parts, place = np.unique(
            np.concatenate([conditions.codes.ravel(), measured.codes.ravel()]), return_inverse=True
        )
        groups = np.unique(np.concatenate([conditions.group, measured.group]))
        own, theirs = np.split(place.ravel(), [conditions.codes.size])
        size = len(parts) * (1 + len(groups) * (len(groups) > 1))
        candidates, known = (
            cls._columns(x.reshape(y.codes.shape), y, groups, len(parts), size)
            for x, y in ((own, conditions), (theirs, measured))
        )
        prior = np.full(size + 1, 1.0 if len(groups) == 1 else 0.5)
        prior[-1] = 0
        rows, covariance = cls._after(known, measured, prior)
        return cls(candidates, conditions.amount, conditions.n_parts > 1, prior, rows, covariance)

    @staticmethod
    def _columns(place: np.ndarray, conditions: Conditions, groups: np.ndarray, n_parts: int, none: int) -> np.ndarray:
        """Column of each part, and of each part in its context if there are several; `none` where there is no part."""
        is_part = conditions.codes >= 0
        shared = np.where(is_part, place, none)
        if len(groups) == 1:
            return shared
        group = np.searchsorted(groups, conditions.group)[:, None]
        return np.hstack([shared, np.where(is_part, n_parts * (1 + group) + place, none)])

    @staticmethod
    def _after(known: np.ndarray, measured: Conditions, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row of each effect in the covariance after `measured`, whose columns are `known`, and this covariance."""
        used = np.unique(known[known < len(prior) - 1])
        place = np.full(len(prior), len(used))
        place[used] = np.arange(len(used))
        covariance = np.diag(np.append(prior[used], 0.0))
        for columns, amount, several in zip(place[known], measured.amount, measured.n_parts > 1, strict=True):
            along = amount * covariance[:, columns].sum(1)
            total = amount * along[columns].sum() + NOISE + INTERACTION * several
            covariance -= np.outer(along, along / total)
        return place, covariance

    def variance(self) -> np.ndarray:
        """Variance ``(n,)`` of each candidate."""
        return np.asarray(np.maximum(self.doubt, 0) + INTERACTION * self.several)

    def learn(self, candidate: int) -> None:
        """Update as if a candidate had been measured."""
        columns, amount = self.codes[candidate], float(self.amount[candidate])
        along = self.covariance[:, self.place[columns]].sum(1)[self.place]
        along[columns] += (self.prior * self._is_new())[columns]
        for before in self.learnt:
            along -= before * before[columns].sum()
        along *= amount
        total = amount * along[columns].sum() + NOISE + INTERACTION * float(self.several[candidate])
        self.learnt.append(along / np.sqrt(total))
        self.doubt -= np.square(self.amount * self.learnt[-1][self.codes].sum(1))

    def _is_new(self) -> np.ndarray:
        """``(P + 1,)`` whether no measured condition has the effect."""
        return np.asarray(self.place == len(self.covariance) - 1)
