"""A reference, or scores, of cells that are not those any more."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scperturbrl as spr

POST = {"n_iterations": 1, "n_conditions": 2, "group_size": 4, "reward_steps": 1, "energy_steps": 1}
BRIEF = {"verifiers": ["rmse_topk"], "n_cells": 20, "max_cells": 20}


def scaled(adata):
    adata.X = adata.X * 0.5


def turned(adata):
    adata.X = adata.X[::-1].copy()


def controls_scaled(adata):
    adata.X = adata.X.multiply(np.where(adata.obs["perturbation"] == "control", 0.9, 1.0)[:, None]).tocsr()


def swapped(adata):
    trained = [name for name in adata.varm["perturbation_effect"] if "+" not in name][:2]
    adata.obs["perturbation"] = (
        adata.obs["perturbation"].astype(str).replace(dict(zip(trained, trained[::-1], strict=True)))
    )


def one_swapped(adata):
    trained = list(adata.varm["perturbation_effect"])
    labels = adata.obs["perturbation"].astype(str)
    labels[labels.index[labels == trained[0]][0]] = trained[1]
    adata.obs["perturbation"] = labels


def renamed(adata):
    adata.obs_names = [f"new-{name}" for name in adata.obs_names]


CHANGES = {
    scaled: r"expression in `X` changed since the reference was made: \d+ of the \d+ cells .*such as cell 'cell\d+' of '.*pp\.reference\(adata\)` again",
    turned: r"expression in `X` changed since the reference was made",
    controls_scaled: r"expression in `X` changed .* of 'control'",
    swapped: r"labels of \d+ cells changed since the reference was made: cell 'cell\d+' of '(GENE\d+)' is labelled 'GENE\d+' now.*pp\.reference\(adata\)` again",
    one_swapped: r"labels of 1 cells changed",
    renamed: r"\d+ training cells were added or renamed since the reference was made, such as 'new-cell",
}
VERBS = {
    "score": spr.tl.score,
    "observed": lambda adata: spr.tl.score(adata, reference="observed"),
    "pseudo-references": lambda adata: spr.tl.score(adata, pseudo_references="ridge"),
    "rl_finetune": lambda adata: spr.tl.rl_finetune(adata, **POST),
    "evaluate": lambda adata: spr.tl.evaluate(adata, **BRIEF),
    "screen": lambda adata: spr.tl.screen(adata, "pairs", reward=next(iter(adata.varm["perturbation_effect"]))),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_reference_of_other_cells_is_refused(toy, change):
    change(toy)
    with pytest.raises(ValueError, match=CHANGES[change]):
        spr.tl.score(toy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(toy)
    spr.tl.score(toy)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_asks(fitted, verb):
    scaled(fitted)
    with pytest.raises(ValueError, match="changed since the reference was made"):
        VERBS[verb](fitted)


def test_cells_of_others_are_judged_by_an_unchanged_reference_only(toy):
    theirs = toy.copy()
    spr.tl.score(theirs, reference=toy)
    turned(toy)
    with pytest.raises(ValueError, match="changed since the reference was made"):
        spr.tl.score(theirs, reference=toy)


def test_a_declared_layer_is_named(ready_toy):
    adata = ready_toy.copy()
    adata.layers["mine"] = adata.X.copy()
    spr.pp.setup_anndata(adata, layer="mine")
    spr.pp.split(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata)
    adata.X = adata.X * 0.5
    spr.tl.score(adata)
    adata.layers["mine"] = adata.layers["mine"] * 0.5
    with pytest.raises(ValueError, match=r"expression in `layers\['mine'\]` changed"):
        spr.tl.score(adata)


def as_part(adata, tmp_path):
    return adata[np.arange(adata.n_obs) % 3 > 0].copy()


def as_file(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    return ad.read_h5ad(tmp_path / "a.h5ad", backed="r")


def as_zarr(adata, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_zarr(tmp_path / "a.zarr")
    return ad.read_zarr(tmp_path / "a.zarr")


def with_matrix(make):
    def change(adata, tmp_path):
        adata.X = make(adata.X)
        return adata

    return change


def without_generated(adata, tmp_path):
    joined = ad.concat([adata, spr.tl.predict(adata, n_cells=5)], uns_merge="first", merge="same")
    for name in adata.varm:
        joined.varm[name] = adata.varm[name]
    return joined[joined.obs["origin"] != "generated"].copy()


def with_a_column(adata, tmp_path):
    adata.obs["mine"] = 1
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).astype("category")
    return adata


@pytest.mark.parametrize(
    "change",
    [
        lambda adata, _: adata[::-1].copy(),
        lambda adata, _: adata[::-1],
        as_part,
        as_file,
        as_zarr,
        without_generated,
        with_a_column,
        with_matrix(lambda X: X.toarray()),
        with_matrix(lambda X: X.tocsc()),
        with_matrix(lambda X: X.astype(np.float64)),
        with_matrix(lambda X: sparse.csr_matrix(X.toarray(order="F"))),
    ],
    ids=["turned", "view", "part", "backed", "zarr", "joined", "column", "dense", "csc", "float64", "again"],
)
def test_the_same_cells_are_accepted(fitted, tmp_path, change):
    expected = fitted.copy()
    spr.tl.score(expected, key_added="now")
    adata = change(fitted, tmp_path)
    whole = adata.n_obs == expected.n_obs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (UserWarning, ad.ImplicitModificationWarning))
        spr.tl.score(adata, key_added="now")
    if whole:
        found = adata.obsm["score_now"].loc[expected.obs_names]
        pd.testing.assert_frame_equal(found, expected.obsm["score_now"], atol=1e-4, rtol=0, check_index_type=False)


@pytest.fixture
def scored(fitted):
    fitted.layers["theirs"] = fitted.X.copy()
    spr.tl.score(fitted, layer="theirs", key_added="mine")
    return fitted


def test_selecting_by_scores_of_an_edited_layer_is_refused(scored):
    before = spr.tl.select(scored.copy(), key="mine")
    assert before["spread_ratio"].notna().any()
    scored.layers["theirs"] = scored.layers["theirs"][::-1].copy()
    with pytest.raises(
        ValueError, match=r"cells in `layers\['theirs'\]` changed since the scores 'mine' .*tl\.score` again"
    ):
        spr.tl.select(scored, key="mine")
    spr.tl.score(scored, layer="theirs", key_added="mine")
    spr.tl.select(scored, key="mine")


def test_selecting_after_labels_were_swapped_is_refused(scored):
    swapped(scored)
    with pytest.raises(
        ValueError, match=r"labels of cells in `obs\[\['perturbation'\]\]` changed since the scores 'mine'"
    ):
        spr.tl.select(scored, key="mine")


def test_a_selection_costs_what_the_scored_layer_loses(scored):
    # not what `X` would lose, where the scores have another name than the layer
    expected = spr.tl.select(scored.copy(), key="mine")
    scored.X = sparse.csr_matrix(scored.X.shape, dtype=np.float32)
    pd.testing.assert_frame_equal(spr.tl.select(scored, key="mine"), expected)


def test_predicted_cells_in_any_order_can_be_selected(fitted):
    made = spr.tl.predict(fitted, list(fitted.varm["perturbation_effect"])[:2], n_cells=20)
    spr.tl.score(made, reference=fitted)
    spr.tl.select(made[::-1].copy(), n=2)
    part = made[:, ::-1].copy()
    spr.tl.select(part, n=2)
    made.X = made.X * 1.1
    with pytest.raises(ValueError, match=r"cells in `X` changed since the scores 'generated'"):
        spr.tl.select(made, n=2)
