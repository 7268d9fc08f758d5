"""Screens to measure on: Poisson counts with a few changed genes a condition, made fast and of any size."""

from __future__ import annotations

import warnings
from itertools import islice

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import scperturbrl as spr

_ROWS = 4096
_N_CHANGED = 30


def screen(n_cells: int, n_genes: int, n_conditions: int, *, depth: float = 0.6, seed: int = 0) -> ad.AnnData:
    """Log-normalised cells, a tenth of them controls; `depth` is the mean count of a gene. Set up and split."""
    rng = np.random.default_rng(seed)
    rate = rng.lognormal(0, 1, n_genes).astype(np.float32)
    rate *= depth / rate.mean()
    n_controls = max(n_cells // 10, 20)
    codes = np.concatenate([np.zeros(n_controls, dtype=int), 1 + np.arange(n_cells - n_controls) % n_conditions])
    changed = rng.integers(0, n_genes, (n_conditions + 1, _N_CHANGED))
    fold = np.exp(rng.normal(0, 1, (n_conditions + 1, _N_CHANGED))).astype(np.float32)
    fold[0] = 1
    blocks = []
    for start in range(0, n_cells, _ROWS):
        own = codes[start : start + _ROWS]
        mean = np.repeat(rate[None], len(own), axis=0)
        np.put_along_axis(mean, changed[own], np.take_along_axis(mean, changed[own], 1) * fold[own], 1)
        counts = rng.poisson(mean)
        unit = 1e4 / np.maximum(counts.sum(1, keepdims=True), 1)
        blocks.append(sparse.csr_matrix(np.log1p(counts * unit).astype(np.float32)))
    names = np.array(["control", *_labels(n_conditions, n_genes)])
    obs = pd.DataFrame({"perturbation": pd.Categorical(names[codes])}, index=[f"c{i}" for i in range(n_cells)])
    adata = ad.AnnData(sparse.vstack(blocks, format="csr"), obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))
    adata.uns["pathway_network"] = _network(n_genes, rng)
    warnings.filterwarnings("ignore", category=UserWarning)
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    return adata


def _labels(n_conditions: int, n_genes: int) -> list[str]:
    """Genes, whose loadings say something of those that are held out, and at least a tenth of combinations."""
    n_singles = min(n_conditions - max(n_conditions // 10, 2), n_genes)
    pairs = ((i, i + apart) for apart in range(1, n_singles) for i in range(n_singles - apart))
    doubles = [f"g{i}+g{j}" for i, j in islice(pairs, n_conditions - n_singles)]
    return [f"g{i}" for i in range(n_singles)] + doubles


def _network(n_genes: int, rng: np.random.Generator, n_pathways: int = 14) -> pd.DataFrame:
    genes = [rng.choice(n_genes, min(100, n_genes // 2), replace=False) for _ in range(n_pathways)]
    return pd.DataFrame(
        {
            "source": np.repeat([f"pathway{i}" for i in range(n_pathways)], [len(own) for own in genes]),
            "target": [f"g{i}" for own in genes for i in own],
            "weight": rng.choice([-1.0, 1.0], sum(map(len, genes))),
        }
    )
