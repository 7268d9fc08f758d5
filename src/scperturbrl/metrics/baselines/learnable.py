"""Share of the effect of a perturbation that can be predicted from other perturbations, by leaving out trained ones."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # maps training rows and rows to predict to the mean response (d,) and departures from it (t, d)
    LeaveOut = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_FOLDS = 20
# Largest tolerated increase of the error over "no change", and largest share of perturbations that exceed it.
HARM, HARMED = 1.05, 0.1


class Learnable(NamedTuple):
    """Factors in [0, 1] for predictions of unseen perturbations.

    Attributes
    ----------
    mean
        Factor of the mean response to all trained perturbations.
    departure
        Factor of the departure from it that features predict.
    r2
        Share of the squared effects of left-out perturbations that the prediction explains; 0 where "no change" is
        best.
    error
        Mean squared error of the prediction for a left-out perturbation.
    """

    mean: float
    departure: float
    r2: float
    error: float


def learnable_shares(effects: np.ndarray, leave_out: LeaveOut) -> Learnable:
    """Choose the factors that predict the effects of left-out perturbations best.

    Without evidence the prediction is "no change". Pairs of factors qualify if they are better than "no change" by more
    than one standard error over perturbations, and worse by more than 5 % for at most a tenth of them. The pair with
    the smallest error is chosen.

    Parameters
    ----------
    effects
        ``(n, d)`` measured effects.
    leave_out
        Function of training rows and rows to predict.
    """
    n = len(effects)
    mean, departure = np.zeros_like(effects), np.zeros_like(effects)
    for fold in _folds(n):
        others = np.setdiff1d(np.arange(n), fold)
        mean[fold], departure[fold] = leave_out(others, fold)
    nothing = np.square(effects).sum(1)
    best, lowest = (0.0, 0.0), float(nothing.mean())
    for shares in product(SHARES, SHARES):
        errors = np.square(effects - shares[0] * mean - shares[1] * departure).sum(1)
        harmed = float((errors > HARM * nothing).mean())
        gain = nothing - errors
        if errors.mean() < lowest and harmed <= HARMED and gain.mean() > gain.std() / np.sqrt(n):
            best, lowest = shares, float(errors.mean())
    return Learnable(*best, 1 - lowest / max(float(nothing.mean()), 1e-12), lowest)


def _folds(n: int) -> Sequence[np.ndarray]:
    return [np.arange(first, n, min(n, MOST_FOLDS)) for first in range(min(n, MOST_FOLDS))]
