from __future__ import annotations

import warnings

import pytest

import scperturbrl as spr


@pytest.fixture(scope="session")
def finished():
    adata = spr.datasets.toy()
    with warnings.catch_warnings():
        # so short a run may well set off the guard
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.setup_anndata(adata)
        spr.pp.split(adata)
        spr.pp.reference(adata)
        spr.tl.fit_generator(adata, n_steps=30, width=32, n_latent=8)
        spr.tl.rl_finetune(adata, n_iterations=4, n_conditions=3)
        for key in ("generator", "generator_rl"):
            spr.tl.generate(adata, key=key)
            spr.tl.score(adata, layer=key)
        spr.tl.score(adata)
        spr.tl.evaluate(adata, n_cells=60)
    return adata


@pytest.fixture
def adata(finished):
    return finished.copy()


@pytest.fixture
def bare():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    return adata
