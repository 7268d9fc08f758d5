"""The map from features of perturbations to effects, fitted to the measured ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics.baselines.embedding_ridge import embedding_ridge_effect
from scperturbrl.metrics.baselines.learnable import learnable_shares
from scperturbrl.metrics.baselines.responses import along_responses, gene_responses
from scperturbrl.screen.part_effects import UnseenMap

if TYPE_CHECKING:
    from scperturbrl.screen.conditions import Ground

# fewer measured perturbations cannot fit a map
MIN_TRAINED = 3


def fit_unseen_map(
    ground: Ground, seen: np.ndarray, effects: np.ndarray, directions: np.ndarray, wanted: np.ndarray
) -> UnseenMap:
    """Fit the map to the perturbations `seen` that have features.

    Without features of the user, the responses of genes to the perturbations are the features. The mean response and the
    departure that features predict are both shrunk, by factors chosen by leaving out perturbations, possibly to 0.

    Parameters
    ----------
    ground
        Perturbations and their features.
    seen
        ``(P,)`` perturbations that were measured.
    effects, directions
        ``(P, R)`` and ``(R, G)``, whose product are their effects, without own genes.
    wanted
        ``(V,)`` unmeasured perturbations with features.
    """
    known = ground.described()[seen]
    which, own = seen[known], effects[known]
    if ground.features is None:
        of_genes = directions[:, np.maximum(ground.genes, 0)].T
        found = gene_responses(own)
        features = of_genes @ found.genes
        rows = along_responses(features[which], own, found.directions)
        leave_out = partial(_without_responses, own, of_genes[which])
    else:
        features = np.nan_to_num(ground.features)
        rows = _by_features(features[which], own)
        leave_out = partial(_without_features, features[which], own)
    shares = learnable_shares(own, leave_out)
    rows[0] = shares.mean * own.mean(0) + shares.departure * (rows[0] - own.mean(0))
    rows[1:] *= shares.departure
    return UnseenMap(wanted, features, rows @ directions, shares.r2)


def _without_responses(
    effects: np.ndarray, of_genes: np.ndarray, train: np.ndarray, left_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    found = gene_responses(effects[train])
    rows = along_responses(of_genes[train] @ found.genes, effects[train], found.directions)
    return rows[0], of_genes[left_out] @ found.genes @ rows[1:]


def _by_features(features: np.ndarray, effects: np.ndarray) -> np.ndarray:
    query = np.vstack([np.zeros(features.shape[1]), np.eye(features.shape[1])])
    rows = embedding_ridge_effect(features, effects, features_query=query).effect
    rows[1:] -= rows[0]
    return rows


def _without_features(
    features: np.ndarray, effects: np.ndarray, train: np.ndarray, left_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    mean = effects[train].mean(0)
    told = embedding_ridge_effect(features[train], effects[train], features_query=features[left_out]).effect
    return mean, told - mean
