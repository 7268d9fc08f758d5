"""Pathway activities of conditions, observed and generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys as slots
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._read.populations import Populations
from scperturbrl.get._read.slots import chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@documented
def pathway_activity(
    adata: AnnData | MuData,
    *,
    keys: str | Sequence[str] | None = None,
    conditions: str | Sequence[str] | None = None,
    pathways: str | Sequence[str] | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    """Collect the pathway activities of the mean effect of every condition, observed and generated.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.reference` (or :func:`~scperturbrl.pp.pathway_network`) and
        :func:`~scperturbrl.tl.generate`.
    keys
        Layers of generated cells; those of all generators by default.
    conditions
        Conditions, or perturbation labels for all their conditions; all with at least three cells by default.
    pathways
        Names of pathways, in this order; all by default.
    {modality}

    Returns
    -------
    One row per condition, model and pathway:

    ``condition``, ``split``
        Its name, and whether it was held out.
    ``model``
        ``"observed"`` or the key of a layer.
    ``pathway``
        Its name.
    ``activity``
        t of the univariate linear model of the mean effect on the pathway's weights, as ``decoupler.mt.ulm`` computes it.
        Above 0 the pathway is more active than in control cells. Cells are compared at :term:`equal depth`.

    Raises
    ------
    KeyError
        If a layer or the network does not exist.
    ValueError
        If a condition or a pathway does not exist.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.generate(adata)
    >>> spr.get.pathway_activity(adata, conditions="GENE014")["model"].unique().tolist()
    ['observed', 'generator']
    """
    adata = pick(adata, modality)
    # this import loads torch
    from scperturbrl.data.reference.networks import pathway_activities

    populations = Populations.of(adata, keys, conditions)
    labels, rows = [], []
    for condition in populations.conditions:
        for model, effect in populations.effects(condition):
            labels.append((condition, populations.split(condition), model))
            rows.append(effect)
    activity, names = pathway_activities(adata, np.stack(rows))
    wanted = chosen("pathways", pathways, names)
    frame = pd.DataFrame(labels, columns=["condition", slots.SPLIT, "model"])
    frame = frame.loc[frame.index.repeat(len(wanted))].reset_index(drop=True)
    values = pd.DataFrame(activity, columns=names)[wanted].to_numpy().ravel()
    return frame.assign(pathway=wanted * len(labels), activity=values)
