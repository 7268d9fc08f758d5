"""Baselines for unseen perturbations, from perturbations of similar genes.

The baselines of :func:`scperturbrl.tl.evaluate` have no information about such a gene, so all of them equal the mean
response. These two use the default features of the generator, the loadings of every gene on the components of the
training cells. Like the generator, they change the perturbed gene itself by the typical change of a targeted gene.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from benchmarks.adapters.base import NotApplicable
from scperturbrl.data.cells.cells import Cells, dense
from scperturbrl.data.cells.components import training_components
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.vocabulary import gene_embeddings
from scperturbrl.data.reference.baselines import TrainingEffects
from scperturbrl.metrics import embedding_ridge_effect, nearest_effect
from scperturbrl.metrics.baselines.responses import without_own_genes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

N_COMPONENTS = 50


def nearest_embedding(adata: ad.AnnData, n_cells: int, seed: int) -> ad.AnnData:
    """Control cells shifted by the effect of the training perturbation with the most similar gene (cosine)."""
    del seed
    return _moved(adata, n_cells, lambda known, effects, query: nearest_effect(known, effects, features_query=query))


def embedding_ridge(adata: ad.AnnData, n_cells: int, seed: int) -> ad.AnnData:
    """Control cells shifted by a ridge of effects on embeddings; the penalty is chosen by leaving out perturbations."""
    del seed
    return _moved(
        adata,
        n_cells,
        lambda known, effects, query: embedding_ridge_effect(known, effects, features_query=query).effect,
    )


def _moved(
    adata: ad.AnnData, n_cells: int, predict: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> ad.AnnData:
    setup = Setup.of(adata)
    if setup.covariate_keys:
        msg = "the embedding baselines are for data without covariates"
        raise NotApplicable(msg)
    cells, genes = Cells.of(adata, setup), pd.Index(adata.var_names)
    training, names = TrainingEffects.of(cells), cells.conditions("test")
    parts = cells.table.loc[training.conditions, "parts"]
    alone = [i for i, own in enumerate(parts) if len(own) == 1 and own[0] in genes]
    wanted = [own[0] for own in cells.table.loc[names, "parts"] if len(own) == 1 and own[0] in genes]
    if len(wanted) < len(names) or not alone:
        msg = "the embedding baselines need single perturbations of measured genes"
        raise NotApplicable(msg)
    known = [parts.iloc[i][0] for i in alone]
    embeddings = gene_embeddings(training_components(cells, n_components=N_COMPONENTS).loadings, genes)
    embeddings = embeddings.div(np.linalg.norm(embeddings, axis=1), axis=0).fillna(0.0)
    others = without_own_genes(training.effects[alone], [(name,) for name in known], genes)
    found = predict(embeddings.loc[known].to_numpy(), others, embeddings.loc[wanted].to_numpy())
    is_control = cells.table["is_control"].to_numpy()[cells.codes]
    control = dense(cells.expression[np.flatnonzero(is_control & cells.is_training())])
    fold = _own_fold(cells, [training.conditions[i] for i in alone], genes.get_indexer(known), control)
    drawn, mean, made = control[:n_cells], control.mean(0), []
    for effect, own in zip(found, genes.get_indexer(wanted), strict=True):
        effect[own] = np.log1p(fold * np.expm1(control[:, own])).mean() - mean[own]
        made.append(shifted(drawn, mean + effect))
    obs = pd.DataFrame({setup.perturbation_key: np.repeat(cells.table.loc[names, "perturbation"], len(drawn))})
    obs.index = pd.RangeIndex(len(obs)).astype(str)
    return ad.AnnData(np.concatenate(made).astype(np.float32), obs=obs, var=adata.var[[]])


def _own_fold(cells: Cells, names: Sequence[str], own: np.ndarray, control: np.ndarray) -> float:
    """Median factor by which perturbing a gene changes its own rate."""
    folds = []
    for row, gene in zip(cells.rows(names), own, strict=True):
        here = dense(cells.expression[np.flatnonzero((cells.codes == row) & cells.is_training())][:, [gene]])
        rates = np.expm1(here).mean(), np.expm1(control[:, gene]).mean()
        folds += [rates[0] / rates[1]] if rates[1] > 0 else []
    return float(np.median(folds)) if folds else 1.0


def shifted(cells: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Shift `cells` ``(N, G)`` to `mean` without values below 0; clipping alone would raise the mean."""
    wanted = np.maximum(mean, 0)
    moved = np.maximum(cells + (mean - cells.mean(0)), 0)
    reached = moved.mean(0)
    return moved * np.divide(wanted, reached, out=np.zeros_like(wanted), where=reached > 0)
