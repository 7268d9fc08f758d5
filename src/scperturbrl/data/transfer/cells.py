"""Control cells of another data set, as input of a generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl._core.random import numpy_rng
from scperturbrl._core.validate import check_log_normalised, check_obs_column
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.conditions import condition_record
from scperturbrl.data.cells.setup import expression
from scperturbrl.data.latent.cells import control_units

if TYPE_CHECKING:
    from anndata import AnnData

    from scperturbrl.data.cells.setup import Setup
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.data.transfer.genes import GeneMatch

_EXPRESSED = 0.5


def control_rows(adata: AnnData, setup: Setup) -> np.ndarray:
    """Rows of the control cells: those with the control label, or all if there is no perturbation column.

    Raises
    ------
    ValueError
        If there are none.
    """
    if setup.perturbation_key not in adata.obs:
        return np.arange(adata.n_obs)
    rows = np.flatnonzero((adata.obs[setup.perturbation_key].astype(str) == setup.control).to_numpy())
    if not len(rows):
        labels = list(adata.obs[setup.perturbation_key].astype(str).unique()[:5])
        msg = (
            f"`obs[{setup.perturbation_key!r}]` has no {setup.control!r}, the label of control cells of the generator; it holds {labels}. "
            "Rename the label, or drop the column if all cells are controls."
        )
        raise ValueError(msg)
    return rows


def own_cells(adata: AnnData, setup: Setup, layer: str | None) -> Cells:
    """Control cells over the genes of `adata`, one condition for each combination of covariates.

    Raises
    ------
    KeyError
        If a covariate or the layer does not exist.
    ValueError
        If there are no control cells, or expression is not log-normalised.
    """
    for key in setup.covariate_keys:
        check_obs_column(adata, key, role="covariate")
    rows = control_rows(adata, setup)
    matrix = expression(adata, layer)[rows]
    check_log_normalised(matrix, where="`X`" if layer is None else f"`layers[{layer!r}]`")
    labels = [adata.obs[key].astype(str).to_numpy()[rows] for key in setup.covariate_keys]
    values = (
        pd.MultiIndex.from_arrays(labels).to_flat_index() if labels else pd.Index([()] * len(rows), tupleize_cols=False)
    )
    codes, unique = pd.factorize(values, sort=True)
    records = [condition_record((), dose=0.0, covariates=list(each), setup=setup) for each in unique]
    table = pd.DataFrame(records).set_index("condition")
    table["n_cells"] = np.bincount(codes, minlength=len(table))
    return Cells(
        expression=sparse.csr_matrix(matrix, dtype=np.float32),
        codes=codes,
        table=table,
        split=np.full(len(rows), keys.TRAIN, dtype=object),
        batch=None,
        genes=adata.var_names,
        names=adata.obs_names[rows],
    )


def in_genes_of(stored: StoredGenerator, cells: Cells, match: GeneMatch, *, seed: int) -> Cells:
    """The same cells over the genes of the generator.

    For genes that were not measured, counts are drawn around the mean of the generator's training cells. They contain
    no information about the cell, but must be realistic, because generated cells inherit counts.
    """
    present = match.place >= 0
    known = cells.expression.tocsc()[:, match.place[present]]
    mean = np.expm1(stored.generator.space.mean.detach().cpu().numpy()[~present].astype(float))
    unit = control_units(cells, np.arange(known.shape[0]))[:, None]
    drawn = numpy_rng(seed, "genes that were not measured").poisson(np.maximum(mean, 0) / unit)
    filled = sparse.csr_matrix(np.log1p(unit * drawn), dtype=np.float32)
    order = np.argsort(np.r_[np.flatnonzero(present), np.flatnonzero(~present)], kind="stable")
    matrix = sparse.hstack([known, filled], format="csc", dtype=np.float32)[:, order]
    return Cells(
        expression=matrix.tocsr(),
        codes=cells.codes,
        table=cells.table,
        split=cells.split,
        batch=None,
        genes=pd.Index(stored.genes),
        names=cells.names,
    )


def likeness(stored: StoredGenerator, cells: Cells, match: GeneMatch) -> dict[str, float]:
    """Similarity of the control cells to the training cells of a generator, by mean profiles of common genes.

    Returns
    -------
    ``correlation`` of the mean profiles, and ``scale``, the median ratio of rates of well-expressed genes.
    """
    present = match.place >= 0
    old = stored.generator.space.mean.detach().cpu().numpy()[present].astype(float)
    new = np.asarray(cells.expression.mean(0), dtype=float).ravel()[match.place[present]]
    high = old > min(_EXPRESSED, float(np.quantile(old, 0.75)))
    ratio: Any = np.expm1(new[high]) / np.maximum(np.expm1(old[high]), 1e-12)
    flat = old.std() == 0 or new.std() == 0
    return {
        "correlation": float("nan") if flat else float(np.corrcoef(old, new)[0, 1]),
        "scale": float(np.median(ratio)) if len(ratio) else float("nan"),
    }
