"""Gene sets whose enrichment is compared in an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl.data.cells.network import check_network, network_matrix, warn_other_case
from scperturbrl.data.reference.networks import Networks
from scperturbrl.metrics.compute import PATHWAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from anndata import AnnData

# as in `pp.pathway_network`
_LEAST_TARGETS = 5


def gene_sets(adata: AnnData, networks: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Weights ``(G, P)`` of the stored pathway network, if there is one, and of `networks`, by name.

    Raises
    ------
    KeyError
        If a table lacks a column.
    ValueError
        If one of `networks` has the name of the stored one, or has no set with five measured targets.
    """
    matrix, _ = Networks.of(adata).pathways
    found = {PATHWAY: matrix} if matrix.shape[1] else {}
    for name, network in networks.items():
        if name in found:
            msg = f"`networks` names {name!r}, which is the stored pathway network. Choose another name."
            raise ValueError(msg)
        table = check_network(network)
        warn_other_case(table, adata.var_names)
        found[name] = network_matrix(table, adata.var_names)[0]
        if (found[name] != 0).sum(0).max(initial=0) < _LEAST_TARGETS:
            msg = (
                f"No set of `networks[{name!r}]` has {_LEAST_TARGETS} targets among the {adata.n_vars} genes. Check that "
                "`var_names` are gene symbols, or leave it out."
            )
            raise ValueError(msg)
    return found
