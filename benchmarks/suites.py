"""Data sets of the benchmarks, each set up, split and with a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

import scperturbrl as spr

if TYPE_CHECKING:
    from pathlib import Path

SUITES = ("simulated", "kang", "norman", "zhao")


def load(suite: str, seed: int, data: Path) -> ad.AnnData:
    """Return data set `suite` with the held-out conditions of `seed`.

    ``simulated`` is a new data set for every seed with 30 % of the doubles held out; ``norman`` holds out 30 % of the
    doubles with both singles measured; ``kang`` holds out one cell type, ``zhao`` one patient, drawn with the seed.
    """
    adata, network, covariate = {"simulated": _simulated, "kang": _kang, "norman": _norman, "zhao": _zhao}[suite](
        seed, data
    )
    spr.pp.setup_anndata(adata, covariate_keys=[covariate] if covariate else [])
    if covariate:
        spr.pp.split(adata, holdout=covariate, fraction=0.15, seed=seed)
    else:
        spr.pp.split(adata, holdout="combinations", fraction=0.3, seed=seed)
    spr.pp.reference(adata, network=network, seed=seed)
    return adata


def _simulated(seed: int, data: Path) -> tuple[ad.AnnData, pd.DataFrame, str]:
    del data
    adata = spr.datasets.simulated_perturbseq(n_singles=24, n_doubles=30, seed=seed)
    return adata, adata.uns["pathway_network"], ""


def _kang(seed: int, data: Path) -> tuple[ad.AnnData, pd.DataFrame, str]:
    del seed
    adata = _normalise(ad.read_h5ad(data / "kang_2018_pbmc_ifnb.h5ad"))
    return adata, _network(data, "progeny_human_top100"), "cell_type"


def _norman(seed: int, data: Path) -> tuple[ad.AnnData, pd.DataFrame, str]:
    del seed
    adata = ad.read_h5ad(data / "norman_2019_k562_crispra.h5ad")
    # the file holds 250 genes; its library sizes were counted over all of them
    adata.X = adata.X.multiply(1e4 / adata.obs["size_total"].to_numpy()[:, None]).tocsr().astype(np.float32)
    sc.pp.log1p(adata)
    return adata, _network(data, "msigdb_hallmark_v7.0_human"), ""


def _zhao(seed: int, data: Path) -> tuple[ad.AnnData, pd.DataFrame, str]:
    del seed
    adata = _normalise(ad.read_h5ad(data / "zhao_2021_gbm_panobinostat.h5ad"))
    return adata, _network(data, "msigdb_hallmark_v7.0_human"), "patient_id"


def _normalise(adata: ad.AnnData) -> ad.AnnData:
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def _network(data: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(data / "networks" / f"{name}.csv.gz")
