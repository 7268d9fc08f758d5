"""Which candidates to measure next, several at a time."""

from __future__ import annotations

from dataclasses import dataclass
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
    """Covariance of the effects of perturbations, given the measured conditions.

    Attributes
    ----------
    codes
        ``(n, L)`` columns of each candidate in the covariance, the last one for none.
    amount
        ``(n,)``
    several
        ``(n,)`` whether it is a combination.
    covariance
        ``(P + 1, P + 1)`` of the effects of P perturbations, 0 in the last row and column.
    """

    codes: np.ndarray
    amount: np.ndarray
    several: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, conditions: Conditions, measured: Conditions) -> Knowledge:
        """Build it from `measured`; perturbations have separate effects in each context, half of which are shared."""
        parts, place = np.unique(
            np.concatenate([conditions.codes.ravel(), measured.codes.ravel()]), return_inverse=True
        )
        groups = np.unique(np.concatenate([conditions.group, measured.group]))
        own, theirs = np.split(place.ravel(), [conditions.codes.size])
        columns = [
            cls._columns(x.reshape(y.codes.shape), y, groups, len(parts))
            for x, y in ((own, conditions), (theirs, measured))
        ]
        size = len(parts) * (1 + len(groups) * (len(groups) > 1))
        covariance = np.eye(size + 1) * (1.0 if len(groups) == 1 else 0.5)
        covariance[-1] = 0
        found = cls(columns[0], conditions.amount, conditions.n_parts > 1, covariance)
        noise = NOISE + INTERACTION * (measured.n_parts > 1)
        for row in range(len(measured)):
            found._update(columns[1][row], float(measured.amount[row]), float(noise[row]))
        return found

    @staticmethod
    def _columns(place: np.ndarray, conditions: Conditions, groups: np.ndarray, n_parts: int) -> np.ndarray:
        """Column of each part, and of each part in its context if there are several; -1 for none."""
        shared = np.where(conditions.codes >= 0, place, -1)
        if len(groups) == 1:
            return shared
        group = np.searchsorted(groups, conditions.group)[:, None]
        return np.hstack([shared, np.where(shared >= 0, n_parts * (1 + group) + place, -1)])

    def variance(self) -> np.ndarray:
        """Variance ``(n,)`` of each candidate."""
        total = np.zeros(len(self.codes))
        for i in range(self.codes.shape[1]):
            for j in range(self.codes.shape[1]):
                total += self.covariance[self.codes[:, i], self.codes[:, j]]
        return np.asarray(np.square(self.amount) * np.maximum(total, 0) + INTERACTION * self.several)

    def learn(self, candidate: int) -> None:
        """Update as if a candidate had been measured."""
        noise = NOISE + INTERACTION * float(self.several[candidate])
        self._update(self.codes[candidate], float(self.amount[candidate]), noise)

    def _update(self, columns: np.ndarray, amount: float, noise: float) -> None:
        along = amount * self.covariance[:, columns].sum(1)
        total = amount * along[columns].sum()
        self.covariance -= np.outer(along, along / (total + noise))
