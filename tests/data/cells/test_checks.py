from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scperturbrl as spr
from scperturbrl.data.cells.checks import filled_genes

SMALL = {"n_steps": 3, "width": 16, "n_latent": 6}


def first_of(adata, label):
    return next(name for name in adata.uns["scperturbrl"]["split"][label] if name != "control")


def moved(adata, name, label):
    adata.obs["split"] = adata.obs["split"].astype(str).mask(adata.obs["perturbation"].astype(str) == name, label)


@pytest.mark.parametrize(
    "verb",
    [
        spr.tl.fit_generator,
        spr.pp.reference,
        spr.tl.score,
        spr.tl.evaluate,
        spr.tl.generate,
        spr.tl.predict,
        lambda adata: spr.tl.screen(adata, "pairs", objective="size"),
    ],
)
def test_a_split_that_was_edited_by_hand_is_refused_everywhere(toy, verb):
    name = first_of(toy, "test")
    moved(toy, name, "train")
    with pytest.raises(
        ValueError,
        match=rf"`obs\['split'\]` is 'train' for a cell of '{name.replace('+', '.')}', which .* made 'test' \(\d+ cells.*pp\.split",
    ):
        verb(toy)


def test_the_remedy_takes_the_column_as_it_is(toy):
    name = first_of(toy, "test")
    moved(toy, name, "train")
    spr.pp.split(toy, holdout="column", column="split")
    assert name in toy.uns["scperturbrl"]["split"]["train"]
    spr.tl.fit_generator(toy, **SMALL)


def test_labels_that_changed_sides_are_refused(toy):
    trained, tested = first_of(toy, "train"), first_of(toy, "test")
    toy.obs["perturbation"] = toy.obs["perturbation"].astype(str).replace({tested: trained, trained: tested})
    with pytest.raises(ValueError, match="or labels, were changed by hand"):
        spr.tl.fit_generator(toy)


def test_new_labels_are_refused(toy):
    toy.obs["perturbation"] = toy.obs["perturbation"].astype(str).replace({first_of(toy, "train"): "NEW"})
    with pytest.raises(ValueError, match=r"1 conditions are not in the split \('NEW'\).*pp\.split"):
        spr.tl.fit_generator(toy)


def test_a_column_of_ones_own_needs_whole_conditions():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    adata.obs["split"] = np.where(np.arange(adata.n_obs) % 2, "train", "test")
    with pytest.raises(ValueError, match=r"cells of one condition to different parts of the split: 'GENE.*pp\.split"):
        spr.tl.fit_generator(adata)


def doubled(adata):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Observation names are not unique")
        found = ad.concat([adata, adata], uns_merge="first", merge="same")
        for name in adata.varm:
            found.varm[name] = adata.varm[name]
        return found


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize(
    "verb", [spr.pp.setup_anndata, spr.pp.split, spr.pp.reference, spr.tl.score, spr.tl.fit_generator]
)
def test_doubled_cells_are_refused(toy, verb):
    adata = doubled(toy)
    with pytest.raises(
        ValueError,
        match=rf"{toy.n_obs} of {2 * toy.n_obs} cells occur more than once.*~adata\.obs_names\.duplicated\(\)",
    ):
        verb(adata)
    if verb is not spr.tl.fit_generator:
        verb(adata[~adata.obs_names.duplicated()].copy())


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_cells_of_one_name_that_differ_are_told_apart(toy):
    names = toy.obs_names.to_numpy().astype(object)
    names[1] = names[0]
    toy.obs_names = names
    with pytest.raises(ValueError, match=r"occurs more than once.*obs_names_make_unique"):
        spr.pp.setup_anndata(toy)
    adata = doubled(toy)
    with pytest.raises(ValueError, match=r"different cells unique \(`adata\.obs_names_make_unique"):
        spr.pp.split(adata)


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
