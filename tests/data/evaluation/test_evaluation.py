from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.evaluation.evaluation import Evaluation
from scperturbrl.data.evaluation.observed import Observed
from scperturbrl.data.evaluation.population import Population, draw_population
from scperturbrl.data.generator.generation import generate_cells
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.generator.training import train_generator
from scperturbrl.data.reference.baselines import BASELINES
from scperturbrl.data.reference.stored import cross_fit
from scperturbrl.flow.training.fit import FitSettings
from scperturbrl.metrics import split_half
from scperturbrl.verifiers.registry import resolve

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cells(ready_toy):
    return Cells.of(ready_toy)


@pytest.fixture(scope="module")
def evaluation(ready_toy, cells):
    conditions = [*cells.conditions("test"), *cells.conditions("validation")]
    everything = np.ones(len(cells.codes), dtype=bool)
    params = ready_toy.uns["scperturbrl"]["reference"]["params"]
    fitted = cross_fit(ready_toy, cells, everything, conditions, resolve("pearson_topk"), params)
    return Evaluation(cells, conditions, fitted, max_cells=100, seed=0)


@pytest.fixture(scope="module")
def table(evaluation, cells):

    def predict(condition):
        real = cells.block(np.flatnonzero(cells.codes == cells.table.index.get_loc(condition)))
        yield Population("itself", "prediction", real)
        yield Population("mirror", "prediction", real[:, ::-1].copy())

    return evaluation.run(predict)


def dense(cells, name, training=True):
    chosen = cells.codes == cells.table.index.get_loc(name)
    return cells.block(np.flatnonzero(chosen & (cells.is_training() | (not training)))).astype(np.float64)


def test_every_model_has_every_metric_in_every_condition(table, evaluation):
    assert set(table["model"]) == {"itself", "mirror", "split_half", "interpolated_duplicate", *BASELINES}
    assert table.groupby("model")["metric"].nunique().nunique() == 1
    assert len(table) == table["model"].nunique() * len(evaluation.conditions) * table["metric"].nunique()
    assert {"score_pearson_topk", "discrimination"} <= set(table["metric"])


def value(table, model, metric):
    return table[(table["model"] == model) & (table["metric"] == metric)].set_index("condition")["value"]


def test_cells_that_are_the_real_ones_have_no_error(table):
    assert (value(table, "itself", "l2") == 0).all()
    # without bias, so that it is below zero for the very same cells
    assert (value(table, "itself", "energy_distance") <= 0).all()
    assert (value(table, "mirror", "energy_distance") > 1).all()
    assert (value(table, "itself", "pearson_delta") > 0.999).all()
    assert (value(table, "itself", "discrimination") == 1).all()
    assert (value(table, "mirror", "l2") > value(table, "split_half", "l2")).all()


def test_errors_of_baselines_are_those_of_their_exact_means(table, cells):
    training = cells.conditions("train")
    control = dense(cells, "control").mean(0)
    mean_effect = np.mean([dense(cells, name).mean(0) - control for name in training], axis=0)
    for condition, found in value(table, "control", "l2").items():
        effect = dense(cells, condition, training=False).mean(0) - control
        assert found == pytest.approx(np.linalg.norm(effect), rel=1e-4)
        expected = np.linalg.norm(effect - mean_effect)
        assert value(table, "perturbed_mean", "l2")[condition] == pytest.approx(expected, rel=1e-4)


def test_test_cells_do_not_shape_the_components(evaluation, cells):
    from sklearn.decomposition import PCA

    block = cells.block(np.flatnonzero(cells.is_training()))
    expected = PCA(30, svd_solver="full").fit(block).components_
    np.testing.assert_allclose(np.abs(evaluation.projection.T[:5] @ expected[:5].T), np.eye(5), atol=1e-2)


def test_the_order_of_conditions_does_not_matter(table, evaluation, cells, ready_toy):
    turned = list(evaluation.conditions)[::-1]
    params = ready_toy.uns["scperturbrl"]["reference"]["params"]
    fitted = cross_fit(ready_toy, cells, np.ones(len(cells.codes), dtype=bool), turned, resolve("pearson_topk"), params)
    again = Evaluation(cells, turned, fitted, max_cells=100, seed=0).run(lambda condition: iter(()))
    metrics = ["l2", "pearson_delta", "discrimination"]
    wide = [
        t[(t["kind"] != "prediction") & t["metric"].isin(metrics)].pivot(
            index=["model", "condition"], columns="metric", values="value"
        )
        for t in (table, again)
    ]
    pd.testing.assert_frame_equal(*wide)


def test_a_single_condition_is_not_ranked(cells, ready_toy):
    chosen = ready_toy.obs["perturbation"].isin(["control", cells.conditions("train")[0]])
    small = Cells.of(ready_toy[chosen].copy())
    names = small.conditions("train")
    fitted = cross_fit(
        ready_toy, small, small.is_training(), names, resolve("pearson_topk"), {"bank_size": 8, "seed": 0}
    )
    table = Evaluation(small, names, fitted, max_cells=50, seed=0).run(lambda condition: iter(()))
    assert "discrimination" not in set(table["metric"])


def test_observed_effects_are_those_of_all_cells(cells):
    observed = Observed(cells)
    control = dense(cells, "control").mean(0)
    assert set(observed.names) == set(cells.table.index) - {"control"}
    for effect, target, name in zip(observed.table.mean_effect, observed.table.targets, observed.names, strict=True):
        np.testing.assert_allclose(effect, dense(cells, name, training=False).mean(0) - control, atol=1e-6)
        assert set(cells.genes[target]) == set(name.split("+"))


def test_parts_of_a_combination_are_its_singles(cells):
    observed = Observed(cells)
    pair = next(name for name in observed.names if "+" in name)
    control = dense(cells, "control").mean(0)
    expected = [dense(cells, part, training=False).mean(0) - control for part in pair.split("+")]
    np.testing.assert_allclose(observed.parts(pair), expected, atol=1e-6)
    assert observed.parts(pair.split("+")[0]) is None


def test_drawn_cells_are_capped_and_their_mean_is_not(cells):
    index = np.flatnonzero(cells.codes == cells.table.index.get_loc("control"))
    drawn = draw_population("m", "prediction", cells, index, max_cells=7)
    assert drawn.cells.shape == (7, len(cells.genes))
    assert drawn.n_cells == len(index)
    np.testing.assert_allclose(drawn.mean, cells.block(index).mean(0, dtype=float), rtol=1e-6)
    everything = {row.tobytes() for row in cells.block(index)}
    assert {row.tobytes() for row in drawn.cells} <= everything
    whole = draw_population("m", "prediction", cells, index, max_cells=len(index))
    assert whole.mean is None
    np.testing.assert_array_equal(whole.cells, cells.block(index))


@pytest.fixture(scope="module")
def stored(ready_toy):
    adata = ready_toy.copy()
    spr.tl.fit_generator(adata, n_steps=3, width=16, n_latent=6)
    return read_generator(adata, "generator")


def test_generated_cells_are_counts_as_deep_as_their_control_cell_and_normalised(stored, cells):
    table = cells.table.loc[cells.conditions("test")]
    controls = np.flatnonzero(cells.table["is_control"].to_numpy()[cells.codes])[:12]
    make = partial(generate_cells, stored, cells, table, np.zeros(12, dtype=int), controls, seed=0, device=CPU)
    values, counts = (make(output=output).toarray() for output in ("log", "counts"))
    size = np.expm1(cells.block(controls).astype(np.float64)).sum(1)
    assert values.shape == counts.shape == (12, 60)
    assert (counts == np.rint(counts)).all()
    np.testing.assert_allclose(size, 1e4, rtol=1e-3)
    np.testing.assert_allclose(np.expm1(values), counts * 1e4 / counts.sum(1, keepdims=True), rtol=1e-3, atol=1e-3)
    depth = size / [np.expm1(cell[cell > 0].min()) for cell in cells.block(controls)]
    assert np.corrcoef(np.log(counts.sum(1)), np.log(depth))[0, 1] > 0.6
    np.testing.assert_allclose(counts.sum() / depth.sum(), 1, atol=0.25)


def test_nothing_to_train_on_is_refused(stored, cells):
    nothing = replace(cells, split=np.full(len(cells.split), "test"))
    with pytest.raises(ValueError, match="There are no training cells"):
        train_generator(stored, nothing, FitSettings(n_steps=1), torch.device("cpu"))


def test_replicate_and_mean_response_are_judged_by_the_same_half(table, evaluation, cells):
    judged = pd.DataFrame(evaluation.mean_response)
    assert set(judged["model"]) == {"perturbed_mean"}
    rows = pd.concat([judged, table[table["model"] == "split_half"]])
    rows = rows[rows["metric"] == "mse"].set_index(["model", "condition"])["value"]
    for condition in evaluation.conditions:
        real = np.flatnonzero(cells.codes == cells.table.index.get_loc(condition))
        halves = split_half(shuffled(cells, real, 0, "order of real cells")[:, None], seed=0)
        replicate, observed = (cells.block(half[:, 0]).mean(0, dtype=float) for half in halves)
        response = dense(cells, "control").mean(0) + evaluation.training.predict(cells, condition, "perturbed_mean")
        for model, mean in (("split_half", replicate), ("perturbed_mean", response)):
            assert rows[model, condition] == pytest.approx(np.square(mean - observed).mean(), rel=1e-4)
