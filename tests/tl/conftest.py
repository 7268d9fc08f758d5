from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr


@pytest.fixture(scope="session")
def fitted_toy(ready_toy):
    adata = ready_toy.copy()
    spr.tl.fit_generator(adata, n_steps=40, width=16, n_latent=6, n_blocks=1, batch_size=64)
    return adata


@pytest.fixture
def fitted(fitted_toy):
    return fitted_toy.copy()


@pytest.fixture(scope="session")
def fitted_context():
    """Two cell types, a batch, doses; one combination of cell type and perturbation is held out."""
    adata = spr.datasets.simulated_perturbseq(
        n_genes=60,
        n_singles=4,
        n_doubles=2,
        n_cells_per_condition=48,
        n_controls=120,
        n_programs=6,
        n_pathways=4,
        cell_types=("T", "B"),
        doses=[1.0, 10.0],
        library_size=1500,
        dispersion=6.0,
    )
    adata.obs["batch"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 3 == 0, "x", "y"))
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"], dose_key="dose", batch_key="batch")
    spr.pp.split(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata)
    spr.tl.fit_generator(adata, n_steps=40, width=16, n_latent=6, n_blocks=1, batch_size=64)
    return adata


@pytest.fixture
def context(fitted_context):
    return fitted_context.copy()


@pytest.fixture(scope="session")
def fitted_screen():
    """A screen on which a generator learns the effects, so that what post-training does to them can be seen."""
    adata = spr.datasets.simulated_perturbseq(
        n_genes=150,
        n_singles=6,
        n_doubles=4,
        n_cells_per_condition=120,
        n_controls=300,
        n_programs=9,
        n_pathways=6,
        fraction_nonresponding=0.1,
        library_size=2500,
        dispersion=6.0,
        effect_size=1.5,
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    spr.pp.reference(adata)
    spr.tl.fit_generator(adata, n_steps=600, width=64, n_latent=12)
    return adata


@pytest.fixture
def screen(fitted_screen):
    return fitted_screen.copy()


@pytest.fixture(scope="session")
def dense():
    return lambda matrix: np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


@pytest.fixture(scope="session")
def fitted_pairs():
    """Enough combinations to leave some out."""
    adata = spr.datasets.simulated_perturbseq(
        n_genes=120, n_singles=8, n_doubles=16, n_cells_per_condition=40, n_controls=150, n_programs=6, n_pathways=4
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    spr.tl.fit_generator(adata, n_steps=40, width=16, n_latent=6, n_blocks=1, batch_size=64)
    return adata


@pytest.fixture
def screen_of_pairs(fitted_pairs):
    return fitted_pairs.copy()
