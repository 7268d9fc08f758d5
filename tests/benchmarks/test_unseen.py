from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.adapters.base import NotApplicable
from benchmarks.embedding_baselines import embedding_ridge, nearest_embedding, shifted

from benchmarks import report, unseen


@pytest.fixture(scope="module")
def screen():
    sizes = {"n_genes": 120, "n_singles": 16, "n_doubles": 0, "n_cells_per_condition": 30, "n_controls": 60}
    adata = spr.datasets.simulated_perturbseq(**sizes, n_programs=6, n_pathways=4, target_coupling=0.7)
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="perturbations", fraction=0.25)
    spr.pp.reference(adata)
    return adata


def test_moved_cells_have_the_mean_and_nothing_below_0():
    cells = np.random.default_rng(0).poisson(0.5, (50, 4)).astype(float)
    mean = cells.mean(0) + np.array([0.3, -0.2, 0.0, -5.0])
    moved = shifted(cells, mean)
    assert moved.min() == 0
    np.testing.assert_allclose(moved.mean(0), np.maximum(mean, 0), atol=1e-12)


@pytest.mark.parametrize("draw", [nearest_embedding, embedding_ridge])
def test_embedding_baselines_answer_every_test_condition_without_test_cells(screen, draw):
    made = draw(screen, 40, 0)
    wanted = spr.get.split_manifest(screen).test
    assert made.obs["perturbation"].value_counts().to_dict() == dict.fromkeys(wanted, 40)
    changed = screen.copy()
    test = changed.obs["split"] == "test"
    changed.X = changed.X.toarray()
    changed.X[test] = changed.X[test][:, ::-1]
    np.testing.assert_array_equal(draw(changed, 40, 0).X, made.X)
    # the perturbed gene itself changes as training perturbations change theirs
    rate = lambda data, name: np.expm1(data[data.obs["perturbation"] == name, name].X.toarray()).mean()
    control = lambda name: np.expm1(screen[screen.obs["perturbation"] == "control", name].X.toarray()).mean()
    training = [name for name in spr.get.split_manifest(screen).train if name != "control"]
    fold = np.median([rate(screen, name) / control(name) for name in training])
    made.X = sparse.csr_matrix(made.X)
    assert np.median([rate(made, name) / control(name) for name in wanted]) == pytest.approx(fold, rel=0.25)


def test_nearest_takes_one_training_effect(screen):
    made = nearest_embedding(screen, 60, 0)
    mean = lambda data, name: np.asarray(data[data.obs["perturbation"] == name].X.mean(0)).ravel()
    training = screen[screen.obs["split"] == "train"]
    name = spr.get.split_manifest(screen).test[0]
    gap = {
        other: np.median(np.abs(mean(training, other) - mean(made, name)))
        for other in training.obs["perturbation"].unique()
        if other != "control"
    }
    assert min(gap.values()) < 1e-5


def test_embedding_baselines_say_where_they_do_not_apply():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    with pytest.raises(NotApplicable, match="single perturbations"):
        embedding_ridge(adata, 10, 0)


def table(gap, suite="unseen_singles"):
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(3):
        for condition in "ABCDE":
            for metric in unseen.METRICS:
                base = rng.random() / 2
                values = {"generator": base + gap, "perturbed_mean": base, "nearest_embedding": base + rng.normal()}
                rows += [(m, seed, condition, metric, v) for m, v in values.items()]
    found = pd.DataFrame(rows, columns=["model", "seed", "condition", "metric", "value"])
    known = {"told_apart": 1.0, "dynamic_range": 0.5, "calibrated": True}
    return found.assign(
        suite=suite, role="held-out", kind="prediction", scaled=np.nan, stopped="", parts_seen=0, **known
    )


def test_differences_are_paired_over_the_conditions_of_every_seed():
    text = unseen.lines(table(0.25))
    assert "over 15 conditions" in text
    row = next(line for line in text.splitlines() if line.startswith("| perturbed mean"))
    assert row.count("+0.250 (+0.250 to +0.250)") == 2
    assert row.count("3 of 3") == 2
    assert unseen.lines(table(0.25, suite="simulated")) == ""
    assert text in report.summarise(table(0.25))
