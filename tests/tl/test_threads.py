from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from threadpoolctl import threadpool_info

import scperturbrl as spr
from scperturbrl.verifiers import Verifier


@pytest.fixture(autouse=True)
def one_worker_afterwards():
    before = sc.settings.n_jobs
    yield
    sc.settings.n_jobs = before


def results(adata, n_jobs):
    """What every verb that deals out work writes or returns."""
    sc.settings.n_jobs = n_jobs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata)
        spr.tl.generate(adata, device="cpu")
        spr.tl.score(adata, reference="observed", percentile=True)
        spr.tl.score(adata, layer="generator")
        table = spr.tl.evaluate(adata, n_cells=40, device="cpu")
        # three blocks of generated cells
        made = spr.tl.predict(adata, list(table["condition"].unique()), n_cells=1100, device="cpu")
    return {
        "calibration": adata.uns["scperturbrl"]["reference"]["calibration"],
        "observed": adata.obsm["score_observed"].assign(
            reward=adata.obs["observed_reward"], percentile=adata.obs["observed_percentile"]
        ),
        "generated": adata.obsm["score_generator"].assign(reward=adata.obs["generator_reward"]),
        "layer": pd.DataFrame(adata.layers["generator"].toarray()),
        "coordinates": pd.DataFrame(adata.obsm["X_pca_generator"]),
        "evaluation": table,
        "predicted": pd.DataFrame(made.X.toarray()),
    }


@pytest.fixture(scope="module")
def alone(fitted_toy):
    return results(fitted_toy.copy(), 1)


@pytest.mark.parametrize("n_jobs", [2, 5])
def test_workers_change_no_bit(fitted, alone, n_jobs):
    for name, found in results(fitted, n_jobs).items():
        pd.testing.assert_frame_equal(found, alone[name], check_exact=True, obj=name)
    assert alone["predicted"].shape[0] > 1024


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_verbs_compute_on_one_thread_whatever_the_user_set(fitted, n_jobs):
    seen = []

    def score(cells, reference):
        del reference
        seen.append((torch.get_num_threads(), max(pool["num_threads"] for pool in threadpool_info())))
        return cells.mean(-1)

    spy = Verifier(name="spy", score=score, label="Spy", description="Looks at threads.", range=(0.0, np.inf))
    sc.settings.n_jobs = n_jobs
    torch.set_num_threads(2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            spr.tl.score(fitted, reference="observed", verifiers=[spy])
            spr.tl.evaluate(fitted, keys=[], verifiers=[spy])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(seen) == {(1, 1)}
