"""What is not allowed to depend on how deeply conditions were sequenced."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.counts import count_unit
from scperturbrl.data.cells.depth import condition_depths
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.generator.task import reference_task
from scperturbrl.data.reference.stored import at_reference_depth, reference_depths
from scperturbrl.flow.rollout.yardstick import Yardstick

FIGURES = ("mse", "energy_distance")
MODELS = ("control", "perturbed_mean", "matching_mean", "split_half")


@pytest.fixture(scope="module")
def simulated():
    return spr.datasets.simulated_perturbseq(
        n_genes=150,
        n_singles=6,
        n_doubles=6,
        n_cells_per_condition=300,
        n_controls=500,
        n_programs=9,
        n_pathways=6,
        library_size=2500,
        dispersion=6.0,
        effect_size=1.5,
    )


@pytest.fixture(scope="module")
def monocytes(read_shared):
    adata = read_shared("kang_2018_pbmc_ifnb.h5ad")
    adata = adata[adata.obs["cell_type"].isin(["CD14+Mono", "FCGR3A+Mono", "CD4T"])].copy()
    adata = adata[:, np.argsort(-adata.X.sum(0).A1)[:500]].copy()
    adata.layers["counts"] = adata.X.copy()
    return adata


def measured(adata, **split):
    """Mean reward, effects, and figures at equal and at raw depth."""
    covariates = ["cell_type"] if "values" in split else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.setup_anndata(adata, covariate_keys=covariates)
        spr.pp.split(adata, **split)
        spr.pp.reference(adata)
        spr.tl.score(adata)
        figures = {}
        for depth in ("equal", "raw"):
            table = spr.tl.evaluate(adata, keys=[], verifiers=["rmse_topk"], max_cells=200, depth=depth)
            table = table[table["metric"].isin(FIGURES) & table["model"].isin(MODELS)]
            figures[depth] = table.groupby(["metric", "model"])["value"].mean()
    effects = adata.varm["perturbation_effect"].to_numpy()
    return adata.obs["observed_reward"].mean(), effects, figures


def moved(new, old):
    """Change as a share of the figure, or of that of unchanged controls where the figure is next to nothing."""
    scale = np.maximum(
        old.abs(), old.xs("control", level="model").reindex(old.index.get_level_values("metric")).to_numpy() / 4
    )
    return (new - old).abs() / scale


SHALLOW = ((0.5, 0.5), (0.5, 1))
DEEP = ((1, 0.25), (0.5, 0.25))


# shares of the counts of treated and control cells, before and after: treated cells as deep as their controls, which are at
# half and then at full depth; and treated cells four times and then twice as deep
@pytest.mark.parametrize(
    ("data", "before", "after"), [("simulated", *SHALLOW), ("simulated", *DEEP), ("monocytes", *DEEP)]
)
def test_figures_rewards_and_effects_do_not_follow_depth(request, at_share, data, before, after):
    adata = request.getfixturevalue(data)
    split = {"holdout": "cell_type", "values": ["FCGR3A+Mono"]} if data == "monocytes" else {"fraction": 0.4}
    (old_reward, old_effects, old), (reward, effects, new) = (
        measured(at_share(adata, *shares), **split) for shares in (before, after)
    )
    assert moved(new["equal"], old["equal"]).max() < 0.05
    assert moved(new["raw"], old["raw"]).max() > 0.12
    assert reward == pytest.approx(old_reward, abs=0.05)
    slope = (effects * old_effects).sum() / (old_effects**2).sum()
    assert slope == pytest.approx(1, abs=0.05)


def figure(table, model, metric="mse"):
    return table[(table["model"] == model) & (table["metric"] == metric)].set_index("condition")["value"]


@pytest.fixture(scope="module")
def half_screen(fitted_screen, at_share):
    """A screen whose generator was fitted when treated cells were as deep as their controls; now they have half."""
    adata = at_share(fitted_screen, 0.5)
    with pytest.warns(UserWarning, match="differ from their controls in sequencing depth"):
        spr.pp.reference(adata)
    return adata


def test_generators_are_compared_at_the_depth_of_the_observed_cells(half_screen, fitted_screen):
    # so many cells that what is compared is the means: half the counts of 100 generated cells are much noisier
    options = {"verifiers": ["rmse_topk"], "n_cells": 1000, "max_cells": 1000}
    before = spr.tl.evaluate(fitted_screen.copy(), **options)
    equal, raw = (spr.tl.evaluate(half_screen.copy(), depth=depth, **options) for depth in ("equal", "raw"))
    for metric in FIGURES:
        assert figure(equal, "generator", metric).mean() < 0.6 * figure(raw, "generator", metric).mean()
        assert figure(equal, "generator", metric).mean() < 1.3 * figure(before, "generator", metric).mean()


def test_raw_depth_compares_cells_as_they_are(half_screen):
    adata = half_screen.copy()
    table = spr.tl.evaluate(adata, keys=[], verifiers=["rmse_topk"], depth="raw")
    label = (adata.obs["perturbation"]).to_numpy()
    control = adata.X[label == "control"].toarray().mean(0)
    for name, value in figure(table, "control").items():
        expected = ((adata.X[label == name].toarray().mean(0) - control) ** 2).mean()
        assert value == pytest.approx(expected, rel=1e-3)


def test_where_nothing_differs_the_word_does_not_matter(fitted_screen):
    tables = [
        spr.tl.evaluate(fitted_screen.copy(), n_cells=20, max_cells=40, depth=depth, verifiers=["rmse_topk"])
        for depth in ("equal", "raw")
    ]
    assert reference_depths(fitted_screen).equal
    np.testing.assert_array_equal(tables[0]["value"], tables[1]["value"])


def test_predicted_cells_that_are_deeper_are_thinned(half_screen, fitted_screen):
    deep = fitted_screen[fitted_screen.obs["split"] == "test"].copy()
    values = {}
    for depth in ("equal", "raw"):
        table = spr.tl.evaluate(
            half_screen.copy(), keys=[], predictions={"p": deep}, verifiers=["rmse_topk"], depth=depth
        )
        values[depth] = figure(table, "p").mean()
        halves = figure(table, "split_half").mean()
    # the same cells, so no farther than one half of them is from the other
    assert values["equal"] < 0.6 * halves
    assert values["raw"] > 2 * values["equal"]


def test_where_predicted_cells_are_shallower_everything_is_thinned(fitted_screen, half_screen):
    shallow = half_screen[half_screen.obs["split"] == "test"].copy()
    options = {"keys": [], "predictions": {"p": shallow}, "verifiers": ["rmse_topk"]}
    with pytest.warns(UserWarning, match=r"'p' has 0\.\d+ times the counts per cell.*`depth='raw'`"):
        equal = spr.tl.evaluate(fitted_screen.copy(), **options)
    raw = spr.tl.evaluate(fitted_screen.copy(), depth="raw", **options)
    assert figure(equal, "p").mean() < 0.6 * figure(equal, "split_half").mean()
    assert figure(raw, "p").mean() > 2 * figure(equal, "p").mean()
    # baselines too
    assert figure(equal, "control").mean() != pytest.approx(figure(raw, "control").mean(), rel=1e-3)


def test_values_that_are_no_counts_are_compared_as_they_are(half_screen, toy):
    smooth = half_screen[half_screen.obs["split"] == "test"].copy()
    smooth.X = smooth.X.toarray() * 0.97 + 0.01
    tables = [
        spr.tl.evaluate(
            half_screen.copy(), keys=[], predictions={"p": smooth}, verifiers=["rmse_topk"], conditions=name
        )
        for name in [half_screen.obs["perturbation"][half_screen.obs["split"] == "test"].iloc[0]]
    ]
    assert figure(tables[0], "p").notna().all()
    toy.X = (toy.X * 0.97).toarray() + 0.01
    with pytest.warns(UserWarning, match="Counts cannot be recovered from the expression"):
        spr.pp.reference(toy)
    with pytest.warns(UserWarning, match="Counts cannot be recovered from the expression"):
        table = spr.tl.evaluate(toy, keys=[], verifiers=["rmse_topk"])
    raw = spr.tl.evaluate(toy, keys=[], verifiers=["rmse_topk"], depth="raw")
    np.testing.assert_array_equal(table["value"], raw["value"])


def test_another_word_for_depth_is_refused(toy):
    with pytest.raises(ValueError, match="`depth` is 'fair'; it must be one of 'equal', 'raw'"):
        spr.tl.evaluate(toy, depth="fair")


def test_cells_are_scored_at_the_depth_of_the_reference(half_screen, fitted_screen):
    adata = half_screen.copy()
    adata.layers["deep"] = fitted_screen.X.copy()
    for layer in ("deep", None):
        spr.tl.score(adata, layer=layer)
    trained = (adata.obs["split"] == "train").to_numpy() & (adata.obs["perturbation"] != "control").to_numpy()
    means = adata.obs.loc[trained, ["deep_reward", "observed_reward"]].mean()
    assert means["deep_reward"] == pytest.approx(means["observed_reward"], abs=0.1)
    perturbed = set(adata.obs["perturbation"]) - {"control"}
    assert set(adata.uns["score_deep"]["thinned"]) == perturbed
    assert "control" in adata.uns["score_observed"]["thinned"]


def test_cells_of_another_tool_are_thinned_and_means_are_scored_as_they_are(half_screen, fitted_screen, monkeypatch):
    theirs = fitted_screen[fitted_screen.obs["split"] == "train", fitted_screen.var_names[::-1]].copy()
    spr.tl.score(theirs, reference=half_screen)
    assert len(theirs.uns["score_generated"]["thinned"])
    told = []
    monkeypatch.setattr("scperturbrl.tl._score.log.tell", told.append)
    theirs.X = theirs.X.toarray() * 0.97 + 0.01
    spr.tl.score(theirs, reference=half_screen)
    assert sum("Counts cannot be recovered from the cells to be scored" in message for message in told) == 1
    assert not len(theirs.uns["score_generated"]["thinned"])


def test_observed_references_are_made_at_one_depth_of_all_cells(half_screen):
    adata = half_screen.copy()
    spr.tl.score(adata, reference="observed")
    expected = condition_depths(Cells.of(adata)).thinned()
    assert "control" in expected
    np.testing.assert_array_equal(adata.uns["score_observed"]["thinned"], expected)


def test_post_training_generates_at_the_depth_that_it_is_judged_at(half_screen):
    cells = Cells.of(half_screen)
    shown = at_reference_depth(half_screen, cells)
    stored, names = read_generator(half_screen, "generator"), cells.conditions("train")[:2]
    task, raw = (reference_task(stored, cells, own, names, "train", seed=0) for own in (shown, cells))
    assert (task.pool.latent == raw.pool.latent).all()
    factor = reference_depths(half_screen).table.loc["control", "factor"]
    # counts of control cells are read with their own unit
    assert (task.pool.unit == raw.pool.unit).all()
    np.testing.assert_allclose(np.median(raw.pool.unit / task.pool.shown_unit), factor, rtol=0.03)
    # a condition that is shallower than its thinned control cells stays so
    np.testing.assert_allclose(task.pool.depth, (raw.pool.depth / factor).clamp(max=1), rtol=0.03)
    found = np.flatnonzero(cells.codes == cells.rows(names)[0])
    assert np.median(count_unit(shown.expression[found])) == pytest.approx(
        float(task.pool.shown_unit.median()), rel=0.15
    )


def test_cells_of_post_training_have_the_expression_of_real_cells_at_that_depth(half_screen):
    cells = Cells.of(half_screen)
    shown, stored = at_reference_depth(half_screen, cells), read_generator(half_screen, "generator")
    name = cells.conditions("train")[0]
    task = reference_task(stored, cells, shown, [name], "train", seed=0)
    made = Yardstick(task).roll_out(stored.generator, seed=0).cells[0, 0].numpy()
    real = shown.block(np.flatnonzero((cells.codes == cells.rows([name])[0]) & cells.is_training()))
    # as many counts, and each of them worth as much
    assert np.expm1(made).sum(1).mean() == pytest.approx(np.expm1(real).sum(1).mean(), rel=0.15)
    assert (made > 0).mean() == pytest.approx((real > 0).mean(), rel=0.15)


def test_the_reference_keeps_what_depth_it_was_made_at(half_screen, tmp_path):
    half_screen.write_h5ad(tmp_path / "a.h5ad")
    table = reference_depths(half_screen).table
    held_out = half_screen.obs["perturbation"][half_screen.obs["split"] != "train"].unique()
    assert table.loc[held_out, "depth"].isna().all()
    treated = table[~table["is_control"]].drop(index=held_out)
    assert treated["ratio"].between(0.4, 0.62).all()
    assert (treated["factor"] > 0.85).all()
    assert table.loc["control", "factor"] == pytest.approx(treated["ratio"].min())
    assert table.loc["control", "counts"] == pytest.approx(2450, rel=0.1)


def test_conditions_of_another_depth_are_named(zhao):
    zhao.obs["everything"] = "train"
    spr.pp.setup_anndata(zhao, covariate_keys=["patient_id"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spr.pp.split(zhao, holdout="column", column="everything")
        spr.pp.reference(zhao)
    told = [str(one.message) for one in caught if "sequencing depth" in str(one.message)]
    assert len(told) == 1
    assert "1 of 5 conditions" in told[0]
    # the means are those of whole cells, thinned or not, so that the last digit depends on the draw
    # the median of the control cells is 128.5, which rounding errors of the machine turn into either number
    assert re.search(r"panobinostat \| patient_id=PW040 \(12[89] counts a control cell, 596 a treated one\)", told[0])
