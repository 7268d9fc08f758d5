from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr


def svd_coordinates(expression, shown):
    mean = expression.mean(0)
    _, _, components = np.linalg.svd(expression - mean, full_matrices=False)
    return (shown - mean) @ components[:2].T


def parts(frame):
    return frame[frame["origin"] == "observed"], frame[frame["origin"] == "generated"]


def test_coordinates_are_those_of_an_svd_of_the_training_cells(adata):
    observed, generated = parts(spr.get.embedding(adata))
    dense = adata.X.toarray().astype(float)
    training = dense[(adata.obs["split"] == "train").to_numpy()]
    expected = np.abs(svd_coordinates(training, dense))
    np.testing.assert_allclose(np.abs(observed[["x", "y"]]), expected, atol=1e-3)
    perturbed = (adata.obs["perturbation"] != "control").to_numpy()
    expected = np.abs(svd_coordinates(training, adata.layers["generator_rl"].toarray()))[perturbed]
    np.testing.assert_allclose(np.abs(generated[["x", "y"]]), expected, atol=1e-3)


def test_generated_coordinates_are_the_stored_ones(adata):
    _, generated = parts(spr.get.embedding(adata, dimensions=(2, 0)))
    rows = adata.obs_names.get_indexer(generated["cell"])
    np.testing.assert_array_equal(generated[["x", "y"]], adata.obsm["X_pca_generator_rl"][rows][:, [2, 0]])


def test_a_subset_gets_components_of_its_own(adata):
    kept = adata.obs["perturbation"].isin(["control", *adata.obs["perturbation"].cat.categories[1:3]])
    part = adata[kept].copy()
    observed, generated = parts(spr.get.embedding(part))
    dense = part.X.toarray().astype(float)
    training = dense[(part.obs["split"] == "train").to_numpy()]
    np.testing.assert_allclose(np.abs(observed[["x", "y"]]), np.abs(svd_coordinates(training, dense)), atol=1e-3)
    shown = part.layers["generator_rl"].toarray()[(part.obs["perturbation"] != "control").to_numpy()]
    np.testing.assert_allclose(np.abs(generated[["x", "y"]]), np.abs(svd_coordinates(training, shown)), atol=1e-3)


def test_a_subset_without_its_layer_is_refused(adata):
    part = adata[:200].copy()
    del part.layers["generator_rl"]
    with pytest.raises(ValueError, match=r"tl\.generate\(adata, key='generator_rl'\)"):
        spr.get.embedding(part)


def test_values_by_default_are_rewards(adata):
    observed, generated = parts(spr.get.embedding(adata))
    np.testing.assert_array_equal(observed["value"], adata.obs["observed_reward"])
    np.testing.assert_array_equal(generated["value"], adata.obs.loc[generated["cell"], "generator_rl_reward"])


def test_values_of_a_verifier(adata):
    observed, generated = parts(spr.get.embedding(adata, color="de_spearman"))
    np.testing.assert_allclose(observed["value"], adata.obsm["score_observed"]["de_spearman"])
    expected = adata.obsm["score_generator_rl"].loc[generated["cell"], "de_spearman"]
    np.testing.assert_allclose(generated["value"], expected)


def test_values_of_a_column(adata):
    frame = spr.get.embedding(adata, color="batch")
    assert (frame["value"] == adata.obs["batch"].astype(str).loc[frame["cell"]].to_numpy()).all()


def test_observed_values_are_nan_without_observed_scores(adata):
    del adata.obsm["score_observed"], adata.obs["observed_reward"]
    for color in (None, "rmse_topk"):
        observed, generated = parts(spr.get.embedding(adata, color=color))
        assert observed["value"].isna().all()
        assert generated["value"].notna().any()


def test_perturbations_select_generated_cells_only(adata):
    wanted = adata.obs["perturbation"].cat.categories[2]
    observed, generated = parts(spr.get.embedding(adata, perturbations=wanted))
    assert len(observed) == adata.n_obs
    assert set(generated["perturbation"]) == {wanted}


def test_another_basis(adata):
    rng = np.random.default_rng(0)
    adata.obsm["X_umap"], adata.obsm["X_umap_generator"] = rng.normal(size=(2, adata.n_obs, 2))
    observed, generated = parts(spr.get.embedding(adata, key="generator", basis="umap"))
    np.testing.assert_array_equal(observed[["x", "y"]], adata.obsm["X_umap"])
    rows = adata.obs_names.get_indexer(generated["cell"])
    np.testing.assert_array_equal(generated[["x", "y"]], adata.obsm["X_umap_generator"][rows])


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"key": "other"}, KeyError, r"tl\.generate\(adata, key='other'\)"),
        ({"color": "rmse_top"}, KeyError, "rmse_topk"),
        ({"basis": "umap"}, KeyError, "no 'X_umap'"),
        ({"dimensions": (0, 99)}, ValueError, "from 0 to"),
        ({"dimensions": (0,)}, ValueError, "two numbers"),
        ({"perturbations": "nobody"}, ValueError, "no cells of 'nobody'"),
    ],
)
def test_what_is_not_there_is_refused(adata, options, error, match):
    with pytest.raises(error, match=match):
        spr.get.embedding(adata, **options)


def test_missing_generated_basis(adata):
    adata.obsm["X_umap"] = np.zeros((adata.n_obs, 2))
    with pytest.raises(KeyError, match="no 'X_umap_generator_rl'"):
        spr.get.embedding(adata, basis="umap")


def test_missing_reward_names_the_verb(adata):
    del adata.obs["generator_rl_reward"]
    with pytest.raises(KeyError, match=r"tl\.score\(adata, layer='generator_rl'\)"):
        spr.get.embedding(adata)


def test_held_out_cells_are_marked(adata):
    frame = spr.get.embedding(adata)
    expected = adata.obs["split"].astype(str).loc[frame["cell"]].to_numpy()
    assert (frame["split"].to_numpy() == expected).all()
    assert (frame["held_out"].to_numpy() == (expected != "train")).all()
    assert frame["held_out"].any()
