"""Pathway activities of effects, by the network stored in the AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scperturbrl._core import keys
from scperturbrl.data.reference.stored import pathway_matrix
from scperturbrl.verifiers._pathway_activity import standardise_network, ulm_t

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData


def pathway_activities(adata: AnnData, effects: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """ULM t ``(n, P)`` of effects ``(n, G)``, and the names of the pathways.

    Raises
    ------
    KeyError
        If there is no network.
    """
    if keys.PATHWAY_NETWORK not in adata.uns:
        msg = f"`uns` has no {keys.PATHWAY_NETWORK!r}. Call `scperturbrl.pp.pathway_network(adata, network)` first."
        raise KeyError(msg)
    weights, names = pathway_matrix(adata)
    network = standardise_network(torch.as_tensor(weights, dtype=torch.float64))
    return ulm_t(torch.tensor(effects, dtype=torch.float64), network).numpy(), names
