"""Results that are older than what they would be taken for."""

from __future__ import annotations

import warnings

import anndata as ad
import pytest

import scperturbrl as spr


def test_a_layer_that_is_generated_anew_loses_the_scores_of_its_old_cells(fitted):
    spr.tl.generate(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.tl.score(fitted, layer="generator", percentile=True)
    spr.tl.select(fitted, key="generator")
    spr.tl.generate(fitted, seed=1)
    with pytest.raises(KeyError, match=r"no scores named 'generator'.*tl\.score"):
        spr.tl.select(fitted, key="generator")
    assert not {"generator_reward", "generator_percentile", "generator_selected"} & set(fitted.obs)
    assert "selection_generator" not in fitted.uns


def test_new_scores_take_the_percentiles_of_the_old_ones_away(fitted):
    spr.tl.score(fitted, percentile=True)
    spr.tl.score(fitted, verifiers=["pearson_topk"])
    assert "observed_percentile" not in fitted.obs


@pytest.mark.parametrize("read", [spr.get.evaluation, spr.get.held_out, spr.get.metric_calibration, spr.pl.evaluation])
def test_an_evaluation_of_another_split_is_told(fitted, read):
    spr.tl.evaluate(fitted, n_cells=20)
    read(fitted)
    spr.pp.split(fitted, seed=9, fraction=0.6)
    with pytest.warns(UserWarning, match=r"`uns\['evaluation'\]` was made under another split.*Evaluate again"):
        read(fitted)


SMALL = {"n_steps": 5, "width": 16, "n_latent": 6, "n_blocks": 1}


@pytest.fixture(scope="module")
def refitted_toy(fitted_toy):
    """An evaluation, a layer and its scores, and a generator under the same key that was fitted since."""
    adata = fitted_toy.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.tl.evaluate(adata, n_cells=20)
        spr.tl.generate(adata)
        spr.tl.score(adata, layer="generator")
        spr.tl.score(adata)
        spr.tl.screen(adata, "pairs", objective="size", n_refine=2, n_cells=5)
    spr.tl.fit_generator(adata, seed=1, **SMALL)
    return adata


@pytest.mark.parametrize(
    "read",
    [
        spr.get.evaluation,
        spr.get.held_out,
        lambda adata: spr.get.differences(adata, "generator", reference="perturbed_mean"),
        spr.get.metric_calibration,
        lambda adata: spr.pl.evaluation(adata, show=False),
    ],
)
def test_an_evaluation_that_is_older_than_its_generator_is_told(refitted_toy, read):
    message = (
        r"`uns\['evaluation'\]` is older than the generator 'generator', which was fitted again since\. Evaluate again"
    )
    with pytest.warns(UserWarning, match=message):
        read(refitted_toy)


def test_a_new_evaluation_and_one_from_a_file_are_not_told(fitted, tmp_path):
    spr.tl.evaluate(fitted, n_cells=20)
    fitted.write_h5ad(tmp_path / "a.h5ad")
    spr.get.evaluation(fitted)
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    spr.get.evaluation(back)
    spr.tl.save_generator(back, tmp_path / "model")
    spr.tl.fit_generator(back, seed=1, **SMALL)
    with pytest.warns(UserWarning, match="fitted again since"):
        spr.get.evaluation(back)
    spr.tl.load_generator(back, tmp_path / "model")
    spr.get.evaluation(back)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("obsm", lambda adata: spr.get.verifier_scores(adata, key="generator")),
        ("obs", lambda adata: spr.get.reward_shift(adata, before="observed", after="generator")),
        ("layers", lambda adata: spr.get.effects(adata, keys="generator")),
        ("layers", lambda adata: spr.get.embedding(adata, key="generator", color="split")),
        ("layers", lambda adata: spr.tl.score(adata, layer="generator", key_added="again")),
        ("layers", lambda adata: spr.tl.evaluate(adata, keys=[], layers=["generator"], n_cells=20)),
        ("uns", spr.get.screen),
        ("uns", lambda adata: spr.pl.screen(adata, show=False)),
    ],
)
def test_scores_layers_and_screens_of_an_older_generator_are_told(refitted_toy, name, read):
    with pytest.warns(UserWarning, match=rf"`{name}\[.*is older than the generator 'generator'.* again\."):
        read(refitted_toy.copy())


def test_a_screen_of_another_split_is_told(fitted):
    spr.tl.screen(fitted, "pairs", objective="size", n_refine=0)
    spr.get.screen(fitted)
    spr.pp.split(fitted, seed=9, fraction=0.6)
    with pytest.warns(UserWarning, match=r"`uns\['screen'\]` was made under another split.*Screen again"):
        spr.get.screen(fitted)
