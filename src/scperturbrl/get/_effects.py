"""Predicted and observed effects, one row for each gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys as slots
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_positive
from scperturbrl.get._read.populations import Populations
from scperturbrl.metrics.differential import direction_match, top_genes, welch_t

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@documented
def effects(
    adata: AnnData | MuData,
    *,
    keys: str | Sequence[str] | None = None,
    conditions: str | Sequence[str] | None = None,
    n_top: int = 20,
    modality: str | None = None,
) -> pd.DataFrame:
    """Collect the predicted and the observed effect of every gene.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.generate`.
    keys
        Layers of generated cells, from this package or another; those of all generators by default.
    conditions
        Conditions, or perturbation labels for all their conditions; all with at least three cells by default.
    n_top
        Number of most differentially expressed genes to mark: those with the largest absolute Welch t between
        observed perturbed and control cells. Genes that the condition targets are never among them.
    {modality}

    Returns
    -------
    One row per condition, model and gene:

    ``condition``, ``split``
        Its name, and whether it was held out.
    ``model``
        Key of the layer.
    ``gene``
        Its name.
    ``observed``, ``predicted``
        Mean of the cells minus mean of the control cells with the same covariates, log-normalised, at
        :term:`equal depth`.
    ``statistic``
        Welch t of the observed cells against those control cells.
    ``top``, ``target``
        Whether the gene is one of the `n_top`, and whether the condition targets it.

    Raises
    ------
    KeyError
        If a layer does not exist.
    ValueError
        If a condition does not exist.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.generate(adata)
    >>> frame = spr.get.effects(adata, conditions="GENE014", n_top=5)
    >>> len(frame) == adata.n_vars, int(frame["top"].sum())
    (True, 5)
    """
    adata = pick(adata, modality)
    check_positive(n_top=n_top)
    populations = Populations.of(adata, keys, conditions)
    return pd.concat([_condition(populations, name, n_top) for name in populations.conditions], ignore_index=True)


def _condition(populations: Populations, condition: str, n_top: int) -> pd.DataFrame:
    cells, target = populations.cells, populations.is_target(condition)
    control = cells.block(populations.controls(condition))
    statistic = welch_t(cells.block(populations.rows(condition)), control).statistic
    top = np.isin(np.arange(len(target)), top_genes(statistic, k=n_top, exclude=np.flatnonzero(target)))
    found = dict(populations.effects(condition))
    observed = found.pop(slots.OBSERVED)
    shared = {
        "condition": condition,
        slots.SPLIT: populations.split(condition),
        "gene": cells.genes.astype(str),
        "observed": observed,
        "statistic": statistic,
        "top": top,
        "target": target,
    }
    parts = [pd.DataFrame({**shared, "model": model, "predicted": effect}) for model, effect in found.items()]
    order = ["condition", slots.SPLIT, "model", "gene", "observed", "predicted", "statistic", "top", "target"]
    return pd.concat(parts)[order]


def agreement(frame: pd.DataFrame) -> tuple[float, float]:
    """Correlation over the genes that are not targeted, and share of the top genes that change in the right direction.

    Parameters
    ----------
    frame
        Rows of :func:`effects` of one condition and model.
    """
    own = frame[~frame["target"]]
    observed, predicted = own["observed"].to_numpy(), own["predicted"].to_numpy()
    r = np.corrcoef(observed, predicted)[0, 1] if min(observed.std(), predicted.std()) > 0 else float("nan")
    return float(r), direction_match(predicted, observed, genes=own["top"].to_numpy())
