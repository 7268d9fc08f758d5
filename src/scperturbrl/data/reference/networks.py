"""The networks of a reference, a check that they have not changed, and the pathway activities of effects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scperturbrl._core import keys
from scperturbrl.data.cells.network import check_network, network_matrix, table_hash
from scperturbrl.verifiers._pathway_activity import standardise_network, ulm_t

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class Networks:
    """Pathways and transcription factors.

    Attributes
    ----------
    tables
        Checked tables by their slots in ``uns``; slots without a network are missing.
    genes
        Names of the genes of the data.
    """

    tables: dict[str, pd.DataFrame]
    genes: pd.Index

    @classmethod
    def of(cls, adata: AnnData, given: Mapping[str, pd.DataFrame] | None = None) -> Networks:
        """The stored networks, replaced by the `given` ones in the same slots."""
        found = {slot: adata.uns[slot] for slot in (keys.PATHWAY_NETWORK, keys.TF_NETWORK) if slot in adata.uns}
        return cls({slot: check_network(table) for slot, table in (found | dict(given or {})).items()}, adata.var_names)

    @cached_property
    def pathways(self) -> tuple[np.ndarray, list[str]]:
        """Weights ``(n_genes, P)`` and names of the pathways; P is 0 without a network."""
        return self._matrix(keys.PATHWAY_NETWORK)

    @cached_property
    def regulons(self) -> tuple[np.ndarray, list[str]]:
        """The same for transcription factors."""
        return self._matrix(keys.TF_NETWORK)

    @property
    def hashes(self) -> dict[str, str]:
        """Hash of the sets in each slot, restricted to genes of the data; "" without a network."""
        found = dict.fromkeys((keys.PATHWAY_NETWORK, keys.TF_NETWORK), "")
        inside = {slot: table[table["target"].isin(self.genes)] for slot, table in self.tables.items()}
        return found | {slot: table_hash(table) for slot, table in inside.items()}

    def _matrix(self, slot: str) -> tuple[np.ndarray, list[str]]:
        if slot not in self.tables:
            return np.zeros((len(self.genes), 0), dtype=np.float32), []
        return network_matrix(self.tables[slot], self.genes)


def check_networks(adata: AnnData, made_with: Mapping[str, Any]) -> None:
    """Raise if a network in `adata` is not the one of its reference.

    Parameters
    ----------
    adata
        Annotated data with a reference.
    made_with
        Hashes by slot, as in :attr:`Networks.hashes`. Missing slots are not compared. Transcription factors may be
        added after the reference, because their verifier computes its tensors when it is used.

    Raises
    ------
    ValueError
        The message names the slot.
    """
    now = Networks.of(adata).hashes
    for slot, before in made_with.items():
        if now[slot] != str(before) and (before or slot == keys.PATHWAY_NETWORK):
            msg = (
                f"`uns[{slot!r}]` is not the network of the reference: the network changed since the reference was "
                "made. Call `scperturbrl.pp.reference(adata)` again."
            )
            raise ValueError(msg)


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
    weights, names = Networks.of(adata).pathways
    network = standardise_network(torch.as_tensor(weights, dtype=torch.float64))
    return ulm_t(torch.tensor(effects, dtype=torch.float64), network).numpy(), names
