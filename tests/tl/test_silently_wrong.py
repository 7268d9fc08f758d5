"""Ways to a wrong answer that a user finds with the README at hand, none of which may be silent."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import sparse

import scperturbrl as spr

POST = {"n_iterations": 1, "n_conditions": 2, "group_size": 4, "reward_steps": 1, "energy_steps": 1, "guard": False}
SMALL = {"n_steps": 3, "width": 16, "n_latent": 6, "n_blocks": 1}
BRIEF = {"verifiers": ["rmse_topk"], "n_cells": 20, "max_cells": 20}


@pytest.fixture(scope="module")
def rewarded_toy(fitted_toy):
    adata = fitted_toy.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.tl.rl_finetune(adata, verifiers=["pearson_topk"], **POST)
        spr.tl.generate(adata, key="generator_rl")
    return adata


@pytest.fixture
def rewarded(rewarded_toy):
    return rewarded_toy.copy()


def role_of(table, metric):
    return table.loc[table["metric"] == metric, "role"].unique().tolist()


def test_a_layer_of_a_rewarded_generator_has_no_held_out_reward(rewarded):
    table = spr.tl.evaluate(
        rewarded, keys=[], layers=["generator_rl"], n_cells=20, max_cells=20, verifiers=["pearson_topk"]
    )
    assert role_of(table, "score_pearson_topk") == ["rewarded"]
    assert role_of(table, "pearson_delta") == ["related"]
    assert role_of(table, "interaction") == ["held-out"]


def test_nor_have_its_predictions(rewarded, fitted, tmp_path):
    made = spr.tl.predict(rewarded, key="generator_rl", n_cells=20)
    made.write_h5ad(tmp_path / "made.h5ad")
    # judged where the generator itself is not known
    table = spr.tl.evaluate(fitted, predictions={"mine": made}, **BRIEF | {"verifiers": ["pearson_topk"]})
    assert role_of(table, "score_pearson_topk") == ["rewarded"]


def test_nor_have_cells_that_were_selected_by_it(fitted):
    made = spr.tl.predict(fitted, n_cells=40)
    plain = spr.tl.evaluate(fitted, predictions={"mine": made}, **BRIEF)
    assert role_of(plain, "score_rmse_topk") == ["held-out"]
    spr.tl.score(made, reference=fitted, verifiers=["rmse_topk"], pseudo_references="ridge")
    spr.tl.select(made, n=2)
    assert role_of(spr.tl.evaluate(fitted, predictions={"mine": made}, **BRIEF), "score_rmse_topk") == ["held-out"]
    best = made[made.obs["generated_selected"]].copy()
    table = spr.tl.evaluate(fitted, predictions={"mine": best}, **BRIEF)
    assert role_of(table, "score_rmse_topk") == ["rewarded"]
    assert role_of(table, "mse") == ["related"]


def test_nor_has_a_child_whose_rewarded_parent_was_deleted(rewarded, tmp_path):
    spr.tl.rl_finetune(rewarded, key="generator_rl", key_added="second", verifiers=["rmse_topk"], **POST)
    spr.tl.save_generator(rewarded, tmp_path / "second", key="second")
    del rewarded.uns["generator_rl"], rewarded.uns["second"]
    spr.tl.load_generator(rewarded, tmp_path / "second", key_added="second")
    table = spr.tl.evaluate(rewarded, keys=["second"], **BRIEF | {"verifiers": ["pearson_topk"]})
    assert role_of(table, "score_pearson_topk") == ["rewarded"]
    rewarded.uns["evaluation"]["role"] = "held-out"
    assert "pearson_delta" not in set(spr.get.held_out(rewarded)["metric"])


def test_a_parent_that_was_fitted_again_is_no_parent(rewarded):
    spr.tl.fit_generator(rewarded, seed=3, **SMALL)
    with pytest.warns(UserWarning, match="'generator' was fitted again since 'generator_rl' was post-trained from it"):
        spr.tl.evaluate(rewarded, keys=["generator_rl"], **BRIEF)


@pytest.mark.parametrize("way", ["layer", "prediction", "backwards"])
def test_measured_cells_are_no_prediction(fitted, way):
    options = {"keys": [], **BRIEF}
    if way == "layer":
        fitted.layers["mine"] = fitted.X.copy()
        options["layers"] = ["mine"]
    else:
        options["predictions"] = {"mine": fitted[:: -1 if way == "backwards" else 1].copy()}
    with pytest.warns(
        UserWarning,
        match=r"\d+ of \d+ checked cells of the prediction 'mine' .*identical to measured cells of the same conditions",
    ):
        spr.tl.evaluate(fitted, **options)


@pytest.mark.parametrize(
    ("place", "call"),
    [
        (r"uns\['scperturbrl'\]", lambda adata: spr.tl.fit_generator(adata, key_added="scperturbrl", **SMALL)),
        (r"uns\['screen'\]", lambda adata: spr.tl.fit_generator(adata, key_added="screen", **SMALL)),
        (r"uns\['mine'\]", lambda adata: spr.tl.fit_generator(adata, key_added="mine", **SMALL)),
        (r"uns\['pathway_network'\]", lambda adata: spr.tl.rl_finetune(adata, key_added="pathway_network", **POST)),
        (r"uns\['generator'\]", lambda adata: spr.tl.evaluate(adata, key_added="generator", **BRIEF)),
        (r"layers\['counts'\]", lambda adata: spr.tl.generate(adata, key_added="counts")),
    ],
)
def test_no_result_takes_the_place_of_something_else(fitted, digest, place, call):
    fitted.uns["mine"] = {"note": 1}
    before = digest(fitted)
    with pytest.raises(ValueError, match=rf"`key_added` is .*`{place}` is not a .* would be overwritten"):
        call(fitted)
    assert digest(fitted) == before


def test_results_of_the_same_kind_are_replaced(rewarded):
    spr.tl.generate(rewarded, key="generator_rl")
    spr.tl.evaluate(rewarded, keys=[], layers=["generator_rl"], key_added="table", **BRIEF)
    spr.tl.evaluate(rewarded, keys=[], layers=["generator_rl"], key_added="table", **BRIEF)
    spr.pp.setup_anndata(rewarded)
    spr.pp.split(rewarded, validation_fraction=0.15)
    spr.tl.generate(rewarded, key="generator_rl")


@pytest.mark.parametrize("verb", [spr.pp.reference, lambda adata: spr.tl.fit_generator(adata, **SMALL)])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: np.where(values > 2, np.nan, values), "NaN"),
        (lambda values: np.expm1(values), "too high for log1p"),
        (lambda values: np.round(np.expm1(values) / 50), "raw counts"),
        (lambda values: values - values.mean(0), "negative"),
    ],
)
def test_expression_is_looked_at_again_after_the_setup(toy, verb, change, message):
    toy.X = change(toy.X.toarray()).astype(np.float32)
    with pytest.raises(ValueError, match=message):
        verb(toy)


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (
            {"perturbation_key": "other", "control": "GENE014"},
            "with 'GENE014' as a perturbation, which is the control .* now",
        ),
        ({"covariate_keys": ["cell_type"]}, r"with covariates not declared, which `adata` declares as \['cell_type'\]"),
        ({"dose_key": "dose"}, r"with a dose not declared, which `adata` declares as \['dose'\]"),
    ],
)
def test_a_generator_under_another_setup_is_refused(fitted, tmp_path, setup, message):
    spr.tl.save_generator(fitted, tmp_path / "model")
    fitted.obs["other"] = fitted.obs["perturbation"].astype(str).replace({"control": "none"})
    fitted.obs["dose"] = 5.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.setup_anndata(fitted, **setup)
        spr.pp.split(fitted)
    for call in (spr.tl.predict, spr.tl.generate, lambda adata: spr.tl.load_generator(adata, tmp_path / "model")):
        with pytest.raises(ValueError, match=message):
            call(fitted)


@pytest.mark.parametrize("verb", [spr.tl.predict, spr.tl.generate, lambda adata: spr.tl.evaluate(adata, **BRIEF)])
@pytest.mark.parametrize("change", ["another total", "turned genes"])
def test_control_cells_that_the_generator_does_not_know_are_told(fitted, verb, change):
    values = fitted.X.toarray()
    values = np.log1p(100 * np.expm1(values)) if change == "another total" else values[:, ::-1]
    fitted.X = sparse.csr_matrix(values, dtype=np.float32)
    spr.pp.setup_anndata(fitted)
    spr.pp.split(fitted, validation_fraction=0.15)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(fitted)
    with pytest.warns(
        UserWarning, match="control cells differ from those to which the generator 'generator' was fitted"
    ):
        verb(fitted)


def test_batches_without_controls_are_told():
    adata = spr.datasets.toy()
    is_control = adata.obs["perturbation"] == "control"
    adata.obs["mine"] = np.where(is_control, "a", "b")
    with pytest.warns(
        UserWarning,
        match=r"210 of 210 perturbed cells are in batches of `obs\['mine'\]` without control cells, such as 'b'",
    ):
        spr.pp.setup_anndata(adata, batch_key="mine")
    adata.obs["mine"] = np.where(is_control | (np.arange(adata.n_obs) % 3 > 0), "a", "b")
    spr.pp.setup_anndata(adata, batch_key="mine")


@pytest.mark.parametrize("factor", [0.6, 1.3])
def test_a_prediction_normalised_to_another_total_is_refused(fitted, factor):
    made = spr.tl.predict(fitted, n_cells=20)
    made.X = np.log1p(factor * np.expm1(made.X.toarray()))
    with pytest.raises(ValueError, match=rf"its cells have {factor} times the total of control cells"):
        spr.tl.evaluate(fitted, keys=[], predictions={"mine": made}, **BRIEF)


def test_gene_sets_that_were_not_measured_are_no_metric(fitted):
    network = fitted.uns["pathway_network"]
    with pytest.raises(ValueError, match=r"No set of `networks\['mine'\]` has 5 targets among the 60 genes"):
        spr.tl.evaluate(fitted, networks={"mine": network.assign(target="Z" + network["target"])}, **BRIEF)


def test_an_evaluation_needs_training_cells(fitted):
    part = fitted[(fitted.obs["split"] == "test") | (fitted.obs["perturbation"] == "control")].copy()
    with pytest.raises(ValueError, match="no perturbed training cells, which baselines and scaled scores need"):
        spr.tl.evaluate(part, **BRIEF)


def test_a_measured_dose_with_fewer_digits_is_no_extrapolation(context):
    context.obs["dose"] = (0.1 * context.obs["dose"]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.setup_anndata(context, covariate_keys=["cell_type"], dose_key="dose")
        spr.pp.split(context)
    spr.tl.fit_generator(context, **SMALL)
    label = context.obs["perturbation"].astype(str)[context.obs["dose"] > 0].iloc[0]
    spr.tl.predict(context, label, dose=0.1, n_cells=2)
