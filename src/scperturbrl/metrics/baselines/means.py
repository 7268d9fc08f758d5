"""Simple baselines from averages of the training conditions.

Every function works on effects of conditions, ``(C, G)`` expression minus control expression in log-normalised units.
A design has a row for each condition and a column for each perturbation: 0 where absent, else 1 or a dose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from scperturbrl.metrics.baselines.designs import checked_designs, checked_effects

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike


class AdditiveEffect(NamedTuple):
    """Prediction of :func:`additive_effect`: `effect` ``(Q, G)``, and `parts_seen` ``(Q,)``, parts measured alone."""

    effect: np.ndarray
    parts_seen: np.ndarray


class MatchingEffect(NamedTuple):
    """Prediction of :func:`matching_mean_effect`: `effect` ``(Q, G)``, and `n_matched` ``(Q,)`` averaged conditions."""

    effect: np.ndarray
    n_matched: np.ndarray


def control_effect(effects_train: ArrayLike, *, n_queries: int) -> np.ndarray:
    """Predict no effect.

    Parameters
    ----------
    effects_train
        ``(C, G)`` training effects; only their number of genes is used.
    n_queries
        Number of conditions Q to predict.

    Returns
    -------
    ``(Q, G)`` zeros.

    Raises
    ------
    ValueError
        `effects_train` is no finite ``(C, G)`` array with C > 0.

    Examples
    --------
    >>> from scperturbrl.metrics import control_effect
    >>> control_effect([[1.0, 2.0]], n_queries=1).tolist()
    [[0.0, 0.0]]
    """
    return np.zeros((n_queries, checked_effects(effects_train).shape[1]))


def perturbed_mean_effect(effects_train: ArrayLike, *, n_queries: int) -> np.ndarray:
    """Predict the mean effect of the training conditions, whatever the query.

    Parameters
    ----------
    effects_train
        ``(C, G)`` training effects; all conditions have the same weight, regardless of their number of cells.
    n_queries
        Number of conditions Q to predict.

    Returns
    -------
    ``(Q, G)`` with equal rows.

    Raises
    ------
    ValueError
        `effects_train` is no finite ``(C, G)`` array with C > 0.

    Examples
    --------
    >>> from scperturbrl.metrics import perturbed_mean_effect
    >>> perturbed_mean_effect([[1.0, 2.0], [3.0, 0.0]], n_queries=1).tolist()
    [[2.0, 1.0]]
    """
    return np.tile(checked_effects(effects_train).mean(axis=0), (n_queries, 1))


def additive_effect(design_train: ArrayLike, effects_train: ArrayLike, *, design_query: ArrayLike) -> AdditiveEffect:
    """Predict the sum of the effects of the parts measured alone.

    Parameters
    ----------
    design_train
        ``(C, P)`` design of the training conditions.
    effects_train
        ``(C, G)`` their effects.
    design_query
        ``(Q, P)`` design of the conditions to predict.

    Returns
    -------
    Effects ``(Q, G)``, and the number of parts of each query that were measured alone. Parts are taken at the nearest
    dose and averaged over conditions that share it. A part that was not measured alone is replaced by the mean effect
    of the single perturbations (NaN if there are none). A query without parts has effect 0.

    Raises
    ------
    ValueError
        Shapes do not fit or a value is not finite.

    Notes
    -----
    It needs no fit and is among the strongest baselines for combinations (Ahlmann-Eltze et al., Nature Methods 2025).

    Examples
    --------
    >>> from scperturbrl.metrics import additive_effect
    >>> additive_effect([[1, 0], [0, 1]], [[1.0, 0.0], [0.5, 2.0]], design_query=[[1, 1]]).effect.tolist()
    [[1.5, 2.0]]
    """
    design, effects, query = checked_designs(design_train, effects_train, design_query)
    single = (design != 0).sum(axis=1) == 1
    alone, alone_effects = design[single], effects[single]
    fallback = alone_effects.mean(axis=0) if single.any() else np.full(effects.shape[1], np.nan)
    seen = (alone != 0).any(axis=0)
    predicted = np.zeros((len(query), effects.shape[1]))
    for row, part in zip(*np.nonzero(query), strict=True):
        predicted[row] += _part_effect(alone[:, part], alone_effects, query[row, part]) if seen[part] else fallback
    return AdditiveEffect(predicted, ((query != 0) & seen).sum(axis=1))


def nearest_effect(features_train: ArrayLike, effects_train: ArrayLike, *, features_query: ArrayLike) -> np.ndarray:
    """Predict the effect of the most similar training condition.

    Parameters
    ----------
    features_train
        ``(C, F)`` design or embedding of the training conditions.
    effects_train
        ``(C, G)`` their effects.
    features_query
        ``(Q, F)`` the same features of the conditions to predict.

    Returns
    -------
    ``(Q, G)``: mean effect of the training conditions at the smallest Euclidean distance. With a design of zeros and
    ones, a pair whose members were both measured alone gets the mean of the two (the matching mean of Systema).

    Raises
    ------
    ValueError
        Shapes do not fit or a value is not finite.

    Examples
    --------
    >>> from scperturbrl.metrics import nearest_effect
    >>> nearest_effect([[0.0], [1.0]], [[5.0], [7.0]], features_query=[[0.9]]).tolist()
    [[7.0]]
    """
    train, effects, query = checked_designs(features_train, effects_train, features_query)
    distance = cdist(query, train)
    nearest = np.isclose(distance, distance.min(axis=1, keepdims=True), rtol=1e-9, atol=0.0)
    return (nearest / nearest.sum(axis=1, keepdims=True)) @ effects


def matching_mean_effect(
    labels_train: Sequence[Hashable], effects_train: ArrayLike, *, labels_query: Sequence[Hashable]
) -> MatchingEffect:
    """Predict the mean effect of the same perturbation in the other contexts in which it was measured.

    Parameters
    ----------
    labels_train
        Perturbation of each of the C training conditions, without its context (cell type, donor, ...).
    effects_train
        ``(C, G)`` their effects, each against the control cells of its own context.
    labels_query
        Perturbation of each of the Q conditions to predict.

    Returns
    -------
    Effects ``(Q, G)``, and the number of training conditions averaged for each. A perturbation without any gets the
    mean of all training effects.

    Raises
    ------
    ValueError
        Shapes do not fit or a value is not finite.

    Examples
    --------
    >>> from scperturbrl.metrics import matching_mean_effect
    >>> effects = [[1.0], [3.0], [8.0]]
    >>> matching_mean_effect(["A", "A", "B"], effects, labels_query=["A", "C"]).effect.tolist()
    [[2.0], [4.0]]
    """
    effects = checked_effects(effects_train)
    if len(labels_train) != len(effects):
        msg = f"`labels_train` names {len(labels_train)} conditions, `effects_train` has {len(effects)} rows."
        raise ValueError(msg)
    rows: dict[Hashable, list[int]] = {}
    for row, label in enumerate(labels_train):
        rows.setdefault(label, []).append(row)
    predicted = perturbed_mean_effect(effects, n_queries=len(labels_query))
    for query, label in enumerate(labels_query):
        if label in rows:
            predicted[query] = effects[rows[label]].mean(axis=0)
    return MatchingEffect(predicted, np.array([len(rows.get(label, [])) for label in labels_query], dtype=np.intp))


def _part_effect(doses: np.ndarray, effects: np.ndarray, dose: float) -> np.ndarray:
    gap = np.where(doses != 0, np.abs(doses - dose), np.inf)
    return effects[gap == gap.min()].mean(axis=0)
