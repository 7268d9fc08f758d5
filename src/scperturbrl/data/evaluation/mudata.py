"""Observed and generated cells in one MuData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl._core.modality import without_pulling
from scperturbrl._core.validate import check_unique_names
from scperturbrl.data.reference.networks import pathway_activities

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.setup import Setup

CHUNK = 2048
CONDITION = "condition"
ACTIVITY = "activity"


def join_cells(adata: AnnData, cells: Cells, setup: Setup, generated: AnnData, groups: np.ndarray) -> MuData:
    """Join the observed cells of `adata` and `generated` ones, with the pathway activity of every cell.

    Parameters
    ----------
    adata
        The observed cells, with a pathway network.
    cells
        The same as matrix and conditions.
    setup
        Declared columns, which are kept in ``obs``; other columns may not exist for both.
    generated
        Log-normalised generated cells with the genes of `adata`.
    groups
        Control group of each generated cell.

    Returns
    -------
    Modalities ``"rna"`` (observed cells first, then generated ones) and ``"pathway"`` (ULM t of the cell's effect against
    the mean of the control cells with its covariates) of the same cells, whose columns are in ``obs`` as well.

    Raises
    ------
    KeyError
        If there is no pathway network.
    ValueError
        If an observed cell has the name of a generated one.
    """
    from mudata import MuData

    obs = _columns(adata, cells, setup, generated.obs)
    matrix = sparse.vstack(
        [sparse.csr_matrix(cells.whole("`as_mudata=True`")), generated.X], format="csr", dtype=np.float32
    )
    rna = ad.AnnData(matrix, obs=obs, var=pd.DataFrame(index=adata.var_names), uns=dict(generated.uns))
    check_unique_names(rna)
    observed_groups = cells.table["group"].to_numpy()[cells.codes]
    activity, names = _activities(adata, cells, matrix, np.concatenate([observed_groups, groups]))
    pathway = ad.AnnData(activity, obs=pd.DataFrame(index=obs.index), var=pd.DataFrame(index=names))
    with without_pulling():
        joined = MuData({keys.RNA: rna, keys.PATHWAY: pathway})
    joined.obs = pd.concat([joined.obs, obs], axis=1)
    return joined


def _columns(adata: AnnData, cells: Cells, setup: Setup, generated: pd.DataFrame) -> pd.DataFrame:
    """Columns of observed and generated cells: the common ones, and the split of the observed cells."""
    own = {
        name: adata.obs[name]
        for name in (setup.perturbation_key, *setup.covariate_keys, setup.dose_key)
        if name is not None
    }
    own |= {
        CONDITION: cells.table.index.to_numpy()[cells.codes],
        keys.ORIGIN: keys.OBSERVED,
        **{name: adata.obs_names for name in generated if name.endswith(keys.source(""))},
        keys.SPLIT: cells.split,
    }
    obs = pd.concat([pd.DataFrame(own, index=adata.obs_names), generated])
    labels = [name for name in obs if name != setup.dose_key and not name.endswith(keys.source(""))]
    return obs.astype(dict.fromkeys(labels, "category"))


def _activities(
    adata: AnnData, cells: Cells, matrix: sparse.csr_matrix, groups: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Activities ``(n, P)`` of all cells; a pathway with the name of a gene gets a suffix."""
    means = {group: _control_mean(cells, group) for group in np.unique(groups)}
    parts = []
    for start in range(0, len(groups), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(groups)))
        effects = cells.block(rows, matrix) - np.stack([means[group] for group in groups[rows]])
        activity, names = pathway_activities(adata, effects)
        parts.append(activity.astype(np.float32))
    genes = set(adata.var_names)
    return np.concatenate(parts), [f"{name}_{ACTIVITY}" if name in genes else name for name in names]


def _control_mean(cells: Cells, group: str) -> np.ndarray:
    is_control = cells.table["is_control"].to_numpy() & (cells.table["group"] == group).to_numpy()
    rows = np.flatnonzero(is_control[cells.codes] & cells.is_training())
    return np.asarray(cells.expression[rows].mean(0)).ravel()
