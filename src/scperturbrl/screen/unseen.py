"""The map from features of perturbations to effects, fitted to the measured ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics.baselines.feature_map import fit_feature_map, shrunk_map, without_some
from scperturbrl.metrics.baselines.learnable import learnable_shares
from scperturbrl.metrics.baselines.responses import along_responses, gene_responses
from scperturbrl.screen.part_effects import UnseenMap

if TYPE_CHECKING:
    from scperturbrl.screen.conditions import Ground


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
        rows = fit_feature_map(features[which], own)
        leave_out = partial(without_some, features[which], own)
    shares = learnable_shares(own, leave_out)
    return UnseenMap(wanted, features, shrunk_map(rows, own.mean(0), shares) @ directions, shares.r2)


def _without_responses(
    effects: np.ndarray, of_genes: np.ndarray, train: np.ndarray, left_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    found = gene_responses(effects[train])
    rows = along_responses(of_genes[train] @ found.genes, effects[train], found.directions)
    return rows[0], of_genes[left_out] @ found.genes @ rows[1:]
