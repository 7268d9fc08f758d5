from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.controls import draw_controls
from scperturbrl.data.generator.stored import check_genes, generator_keys, read_generator, write_generator
from scperturbrl.data.generator.task import build_task
from scperturbrl.data.generator.vocabulary import Vocabulary, gene_embeddings, training_vocabulary
from scperturbrl.data.generator.wanted import wanted_conditions
from scperturbrl.data.latent.cells import Controls, control_units, count_blocks, encode_rows, latent_cells
from scperturbrl.data.reference.baselines import BASELINES, TrainingEffects
from scperturbrl.data.reference.stored import read_calibration, read_reference
from scperturbrl.verifiers.registry import DEFAULT, resolve


@pytest.fixture(scope="module")
def fitted(ready_toy):
    adata = ready_toy.copy()
    spr.tl.fit_generator(adata, n_steps=3, width=16, n_latent=6)
    return adata


@pytest.fixture(scope="module")
def crossed():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=50,
        n_singles=3,
        n_doubles=2,
        n_cells_per_condition=40,
        n_controls=60,
        cell_types=("B", "T"),
        n_programs=4,
        n_pathways=2,
        library_size=1500,
    )
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"], batch_key="batch")
    spr.pp.split(adata)
    return adata


def test_a_generator_comes_back_from_uns_and_from_a_file(fitted, tmp_path):
    fitted.write_h5ad(tmp_path / "a.h5ad")
    stored, again = (
        read_generator(fitted, "generator"),
        read_generator(anndata.read_h5ad(tmp_path / "a.h5ad"), "generator"),
    )
    first, second = stored.generator.to_arrays(), again.generator.to_arrays()
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert stored.vocabulary.tokens == again.vocabulary.tokens
    pd.testing.assert_frame_equal(stored.vocabulary.embeddings, again.vocabulary.embeddings)
    assert stored.genes == again.genes == fitted.var_names.tolist()


def test_writing_records_versions(fitted):
    adata = fitted.copy()
    write_generator(adata, "second", read_generator(adata, "generator"))
    assert adata.uns["second"]["params"]["versions"]["torch"] == version("torch")
    assert generator_keys(adata) == ["generator", "second"]


def test_user_embeddings_are_stored_with_the_generator(toy, tmp_path):
    parts = sorted({part for label in toy.obs["perturbation"].unique() for part in label.split("+")} - {"control"})
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(len(parts), 3)), index=parts, columns=["x", "y", "z"])
    spr.tl.fit_generator(toy, n_steps=3, width=16, n_latent=6, embeddings=table)
    spr.tl.save_generator(toy, tmp_path / "m")
    spr.tl.load_generator(toy, tmp_path / "m", key_added="loaded")
    for key in ("generator", "loaded"):
        pd.testing.assert_frame_equal(read_generator(toy, key).vocabulary.embeddings, table)


def test_an_absent_generator_lists_those_there_are(fitted, toy):
    with pytest.raises(KeyError, match="has no generator 'generatr'.*'generator'"):
        read_generator(fitted, "generatr")
    with pytest.raises(KeyError, match=r"Call `scperturbrl\.tl\.fit_generator"):
        read_generator(toy, "generator")


def test_other_genes_are_refused(fitted):
    genes = fitted.var_names.tolist()
    with pytest.raises(ValueError, match="another order"):
        check_genes(genes, fitted.var_names[::-1])
    with pytest.raises(ValueError, match=f"genes are missing, \\['{genes[0]}'\\]"):
        check_genes(genes, fitted.var_names[1:])
    check_genes(genes, fitted.var_names)


def test_the_condition_table_counts_known_parts(fitted):
    frame = fitted.uns["generator"]["conditions"]
    assert frame["n_cells"].sum() == fitted.n_obs
    assert frame["split"].to_dict() == dict(zip(fitted.obs["perturbation"], fitted.obs["split"], strict=True))
    assert (frame["parts_seen"] == frame["n_parts"]).all()


def test_calibration_is_stored_for_the_defaults_and_fitted_for_others(ready_toy):
    cells = Cells.of(ready_toy)
    names = read_reference(ready_toy, cells)[0].conditions
    stored = read_calibration(ready_toy, cells, names, resolve(DEFAULT))
    turned = read_calibration(ready_toy, cells, names, resolve(DEFAULT[::-1]))
    for field in ("control_median", "real_median", "auroc", "weight"):
        torch.testing.assert_close(
            getattr(turned, field).flip(1), getattr(stored, field), equal_nan=True, check_dtype=False
        )
    other = read_calibration(ready_toy, cells, names, [spr.verifiers.get("pearson_topk", n_genes=5)])
    assert not torch.allclose(other.real_median[:, 0], stored.real_median[:, 0].float())


def test_control_runs_hold_the_controls_of_group_and_batch(crossed):
    cells = Cells.of(crossed)
    controls = Controls.of(cells)
    obs = crossed.obs
    for context in ("B", "T"):
        for batch in ["", *obs["batch"].unique()]:
            start, count = controls.run(context, str(batch))
            chosen = obs.iloc[controls.rows[start : start + count]]
            wanted = (obs["perturbation"] == "control") & (obs["cell_type"] == context)
            if batch:
                wanted &= obs["batch"] == batch
            assert set(chosen.index) == set(obs.index[wanted])
    assert controls.run("B", "no such batch") == controls.run("B")
    with pytest.raises(ValueError, match="no control cells with covariates 'NK'.*'B', 'T'"):
        controls.run("NK")


def test_controls_are_drawn_without_needless_repeats(crossed):
    cells = Cells.of(crossed)
    rows = draw_controls(cells, ["B"] * 70 + ["T"] * 10, None, seed=0)
    assert (crossed.obs["cell_type"].iloc[rows] == ["B"] * 70 + ["T"] * 10).all()
    assert (crossed.obs["perturbation"].iloc[rows] == "control").all()
    repeats = np.unique(rows[:70], return_counts=True)[1]
    assert repeats.max() - repeats.min() <= 1
    assert len(set(rows[70:])) == 10
    np.testing.assert_array_equal(rows, draw_controls(cells, ["B"] * 70 + ["T"] * 10, None, seed=0))
    assert not np.array_equal(rows, draw_controls(cells, ["B"] * 70 + ["T"] * 10, None, seed=1))


def test_controls_are_drawn_within_a_batch(crossed):
    cells, batch = Cells.of(crossed), crossed.obs["batch"].unique().tolist()[0]
    rows = draw_controls(cells, ["B"] * 20, [batch] * 20, seed=0)
    assert (crossed.obs["batch"].iloc[rows] == batch).all()


@pytest.mark.parametrize("as_dense", [False, True])
@pytest.mark.parametrize(("memory", "pool"), [(10**9, 29), (10**9, 3), (1000, 29)])
def test_units_turn_cells_back_into_counts(crossed, memory, pool, as_dense):
    rows = np.arange(0, 200, 7)
    cells = replace(Cells.of(crossed), memory=memory)
    if as_dense:
        cells = replace(cells, expression=cells.expression.toarray())
    unit = control_units(cells, rows)
    index = torch.arange(len(rows)).flip(0)
    block = count_blocks(cells, rows, unit, np.arange(pool))(index)
    np.testing.assert_array_equal(block.numpy(), crossed.layers["counts"][rows[index]].toarray())


def test_a_few_cells_without_unit_get_the_median(crossed):
    other = crossed.copy()
    dense = other.X.toarray()
    dense[0] *= np.random.default_rng(0).uniform(0.5, 1.5, dense.shape[1])
    other.X = dense
    unit = control_units(Cells.of(other), np.arange(100))
    assert unit[0] == np.median(unit[1:])


def test_values_that_are_no_counts_are_refused(crossed):
    other = crossed.copy()
    other.X = np.random.default_rng(0).gamma(2, size=other.shape)
    with pytest.raises(ValueError, match="not log1p of normalised counts"):
        control_units(Cells.of(other), np.arange(100))


def test_latent_cells_keep_their_condition_means_and_lose_noise(fitted):
    cells, space = Cells.of(fitted), read_generator(fitted, "generator").generator.space
    controls, factor = Controls.of(cells), torch.linspace(0.2, 1, space.dim)
    latent = latent_cells(cells, "train", space, factor, controls)
    rows = shuffled(cells, np.flatnonzero(cells.is_training()), 0, "order of cells in minibatches")
    raw = pd.DataFrame(encode_rows(replace(cells, memory=37 * 120 * len(cells.genes)), rows, space).numpy())
    kept = pd.DataFrame(latent.latent.numpy())
    codes = cells.codes[rows]
    np.testing.assert_allclose(kept.groupby(codes).mean(), raw.groupby(codes).mean(), atol=1e-4)
    spread = kept.groupby(codes).std() / raw.groupby(codes).std()
    np.testing.assert_allclose(spread, np.tile(factor.numpy(), (len(spread), 1)), rtol=1e-3)
    np.testing.assert_allclose(latent.weight.numpy(), 1 / np.sqrt(cells.table["n_cells"].to_numpy()[codes]), rtol=1e-6)
    validation = latent_cells(cells, "validation", space, factor, controls)
    assert len(validation.latent) == (cells.split == "validation").sum()
    cells.split[cells.split == "validation"] = "train"
    assert latent_cells(cells, "validation", space, factor, controls) is None
    assert encode_rows(cells, rows[:0], space).shape == (0, space.dim)


def test_a_task_pairs_conditions_with_their_controls_and_real_cells(fitted):
    stored, cells = read_generator(fitted, "generator"), Cells.of(fitted)
    names = cells.conditions("train")
    task = build_task(stored, cells, names, "train", seed=0)
    assert task.real.shape[:2] == (len(names), 256)
    for i, name in enumerate(names):
        own = np.flatnonzero((fitted.obs["perturbation"] == name).to_numpy())
        own = shuffled(cells, own, 0, "real cells of a condition")
        real = task.real[i][~task.real[i].isnan().any(1)]
        torch.testing.assert_close(real, encode_rows(cells, own, stored.generator.space))
    assert (task.pool.count == (fitted.obs["perturbation"] == "control").sum()).all()


def table_of(adata):
    return condition_table(adata, Setup.of(adata))[0]


def test_the_vocabulary_knows_training_perturbations_and_measured_genes(crossed):
    table = table_of(crossed)
    cells = Cells.of(crossed)
    training = np.isin(np.arange(len(table)), cells.codes[cells.is_training()])
    rng = np.random.default_rng(0)
    features = gene_embeddings(rng.normal(size=(crossed.n_vars, 4)), crossed.var_names)
    assert np.mean(np.square(features.to_numpy())) == pytest.approx(1)
    vocabulary = training_vocabulary(table, training, ~training, ["cell_type"], features)
    assert set(vocabulary.tokens) == {part for parts in table["parts"][training] for part in parts}
    assert vocabulary.covariate_values == (("B", "T"),)
    batch = vocabulary.batch(table)
    for row, (parts, covariates) in enumerate(zip(table["parts"], table["covariates"], strict=True)):
        tokens = [int(token) for token in batch.tokens[row] if token > 0]
        assert [vocabulary.tokens[token - 1] for token in tokens] == list(parts)
        assert int(batch.present[row].sum()) == len(parts)
        assert vocabulary.covariate_values[0][int(batch.covariates[row, 0]) - 1] == covariates[0]
        for slot, part in enumerate(parts):
            np.testing.assert_allclose(batch.features[row, slot], features.loc[part], rtol=1e-6)


def test_a_new_perturbation_has_features_but_no_token_and_a_new_context_no_index():
    vocabulary = Vocabulary(("A",), (("B",),), pd.DataFrame([[1.0, 2.0]], index=["NEW"]))
    table = pd.DataFrame({"parts": [("A", "NEW")], "dose": [0.5], "covariates": [("T",)]})
    batch = vocabulary.batch(table)
    assert batch.tokens.tolist() == [[1, 0]]
    assert batch.present.tolist() == [[1, 1]]
    assert batch.features[0, 1].tolist() == [1, 2]
    assert batch.covariates.tolist() == [[0]]
    assert batch.dose.tolist() == [0.5]


def test_an_unknown_perturbation_is_refused_by_name():
    vocabulary = Vocabulary(("KLF1",), (), pd.DataFrame([[1.0]], index=["CEBPA"]))
    with pytest.raises(KeyError, match="The perturbation 'KLF2' is unknown.*'KLF1'"):
        vocabulary.batch(pd.DataFrame({"parts": [("KLF2",)], "dose": [0.0], "covariates": [()]}))


def test_wanted_conditions_by_name_by_label_and_by_default(crossed):
    setup, cells = Setup.of(crossed), Cells.of(crossed)
    assert wanted_conditions(None, cells, setup, None, None).index.tolist() == cells.conditions("test")
    name = cells.conditions("train")[0]
    assert wanted_conditions(name, cells, setup, None, None).index.tolist() == [name]
    genes = crossed.var_names[:2].tolist()
    label = "+".join(genes[::-1])
    both = wanted_conditions([label], cells, setup, None, None)
    assert both.index.tolist() == [f"{'+'.join(sorted(genes))} | cell_type={context}" for context in ("B", "T")]
    one = wanted_conditions([label], cells, setup, {"cell_type": "T"}, None)
    assert one["group"].tolist() == ["T"]
    assert one["parts"].tolist() == [tuple(sorted(genes))]


@pytest.mark.parametrize(
    ("covariates", "message"),
    [({"celltype": "T"}, "not a declared covariate"), ({"cell_type": "NK"}, "No control cells")],
)
def test_wanted_covariates_must_exist(crossed, covariates, message):
    with pytest.raises(ValueError, match=message):
        wanted_conditions(["X"], Cells.of(crossed), Setup.of(crossed), covariates, None)


def test_baselines_are_what_their_names_say(crossed):
    cells = Cells.of(crossed)
    training = TrainingEffects.of(cells)
    test = cells.conditions("test")[0]
    label, context = test.split(" | cell_type=")
    effect = dict(zip(training.conditions, training.effects, strict=True))
    found = {name: training.predict(cells, test, name) for name in BASELINES}
    assert not found["control"].any()
    same = [effect[name] for name in effect if name.endswith(f"={context}")]
    np.testing.assert_allclose(found["perturbed_mean"], np.mean(same, axis=0), atol=1e-6)
    parts = [effect[f"{part} | cell_type={context}"] for part in label.split("+")]
    singles_only = all("+" not in name for name in effect)
    if singles_only:
        np.testing.assert_allclose(found["additive"], np.sum(parts, axis=0), atol=1e-5)
    assert all(np.isfinite(value).all() and value.shape == (crossed.n_vars,) for value in found.values())


def test_a_context_without_training_conditions_borrows_those_of_others():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=40,
        n_singles=3,
        n_doubles=0,
        n_cells_per_condition=30,
        n_controls=60,
        cell_types=("B", "T"),
        n_programs=3,
        n_pathways=2,
    )
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=["T"], validation_fraction=0)
    cells = Cells.of(adata)
    training = TrainingEffects.of(cells)
    assert set(training.groups) == {"B"}
    test = cells.conditions("test")[0]
    own = training.effects[training.conditions.index(test.replace("=T", "=B"))]
    np.testing.assert_allclose(training.predict(cells, test, "matching_mean"), own, atol=1e-6)
