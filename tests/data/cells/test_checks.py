from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pytest

import scperturbrl as spr

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
