"""Baselines for doses: the effects of the same perturbation at measured doses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics.baselines.designs import checked_effects
from scperturbrl.metrics.baselines.means import perturbed_mean_effect

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import ArrayLike


def nearest_dose_effect(
    labels_train: Sequence[Hashable],
    effects_train: ArrayLike,
    *,
    doses_train: ArrayLike,
    labels_query: Sequence[Hashable],
    doses_query: ArrayLike,
) -> np.ndarray:
    """Predict the effect of the same perturbation at the nearest dose.

    Parameters
    ----------
    labels_train
        Perturbation of each of the C training conditions, without its dose and context.
    effects_train
        ``(C, G)`` their effects, each against the control cells of its own context.
    doses_train
        ``(C,)`` their doses, at least 0.
    labels_query, doses_query
        Perturbation and dose ``(Q,)`` of each of the Q conditions to predict.

    Returns
    -------
    ``(Q, G)``: mean effect of the training conditions of the perturbation at the nearest dose on the log scale. A
    perturbation without any gets the mean of all training effects.

    Raises
    ------
    ValueError
        Shapes do not fit, a value is not finite, or a dose is negative.

    Examples
    --------
    >>> from scperturbrl.metrics import nearest_dose_effect
    >>> known = {"doses_train": [1, 10, 10], "labels_query": ["A", "B"], "doses_query": [5, 5]}
    >>> nearest_dose_effect(["A", "A", "C"], [[1.0], [3.0], [8.0]], **known).tolist()
    [[3.0], [4.0]]
    """
    return _of_doses(_nearest, labels_train, effects_train, doses_train, labels_query, doses_query)


def interpolated_dose_effect(
    labels_train: Sequence[Hashable],
    effects_train: ArrayLike,
    *,
    doses_train: ArrayLike,
    labels_query: Sequence[Hashable],
    doses_query: ArrayLike,
) -> np.ndarray:
    """Interpolate the effect of the same perturbation linearly between the two neighbouring doses.

    Parameters
    ----------
    labels_train, effects_train, doses_train, labels_query, doses_query
        As in :func:`nearest_dose_effect`.

    Returns
    -------
    ``(Q, G)``: linear in the logarithm of the dose between measured doses, and the effect at the nearest dose outside of
    them. A perturbation without any training condition gets the mean of all training effects.

    Raises
    ------
    ValueError
        Shapes do not fit, a value is not finite, or a dose is negative.

    Examples
    --------
    >>> from scperturbrl.metrics import interpolated_dose_effect
    >>> known = {"doses_train": [1, 100], "labels_query": ["A", "A"], "doses_query": [10, 1000]}
    >>> interpolated_dose_effect(["A", "A"], [[1.0], [3.0]], **known).tolist()
    [[2.0], [3.0]]
    """
    return _of_doses(_interpolated, labels_train, effects_train, doses_train, labels_query, doses_query)


def _of_doses(
    one: Callable[[np.ndarray, np.ndarray, float], np.ndarray],
    labels_train: Sequence[Hashable],
    effects_train: ArrayLike,
    doses_train: ArrayLike,
    labels_query: Sequence[Hashable],
    doses_query: ArrayLike,
) -> np.ndarray:
    effects = checked_effects(effects_train)
    doses = _checked_doses("doses_train", doses_train, len(effects))
    if len(labels_train) != len(effects):
        msg = f"`labels_train` names {len(labels_train)} conditions, `effects_train` has {len(effects)} rows."
        raise ValueError(msg)
    wanted = _checked_doses("doses_query", doses_query, len(labels_query))
    predicted = perturbed_mean_effect(effects, n_queries=len(labels_query))
    for query, (label, dose) in enumerate(zip(labels_query, wanted, strict=True)):
        rows = [row for row, known in enumerate(labels_train) if known == label]
        if rows:
            predicted[query] = one(doses[rows], effects[rows], float(dose))
    return predicted


def _checked_doses(name: str, doses: ArrayLike, n: int) -> np.ndarray:
    values = np.asarray(doses, dtype=np.float64)
    if values.shape != (n,) or not np.isfinite(values).all() or (values < 0).any():
        msg = f"`{name}` must be {n} finite doses of at least 0, one for each condition; it is {values.tolist()!r}."
        raise ValueError(msg)
    return values


def _nearest(doses: np.ndarray, effects: np.ndarray, dose: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(doses == dose, 0.0, np.abs(np.log(doses) - np.log(dose)))
    if not np.isfinite(gap).any():
        # on the log scale, dose 0 has the same distance to all other doses
        gap = np.abs(doses - dose)
    return np.asarray(effects[np.isclose(gap, gap.min(), rtol=1e-9)].mean(axis=0))


def _interpolated(doses: np.ndarray, effects: np.ndarray, dose: float) -> np.ndarray:
    measured = np.unique(doses[doses > 0])
    if dose <= 0 or not len(measured) or not measured[0] < dose < measured[-1]:
        return _nearest(doses, effects, dose)
    above = int(np.searchsorted(measured, dose))
    low, high = (effects[doses == measured[i]].mean(axis=0) for i in (above - 1, above))
    share = np.log(dose / measured[above - 1]) / np.log(measured[above] / measured[above - 1])
    return np.asarray((1 - share) * low + share * high)
