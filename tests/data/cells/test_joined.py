from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scperturbrl.data.cells.joined import filled_genes


@pytest.fixture
def two():
    """Two data sets of 60 cells; 20 of 60 genes are measured in one of them only."""
    rng = np.random.default_rng(0)
    of = lambda name, genes: ad.AnnData(
        np.log1p(rng.poisson(2.0, (60, len(genes)))).astype(np.float32),
        obs=pd.DataFrame({"where": name, "half": ["a", "b"] * 30}, index=[f"{name}{i}" for i in range(60)]),
        var=pd.DataFrame(index=[f"gene{i}" for i in genes]),
    )
    return of("first", range(50)), of("second", range(10, 60))


def joined(two, how):
    adata = ad.concat(list(two), join=how, fill_value=0)
    assert not np.isnan(adata.X).any()
    return adata


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_an_outer_join_is_found_and_its_genes_named(two, form):
    adata = joined(two, "outer")
    found = filled_genes(adata, form(adata.X), ["half", "where"])
    assert (found.column, found.group) in [("where", "first"), ("where", "second")]
    wanted = {"first": range(50, 60), "second": range(10)}[found.group]
    assert found.genes == [f"gene{i}" for i in wanted]
    text = found.warning(adata.n_vars)
    assert "10 of 60 genes" in text
    assert repr(found.group) in text
    assert "join='inner'" in text


def test_an_inner_join_is_not(two):
    adata = joined(two, "inner")
    assert filled_genes(adata, adata.X, ["where", "half"]) is None


@pytest.mark.parametrize(("column", "seen"), [("Dataset", True), ("colour", False)])
def test_usual_names_of_data_sets_are_looked_at_undeclared(two, column, seen):
    adata = joined(two, "outer")
    adata.obs = adata.obs.rename(columns={"where": column})
    found = filled_genes(adata, adata.X, [])
    assert (found is not None) == seen


def test_one_cell_that_has_the_gene_is_enough(two):
    adata = joined(two, "outer")
    # not among the cells that are read first
    big = ad.concat([adata] * 9, index_unique="-")
    big = big[np.argsort(big.obs["where"], kind="stable")].copy()
    big.X[:, :] = np.where(np.arange(60) < 50, big.X, 0)
    assert filled_genes(big, big.X, ["where"]).group == "second"
    last = np.flatnonzero(big.obs["where"] == "second")[-2]
    big.X[last, :10] = 1.0
    assert filled_genes(big, big.X, ["where"]) is None


def test_rare_genes_and_few_cells_are_no_join(two):
    adata = joined(two, "outer")
    rare = adata.X * (np.random.default_rng(0).random(adata.shape) < 0.1)
    assert filled_genes(adata, rare, ["where"]) is None
    few = adata[[*range(10), *range(60, 120)]].copy()
    found = filled_genes(few, few.X, ["where"])
    assert found is None or found.group == "second"


def test_a_few_marker_genes_are_no_join(two):
    adata = joined(two, "inner")
    adata.X[:60, :4] = 0
    assert filled_genes(adata, adata.X, ["where"]) is None
