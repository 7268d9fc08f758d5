"""Features of unmeasured perturbations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl.data.generator.stored import is_generator, read_generator
from scperturbrl.data.generator.vocabulary import check_embeddings

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells


def perturbation_features(adata: AnnData, key: str | None, embeddings: pd.DataFrame | None) -> pd.DataFrame | None:
    """Features of perturbations: those given, or those that the generator was fitted with, or None for responses of genes."""
    if embeddings is not None:
        return check_embeddings(embeddings)
    if key is None and not is_generator(adata, default_key(adata)):
        return None
    stored = read_generator(adata, default_key(adata, key))
    return None if stored.generator.linear.n_responses else stored.vocabulary.embeddings


def trained_perturbations(cells: Cells) -> list[str]:
    """Perturbations of the training conditions."""
    names = cells.conditions(keys.TRAIN, min_cells=2)
    return sorted({part for parts in cells.table.loc[names, "parts"] for part in parts})


def described_perturbations(cells: Cells, features: pd.DataFrame | None) -> list[str]:
    """Perturbations with features, which can be predicted without any of their cells."""
    return [str(name) for name in (cells.genes if features is None else features.index)]
