"""A linear map from features of perturbations to their effects: the effect at features of 0, and the change per unit of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics.baselines.embedding_ridge import embedding_ridge_effect

if TYPE_CHECKING:
    from scperturbrl.metrics.baselines.learnable import Learnable

# with fewer trained perturbations no map is fitted
MIN_TRAINED = 3


def fit_feature_map(features: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Map ``(1 + F, d)`` from features ``(n, F)`` to effects ``(n, d)``, by a ridge: the effect at features of 0 comes first."""
    query = np.vstack([np.zeros(features.shape[1]), np.eye(features.shape[1])])
    found = embedding_ridge_effect(features, effects, features_query=query).effect
    found[1:] -= found[0]
    return found


def without_some(
    features: np.ndarray, effects: np.ndarray, train: np.ndarray, left_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean response and departures for the rows `left_out`, by a ridge on the features of the rows `train`."""
    mean = effects[train].mean(0)
    predicted = embedding_ridge_effect(features[train], effects[train], features_query=features[left_out]).effect
    return mean, predicted - mean


def shrunk_map(found: np.ndarray, mean: np.ndarray, shares: Learnable) -> np.ndarray:
    """The map `found` ``(1 + F, d)`` with the mean response `mean` ``(d,)`` and the departures from it multiplied by their shares."""
    first = shares.mean * mean + shares.departure * (found[0] - mean)
    return np.vstack([first, found[1:] * shares.departure])
