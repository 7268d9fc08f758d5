from __future__ import annotations

import json
import os
import signal
import threading
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr
from scperturbrl.data.generator import trained_means
from scperturbrl.data.latent import scvi_training
from scperturbrl.flow.training import fit

# only there the same seed gives the same bits
EXACT = {"device": "cpu"}
SMALL = {"n_steps": 10, "width": 16, "n_latent": 5, "n_blocks": 1, "batch_size": 32}


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_slots_are_as_documented(toy):
    before = toy.copy()
    assert spr.tl.fit_generator(toy, **SMALL) is None
    record = toy.uns["generator"]
    assert sorted(record) == ["conditions", "fitted", "history", "params", "space", "weights"]
    assert set(toy.uns) - set(before.uns) == {"generator"}
    assert list(record["history"].columns) == ["step", "loss", "validation_loss", "validation_energy"]
    assert all(value.dtype == np.float32 for value in record["weights"].values())
    assert record["params"]["parent"] == ""
    assert record["params"]["n_steps"] == 10
    assert record["params"]["seed"] == 0
    assert set(record["params"]["versions"]) >= {"scperturbrl", "torch"}
    assert list(record["space"]["genes"]) == list(toy.var_names)


def test_nothing_else_is_touched(toy):
    before = toy.copy()
    spr.tl.fit_generator(toy, key_added="mine", **SMALL)
    assert (toy.X != before.X).nnz == 0
    assert list(toy.obs_names) == list(before.obs_names)
    pd.testing.assert_frame_equal(toy.obs, before.obs)
    assert "generator" not in toy.uns
    assert toy.uns["mine"]["params"]["method"] == "fit_generator"


def test_the_table_of_conditions_tells_what_was_seen(fitted):
    table = fitted.uns["generator"]["conditions"]
    trained = fitted.obs.loc[fitted.obs["split"] == "train", "perturbation"].astype(str).unique()
    parts = {part for label in trained for part in label.split("+")} - {"control"}
    assert set(table.index) == set(fitted.obs["perturbation"].astype(str))
    for name, row in table.iterrows():
        own = [] if name == "control" else name.split("+")
        assert row["n_parts"] == len(own)
        assert row["parts_seen"] == len(parts & set(own))
        assert row["split"] == fitted.obs.loc[fitted.obs["perturbation"] == name, "split"].iloc[0]
        assert row["n_cells"] == (fitted.obs["perturbation"] == name).sum()


def test_the_same_seed_gives_the_same_weights(toy):
    spr.tl.fit_generator(toy, key_added="drawn", seed=np.random.default_rng(0), **SMALL, **EXACT)
    seed = toy.uns["drawn"]["params"]["seed"]
    assert seed == np.random.default_rng(0).integers(2**31 - 1)
    for key, other in (("same", int(seed)), ("another", int(seed) + 1)):
        spr.tl.fit_generator(toy, key_added=key, seed=other, **SMALL, **EXACT)
    assert equal(toy.uns["drawn"]["weights"], toy.uns["same"]["weights"])
    assert not equal(toy.uns["drawn"]["weights"], toy.uns["another"]["weights"])


def test_test_cells_do_not_matter(toy):
    spoilt = toy.copy()
    rows = np.flatnonzero(spoilt.obs["split"] == "test")
    values = spoilt.X.toarray()
    values[rows] = values[rows[::-1]] * 0.5
    spoilt.X = type(spoilt.X)(values)
    for adata in (toy, spoilt):
        spr.tl.fit_generator(adata, **SMALL, **EXACT)
    assert equal(toy.uns["generator"]["weights"], spoilt.uns["generator"]["weights"])


@pytest.mark.parametrize("end", ["h5ad", "zarr"])
def test_a_file_brings_back_the_same_generator(fitted, tmp_path, end):
    path = tmp_path / f"screen.{end}"
    if end == "h5ad":
        fitted.write_h5ad(path)
        again = ad.read_h5ad(path)
    else:
        with warnings.catch_warnings():
            # anndata announces another default format
            warnings.simplefilter("ignore", UserWarning)
            fitted.write_zarr(path)
        again = ad.read_zarr(path)
    assert equal(fitted.uns["generator"]["weights"], again.uns["generator"]["weights"])
    for adata in (fitted, again):
        spr.tl.generate(adata, seed=1)
    assert (fitted.layers["generator"] != again.layers["generator"]).nnz == 0
    spr.tl.rl_finetune(again, n_iterations=1, n_conditions=2, group_size=2)
    assert again.uns["generator_rl"]["params"]["parent"] == "generator"


def test_dense_and_sparse_expression_give_the_same_space(toy):
    dense = toy.copy()
    dense.X = dense.X.toarray()
    for adata in (toy, dense):
        spr.tl.fit_generator(adata, **SMALL)
    one, other = (adata.uns["generator"]["weights"] for adata in (toy, dense))
    np.testing.assert_allclose(one["space.mean"], other["space.mean"], atol=1e-4)
    plane = [weights["space.components"] @ weights["space.components"].T for weights in (one, other)]
    np.testing.assert_allclose(*plane, atol=1e-3)
    np.testing.assert_allclose(one["observation.intercept"], other["observation.intercept"], atol=0.1)


def test_training_goes_on_from_a_fitted_generator(fitted):
    spr.tl.fit_generator(fitted, init_from="generator", key_added="longer", n_steps=15, batch_size=32)
    parent, longer = fitted.uns["generator"], fitted.uns["longer"]
    assert longer["params"]["parent"] == "generator"
    assert longer["fitted"]["best_step"] == 15
    assert longer["space"]["architecture"] == parent["space"]["architecture"]
    for name, value in longer["weights"].items():
        kept = name.startswith(("space", "observation", "denoise", "linear.c"))
        # the means of conditions and the weight of the linear part are those of the longer training
        free = value.size == 0 or name.startswith("linear.")
        assert free or kept == np.array_equal(value, parent["weights"][name])
        assert not kept or np.array_equal(value, parent["weights"][name])


def test_features_of_perturbations_can_be_given(toy):
    names = sorted({part for label in toy.obs["perturbation"] for part in label.split("+")} - {"control"})
    rng = np.random.default_rng(0)
    embeddings = pd.DataFrame(rng.normal(size=(len(names) + 1, 3)), index=[*names, "DRUG"])
    spr.tl.fit_generator(toy, embeddings=embeddings, **SMALL)
    space = toy.uns["generator"]["space"]
    assert space["architecture"]["n_features"] == 3
    # names of columns become text, for a file
    pd.testing.assert_frame_equal(space["embeddings"], embeddings.rename(columns=str))
    assert spr.tl.predict(toy, "DRUG", n_cells=3).n_obs == 3
    with pytest.raises(KeyError, match=toy.var_names[0]):
        spr.tl.predict(toy, toy.var_names[0], n_cells=3)


def test_no_more_components_than_genes_or_cells(toy):
    spr.tl.fit_generator(toy, **{**SMALL, "n_latent": 500})
    assert toy.uns["generator"]["space"]["architecture"]["n_latent"] == toy.n_vars - 1


def test_time_can_run_out(toy):
    spr.tl.fit_generator(toy, **{**SMALL, "n_steps": 10**6}, max_minutes=0.005)
    assert toy.uns["generator"]["fitted"]["stopped"] == "out of time"


def test_without_validation_conditions_training_runs_through(toy):
    toy.obs["mine"] = toy.obs["split"].astype(str).replace("validation", "train")
    spr.pp.split(toy, holdout="column", column="mine")
    spr.tl.fit_generator(toy, **SMALL)
    history = toy.uns["generator"]["history"]
    assert history[["validation_loss", "validation_energy"]].isna().all().all()
    assert toy.uns["generator"]["fitted"]["best_step"] == 10


def test_an_interrupt_leaves_a_usable_generator(toy, monkeypatch):
    steps, loss = [], fit.flow_matching_loss
    timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))

    def interrupted(*arguments, **options):
        steps.append(1)
        if len(steps) == 5:
            timer.start()
            timer.join()
        return loss(*arguments, **options)

    monkeypatch.setattr(fit, "flow_matching_loss", interrupted)
    spr.tl.fit_generator(toy, **{**SMALL, "n_steps": 10**6})
    assert toy.uns["generator"]["fitted"]["stopped"] == "interrupted"
    assert toy.uns["generator"]["history"]["step"].tolist() == [5]
    spr.tl.generate(toy)
    assert np.isfinite(toy.layers["generator"].data).all()


def test_settings_survive_json(fitted):
    params = fitted.uns["generator"]["params"]
    json.dumps({name: value for name, value in params.items() if not isinstance(value, np.ndarray)})


def unset(adata):
    del adata.uns["scperturbrl"]


def unsplit(adata):
    del adata.obs["split"]


def corrected(adata):
    adata.X = np.random.default_rng(0).gamma(2, size=adata.shape).astype(np.float32)


def no_training(adata):
    spr.pp.setup_anndata(adata)
    adata.obs["split"] = "test"


@pytest.mark.parametrize(
    ("spoil", "options", "error", "message"),
    [
        (None, {"n_steps": 0}, ValueError, r"`n_steps` is 0; it must be above 0"),
        (None, {"learning_rate": -1.0}, ValueError, r"`learning_rate` is -1\.0"),
        (None, {"max_minutes": 0.0}, ValueError, r"`max_minutes` is 0\.0"),
        (None, {"n_latent": 0}, ValueError, r"`n_latent` is 0"),
        (None, {"backbone": "resnet"}, ValueError, r"`backbone` is 'resnet'.*'mlp', 'transformer'"),
        (None, {"space": "umap"}, ValueError, r"`space` is 'umap'"),
        (None, {"precision": "float8"}, ValueError, r"`precision` is 'float8'.*'bfloat16'"),
        (None, {"backbone": "transformer", "space": "pca"}, ValueError, r"cannot be 'pca'.*space='genes'"),
        (None, {"genes_per_step": 5}, ValueError, r"`genes_per_step` is for the backbone 'transformer'"),
        (None, {"backbone": "transformer", "genes_per_step": 0}, ValueError, r"`genes_per_step` is 0"),
        (None, {"init_from": "generatr"}, KeyError, r"no generator 'generatr'.*fit_generator"),
        (None, {"device": "cuda:0"}, ValueError, r"'cuda:0'.*device='auto'"),
        (unset, {}, ValueError, r"not set up.*pp\.setup_anndata"),
        (unsplit, {}, ValueError, r"no column 'split'.*pp\.split"),
        (corrected, {}, ValueError, r"not log1p of normalised counts.*normalize_total"),
        (no_training, {}, ValueError, r"no training cells.*obs\['split'\].*pp\.split"),
    ],
)
def test_errors_name_value_and_remedy(toy, spoil, options, error, message):
    import torch

    if "cuda" in str(options) and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    if spoil:
        spoil(toy)
    with pytest.raises(error, match=message):
        spr.tl.fit_generator(toy, **{**SMALL, **options})
    assert "generator" not in toy.uns


def test_a_held_out_context_starts_at_control_cells(context):
    spr.pp.split(context, holdout="cell_type")
    spr.tl.fit_generator(context, **SMALL)
    assert context.uns["generator"]["params"]["source"] == "control"


def test_the_flow_starts_at_control_cells(fitted_toy):
    assert fitted_toy.uns["generator"]["params"]["source"] == "control"


def test_the_source_can_be_chosen_and_stays_with_the_generator(toy, tmp_path):
    spr.tl.fit_generator(toy, source="gaussian", **SMALL)
    spr.tl.fit_generator(toy, init_from="generator", key_added="longer", **SMALL)
    spr.tl.save_generator(toy, tmp_path / "model", key="longer")
    spr.tl.load_generator(toy, tmp_path / "model", key_added="again")
    assert toy.uns["again"]["params"]["source"] == "gaussian"
    with pytest.raises(ValueError, match=r"`source` is 'uniform'"):
        spr.tl.fit_generator(toy, source="uniform", **SMALL)


def test_without_training_its_cells_are_its_control_cells(toy):
    # at the start the velocity is nil, so what differs is the noise of the source and of the counts
    options = SMALL | {"n_steps": 1, "learning_rate": 1e-9}
    means = {}
    for source in ("control", "gaussian"):
        spr.tl.fit_generator(toy, source=source, prior="none", **options)
        means[source] = np.asarray(spr.tl.predict(toy, n_cells=200).X.mean(0)).ravel()
    control = np.asarray(toy[(toy.obs["perturbation"] == "control").to_numpy()].X.mean(0)).ravel()
    distance = {source: np.square(mean - control).mean() for source, mean in means.items()}
    assert distance["control"] < 0.7 * distance["gaussian"]


def test_generated_cells_are_normalised_as_the_real_ones(fitted_screen):
    real = np.expm1(fitted_screen.X.toarray()).sum(1)
    assert real.std() < 1e-3 * real.mean()
    made = np.expm1(spr.tl.predict(fitted_screen, n_cells=50).X.toarray()).sum(1)
    np.testing.assert_allclose(made, real.mean(), rtol=1e-3)


GENES = [{"space": "genes"}, {"backbone": "transformer", "genes_per_step": 20}]


def post_trained_saved_and_asked(toy, path):
    """Counts of the post-trained generator and of the one that comes back from a file, after all that can be done with one."""
    with warnings.catch_warnings():
        # so short a run may well set off the guard
        warnings.simplefilter("ignore", UserWarning)
        spr.tl.rl_finetune(toy, n_iterations=1, n_conditions=2, group_size=8)
    spr.tl.save_generator(toy, path, key="generator_rl")
    spr.tl.load_generator(toy, path, key_added="again")
    # a new perturbation of a measured gene, by its loadings
    new = spr.tl.predict(toy, conditions=[str(toy.var_names[-1])], n_cells=12)
    assert np.isfinite(new.X.toarray()).all()
    keys = ("generator_rl", "again")
    return [spr.tl.predict(toy, key=key, n_cells=12, output="counts").X.toarray() for key in keys]


@pytest.mark.parametrize("options", GENES, ids=["mlp", "transformer"])
def test_a_generator_of_genes_does_all_that_others_do(toy, tmp_path, monkeypatch, options):
    monkeypatch.setattr(trained_means, "N_LEAST", 16)
    monkeypatch.setattr(trained_means, "N_MOST", 16)
    before = toy.copy()
    spr.tl.fit_generator(toy, **SMALL, **options)
    summary = spr.get.generator(toy)
    assert (summary.space, summary.backbone) == ("genes", options.get("backbone", "mlp"))
    assert summary.n_latent == toy.n_vars
    assert "60 genes" in repr(summary)
    counts, again = post_trained_saved_and_asked(toy, tmp_path / "model")
    np.testing.assert_array_equal(counts, again)
    np.testing.assert_array_equal(counts, counts.round())
    assert (toy.X != before.X).nnz == 0


def test_a_generator_of_scvi_does_all_that_others_do(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(scvi_training, "N_STEPS", 20)
    before = toy.copy()
    spr.tl.fit_generator(toy, space="scvi", **SMALL)
    summary = spr.get.generator(toy)
    assert (summary.space, summary.n_latent) == ("scvi", 5)
    assert "5 scVI coordinates of 60 genes" in repr(summary)
    counts, again = post_trained_saved_and_asked(toy, tmp_path / "model")
    np.testing.assert_array_equal(counts, again)
    np.testing.assert_array_equal(counts, counts.round())
    assert (toy.X != before.X).nnz == 0


def test_cells_of_genes_have_zeros_as_real_ones_do(fitted_screen):
    zeros = lambda cells: (cells.X.toarray() == 0).mean(0)
    real = zeros(fitted_screen[(fitted_screen.obs["split"] == "train").to_numpy()])
    spr.tl.fit_generator(fitted_screen, key_added="of_genes", space="genes", n_steps=150, width=64)
    made = zeros(spr.tl.predict(fitted_screen, key="of_genes", n_cells=200))
    # without rounding no value would be zero but those that are cut off below it
    assert np.corrcoef(made, real)[0, 1] > 0.9
    assert abs(made.mean() - real.mean()) < 0.1


def test_half_the_bits_stay_with_the_generator(toy, tmp_path):
    spr.tl.fit_generator(toy, precision="bfloat16", key_added="rough", **SMALL)
    spr.tl.save_generator(toy, tmp_path / "model", key="rough")
    spr.tl.load_generator(toy, tmp_path / "model", key_added="again")
    assert toy.uns["again"]["space"]["architecture"]["precision"] == "bfloat16"
    spr.tl.fit_generator(toy, **SMALL)
    exact, rough = (toy.uns[key]["weights"]["velocity.inlet.weight"] for key in ("generator", "rough"))
    assert 0 < np.abs(exact - rough).max() < 0.1 * np.abs(exact).max()


def test_a_transformer_is_trained_on_as_it_is_and_every_step_draws_its_genes(toy, monkeypatch):
    seen = []
    original = fit.flow_matching_loss
    monkeypatch.setattr(fit, "flow_matching_loss", lambda *a, **k: seen.append(k.get("n_genes")) or original(*a, **k))
    monkeypatch.setattr(trained_means, "N_LEAST", 16)
    monkeypatch.setattr(trained_means, "N_MOST", 16)
    options = SMALL | {"n_steps": 3}
    spr.tl.fit_generator(toy, backbone="transformer", genes_per_step=7, **options)
    assert seen[:3] == [7] * 3
    spr.tl.fit_generator(toy, init_from="generator", key_added="longer", genes_per_step=9, **options)
    assert spr.get.generator(toy, key="longer").backbone == "transformer"
    assert toy.uns["longer"]["params"]["genes_per_step"] == 9


def test_training_can_be_compiled(toy, monkeypatch):
    compiled = []

    def spy(module):
        compiled.append(type(module).__name__)
        return lambda *inputs: module(*inputs)

    monkeypatch.setattr("torch.compile", spy)
    spr.tl.fit_generator(toy, key_added="plain", **SMALL, **EXACT)
    assert compiled == []
    spr.tl.fit_generator(toy, key_added="compiled", compile=True, **SMALL, **EXACT)
    assert compiled == ["VelocityMLP"]
    assert equal(toy.uns["plain"]["weights"], toy.uns["compiled"]["weights"])
