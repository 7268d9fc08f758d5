from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr
from scperturbrl.metrics import paired_bootstrap


def table(metric="mse", shift=0.0, n=12, seeds=1):
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for i in range(n):
            base = rng.gamma(2.0)
            rows += [("a", f"c{i}", seed, base + shift + rng.normal(0, 0.01)), ("b", f"c{i}", seed, base)]
    return pd.DataFrame(rows, columns=["model", "condition", "seed", "value"]).assign(metric=metric, role="held-out")


def test_it_is_the_paired_bootstrap_over_conditions():
    frame = table(shift=0.1)
    wide = frame.pivot(index="condition", columns="model", values="value")
    expected = paired_bootstrap(wide["a"], wide["b"], seed=3)
    found = spr.get.differences(frame, "a", reference="b", seed=3).iloc[0]
    assert tuple(found[["difference", "low", "high", "p_value", "n_conditions"]]) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("metric", "shift", "verdict"),
    [("mse", 0.1, "worse"), ("mse", -0.1, "better"), ("discrimination", 0.1, "better"), ("mse", 0.0, "tie")],
)
def test_the_verdict_follows_the_direction_of_the_metric(metric, shift, verdict):
    assert spr.get.differences(table(metric, shift), "a", reference="b")["verdict"].tolist() == [verdict]


def test_nearer_to_the_ideal_is_better_on_both_sides_of_it():
    frame = table("variance_ratio", n=6)
    frame["value"] = np.where(frame["model"] == "a", 1.1, 0.7)
    found = spr.get.differences(frame, "a", reference="b").iloc[0]
    assert found["verdict"] == "better"
    assert found["difference"] == pytest.approx(0.4)


def test_seeds_of_one_condition_are_one_unit():
    found = spr.get.differences(table(shift=0.1, n=5, seeds=4), "a", reference="b")
    assert found["n_conditions"].tolist() == [5]


def test_one_condition_proves_nothing():
    found = spr.get.differences(table(shift=0.5, n=1), "a", reference="b").iloc[0]
    assert found["verdict"] == ""
    assert np.isnan(found["p_value"])


def test_several_references_and_metrics_from_adata(adata):
    found = spr.get.differences(adata, "generator", reference=["control", "additive"], metrics=["mse", "mmd"])
    assert found[["metric", "reference"]].to_numpy().tolist() == [
        ["mse", "control"],
        ["mse", "additive"],
        ["mmd", "control"],
        ["mmd", "additive"],
    ]
    same = spr.get.differences(adata, "generator", reference="generator", metrics="mse").iloc[0]
    assert (same["difference"], same["verdict"]) in {(0.0, "tie"), (0.0, "")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "z", "reference": "b"}, "'z'"),
        ({"model": "a", "reference": "z"}, "'z'"),
        ({"model": "a", "reference": "b", "metrics": "mea"}, "'mea'"),
        ({"model": "a", "reference": "b", "column": "scaled"}, "'scaled'"),
    ],
)
def test_unknown_names_are_refused(options, message):
    model = options.pop("model")
    with pytest.raises(ValueError, match=message):
        spr.get.differences(table(), model, **options)


def test_missing_evaluation_names_the_verb(bare):
    with pytest.raises(KeyError, match=r"tl\.evaluate\(adata\)"):
        spr.get.differences(bare, "a", reference="b")
