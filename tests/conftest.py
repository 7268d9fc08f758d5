from __future__ import annotations

import os
import warnings
from pathlib import Path

import anndata
import matplotlib as mpl
import matplotlib.pyplot as plt
import numba
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import sklearn.linear_model  # noqa: F401  loads the libraries whose threads are limited below
import torch
from scipy import sparse
from threadpoolctl import threadpool_limits

import scperturbrl as spr

SHARED = Path(__file__).parents[2] / "shared" / "data"


# Arrays are tiny here, and threads that wait for each other cost many times the work, above all where test processes
# share the cores. Scanpy's numba functions give PyTorch as many threads as they have themselves, whatever
# OMP_NUM_THREADS says, so all are told; the variable is for processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
numba.set_num_threads(1)
torch.set_num_threads(1)
threadpool_limits(limits=1)

mpl.use("Agg")


@pytest.fixture(autouse=True)
def no_figures_left_open():
    # one that a test leaves behind would be drawn on by the next one, whichever that is
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def shared_data():
    if not SHARED.is_dir():
        pytest.skip("the real data sets are not here")
    return SHARED


@pytest.fixture(scope="session")
def read_shared(shared_data):

    def read(name):
        path = shared_data / name
        if not path.exists():
            pytest.skip(f"{name} is not here")
        if path.suffix == ".gz":
            return pd.read_csv(path)
        return anndata.read_h5ad(path)

    return read


@pytest.fixture(scope="session")
def ready_toy():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata)
    return adata


@pytest.fixture
def toy(ready_toy):
    return ready_toy.copy()


@pytest.fixture(scope="session")
def finished():
    # all that tables and plots read
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


@pytest.fixture(scope="session")
def loaded_kang(read_shared):
    adata = read_shared("kang_2018_pbmc_ifnb.h5ad")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture
def kang(loaded_kang):
    return loaded_kang.copy()


@pytest.fixture(scope="session")
def loaded_zhao(read_shared):
    adata = read_shared("zhao_2021_gbm_panobinostat.h5ad")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture
def zhao(loaded_zhao):
    return loaded_zhao.copy()


@pytest.fixture(scope="session")
def loaded_norman(read_shared):
    adata = read_shared("norman_2019_k562_crispra.h5ad")
    # 250 genes are no library, so the size over all genes is used
    scale = 1e4 / adata.obs["size_total"].to_numpy(dtype=np.float64)
    adata.X = (sparse.diags(scale) @ adata.X).tocsr().astype(np.float32)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture
def norman(loaded_norman):
    return loaded_norman.copy()


@pytest.fixture(scope="session")
def kang_reference(loaded_kang, read_shared):
    adata = loaded_kang.copy()
    adata.obs["everything"] = "train"
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="column", column="everything")
    spr.pp.reference(adata, network=read_shared("networks/progeny_human_top100.csv.gz"))
    return adata
