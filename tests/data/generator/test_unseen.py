from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.controls import draw_controls
from scperturbrl.data.generator.generation import generate_cells
from scperturbrl.data.generator.linear import linear_weights, recentred
from scperturbrl.data.generator.means import linear_effects, predicted_means
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.generator.uncertainty import reliabilities, uncertainties
from scperturbrl.data.generator.unseen import fit_own_gene
from scperturbrl.data.reference.baselines import TrainingEffects
from scperturbrl.metrics.baselines.learnable import Learnable
from scperturbrl.metrics.baselines.responses import gene_responses, without_own_genes
from scperturbrl.metrics.baselines.ridge import ALPHAS

# on the CPU, where the same cells give the same bits
SMALL = {"n_steps": 30, "width": 32, "n_latent": 12, "device": "cpu"}


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=150, n_singles=24, n_doubles=0, n_cells_per_condition=50, n_controls=150, target_coupling=0.9, seed=1
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="perturbations", fraction=0.25, seed=0)
    spr.tl.fit_generator(adata, **SMALL)
    return adata


@pytest.fixture
def world(screen):
    return read_generator(screen, "generator"), Cells.of(screen, Setup.of(screen))


def latent(stored, effects):
    space = stored.generator.space
    return torch.as_tensor(np.asarray(effects), dtype=torch.float32) @ space.components / space.scale


def test_a_targeted_gene_changes_as_in_the_conditions_that_do_not_target_it():
    effects = np.array([[9.0, 1.0], [2.0, 8.0], [4.0, 3.0]])
    found = without_own_genes(effects, [("A",), ("B", "C"), ("D",)], pd.Index(["A", "B"]))
    np.testing.assert_allclose(found, [[3.0, 1.0], [2.0, 2.0], [4.0, 3.0]])


def test_genes_that_respond_together_have_the_same_responses():
    effects = np.random.default_rng(0).normal(size=(7, 11))
    found = gene_responses(effects).genes
    np.testing.assert_allclose(found @ found.T, np.cov(effects, rowvar=False) * 6, atol=1e-10)


def test_directions_are_those_of_pca():
    effects = np.random.default_rng(0).normal(size=(30, 25))
    found = gene_responses(effects).directions
    expected = PCA(found.shape[0]).fit(effects).components_
    np.testing.assert_allclose(np.abs((found * expected).sum(1)), 1)


def test_unseen_genes_are_told_apart_where_targets_belong_to_what_they_change(world):
    stored, cells = world
    names = [*cells.conditions("test"), *cells.conditions("validation")]
    table = cells.table.loc[names]
    effect, known = linear_effects(stored, table, stored.vocabulary.batch(table))
    assert known.all()
    real = np.stack([np.asarray(cells.expression[cells.codes == row].mean(0)).ravel() for row in cells.rows(names)])
    control = np.asarray(cells.expression[cells.codes == cells.table.index.get_loc("control")].mean(0)).ravel()
    real = latent(stored, real - control)
    mean = latent(stored, TrainingEffects.of(cells).effects.mean(0))
    assert (effect - real).square().sum() < 0.95 * (mean - real).square().sum()


def test_with_embeddings_of_the_user_it_is_the_ridge_of_sklearn(screen, world, monkeypatch):
    stored, cells = world
    # nothing is taken away from what the features say, though they say nothing
    everything = lambda *given: Learnable(mean=1.0, departure=1.0, r2=0.0, error=0.0)
    monkeypatch.setattr("scperturbrl.data.generator.unseen.learnable_shares", everything)
    rng = np.random.default_rng(0)
    singles = [name for name in cells.table.index if name != "control"]
    features = pd.DataFrame(rng.normal(size=(len(singles), 3)), index=singles)
    spr.tl.fit_generator(screen, embeddings=features, key_added="described", **SMALL)
    described = read_generator(screen, "described")
    table = cells.table.loc[cells.conditions("test")]
    found, known = linear_effects(described, table, described.vocabulary.batch(table))
    assert known.all()
    training = TrainingEffects.of(cells)
    known_features = features.loc[training.conditions]
    scale = np.sqrt(np.square(known_features - known_features.mean()).sum(axis=1).mean())
    ridge = RidgeCV(ALPHAS).fit(known_features / scale, latent(described, training.effects).numpy())
    expected = torch.as_tensor(ridge.predict(features.loc[table.index] / scale), dtype=torch.float32)
    # effects of trained perturbations are themselves slightly shrunk
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_the_weight_is_chosen_by_held_out_perturbations(screen, world):
    stored, cells = world
    record = screen.uns["generator"]["fitted"]["linear"]
    assert record["n_validation"] == 0
    assert record["unseen_n_validation"] == len(cells.conditions("validation"))
    assert 0 <= record["unseen_weight"] <= 1
    weight = linear_weights(stored, cells, cells.table, seed=0)
    assert set(cells.table.index[weight > 0]) == {*cells.conditions("test"), *cells.conditions("validation")}


def test_the_gene_that_is_perturbed_changes(screen, world):
    stored, cells = world
    new = spr.tl.predict(screen, n_cells=200)
    control = np.asarray(screen[screen.obs["perturbation"] == "control"].X.mean(0)).ravel()
    for name in cells.conditions("test"):
        mean = np.asarray(new[new.obs["condition"] == name].X.mean(0)).ravel()
        assert (mean - control)[screen.var_names.get_loc(name)] > 0.3
    batch = recentred(stored, cells, cells.table, seed=0)
    trained = cells.table.index.get_indexer(cells.conditions("train"))
    assert (batch.own_genes[trained] == 0).all()


def test_a_written_generator_predicts_the_same(screen, tmp_path):
    spr.tl.save_generator(screen, tmp_path / "model")
    copy = screen.copy()
    spr.tl.load_generator(copy, tmp_path / "model", key_added="back")
    first, second = (spr.tl.predict(copy, n_cells=5, key=key).X.toarray() for key in ("generator", "back"))
    np.testing.assert_array_equal(first, second)


def test_predictions_do_not_depend_on_held_out_cells(screen):
    spoilt = screen.copy()
    values, test = spoilt.X.toarray(), (spoilt.obs["split"] == "test").to_numpy()
    values[test] = values[test][::-1]
    spoilt.X = sparse.csr_matrix(values)
    spr.tl.fit_generator(spoilt, **SMALL)
    for name in ("responses", "from_features", "own_gene", "weight_unseen"):
        weights = [adata.uns["generator"]["weights"][f"linear.{name}"] for adata in (screen, spoilt)]
        np.testing.assert_array_equal(*weights)


def test_uncertainty_grows_with_the_parts_that_training_never_saw(screen, world):
    stored, cells = world
    known, *_ = cells.conditions("train")
    first, second, *_ = cells.conditions("test")
    asked = [known, "control", first, f"{known}+{first}", f"{first}+{second}"]
    table = spr.tl.predict(screen, asked, n_cells=2).uns["prediction"]["conditions"]
    uncertainty = table["uncertainty"].to_numpy()
    assert uncertainty[:2].tolist() == [0, 0]
    assert (uncertainty[2:] > 0).all()
    assert uncertainty[4] > uncertainty[2]


def test_uncertainty_is_disagreement_and_error_in_expression(screen, world):
    stored, cells = world
    table = cells.table.loc[cells.conditions("test")]
    stored.generator.linear.map_error.zero_()
    one = uncertainties(stored, cells, table, seed=0)
    means = predicted_means(stored, cells, table, np.ones(len(table), dtype=bool), seed=0, device="cpu")
    space = stored.generator.space
    apart = ((means.linear - means.flow) * space.scale) @ space.components.T
    np.testing.assert_allclose(one, apart.square().mean(1).sqrt(), rtol=1e-4)
    stored.generator.linear.map_error.fill_(2.0)
    more = uncertainties(stored, cells, table, seed=0)
    np.testing.assert_allclose(more**2 - one**2, 2 * float(space.scale) ** 2 / len(stored.genes), rtol=1e-4)


def test_reliability_is_told_for_perturbations_that_training_never_saw(screen, world):
    stored, cells = world
    names = [*cells.conditions("test")[:2], *cells.conditions("train")[:2]]
    stored.generator.linear.map_r2.fill_(0.4)
    found = reliabilities(stored, cells.table.loc[names])
    np.testing.assert_allclose(found[:2], 0.4)
    assert np.isnan(found[2:]).all()


def test_what_cannot_be_learnt_is_said(screen, monkeypatch):
    told = []
    monkeypatch.setattr("scperturbrl._core.log.tell", told.append)
    adata = screen.copy()
    weights = {**adata.uns["generator"]["weights"], "linear.map_r2": np.zeros(2, dtype=np.float32)}
    adata.uns["generator"] = {**adata.uns["generator"], "weights": weights}
    new = spr.tl.predict(adata, n_cells=5, key="generator")
    assert (new.uns["prediction"]["conditions"]["reliability"] == 0).all()
    assert any("The generator cannot predict the effect" in message for message in told)


def test_cells_of_an_unseen_perturbation_are_control_cells_moved_by_its_effect(screen, world):
    stored, cells = world
    table = cells.table.loc[[*cells.conditions("test")[:2], cells.conditions("train")[0]]]
    batch = recentred(stored, cells, table, seed=0)
    assert batch.translated.tolist() == [True, True, False]
    weight = float(stored.generator.linear.weight_unseen)
    means = predicted_means(stored, cells, table.iloc[:2], np.ones(2, dtype=bool), seed=0, device="cpu")
    torch.testing.assert_close(batch.shift[:2], means.mixed(weight))


def test_where_nothing_is_predicted_the_cells_are_control_cells(screen, world):
    stored, cells = world
    linear = stored.generator.linear
    linear.weight_unseen.fill_(1.0)
    linear.from_features.zero_()
    linear.own_gene.zero_()
    name = cells.conditions("test")[0]
    controls = draw_controls(cells, ["all"] * 30, None, seed=0)
    parts = stored, cells, cells.table.loc[[name]], np.zeros(30, dtype=int), controls
    made = generate_cells(*parts, library_size="control", seed=0, device=torch.device("cpu"))
    np.testing.assert_allclose(made.toarray(), cells.block(controls), atol=1e-5)


def test_what_perturbing_a_gene_does_to_it_is_measured_gene_by_gene(world):
    stored, cells = world
    cells = replace(cells, memory=2**20)
    changes, dense, training = [], np.expm1(cells.block(np.arange(len(cells.codes))).astype(float)), cells.is_training()
    for name in cells.conditions("train", min_cells=2):
        row = int(cells.table.index.get_loc(name))
        own, control = ((cells.codes == r) & training for r in (row, cells.control_row(row)))
        gene = cells.genes.get_loc(cells.table.loc[name, "parts"][0])
        if dense[own, gene].mean() > 0:
            changes.append(np.log(dense[own, gene].mean() / dense[control, gene].mean()))
    stored.generator.linear.own_gene.fill_(0)
    fit_own_gene(stored, cells)
    assert float(stored.generator.linear.own_gene) == pytest.approx(np.median(changes), rel=1e-5)
