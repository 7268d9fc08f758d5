from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.intervals import interval_lines

METRICS = ["score_pearson_topk", "discrimination", "pearson_delta_systema"]


def table(gain, *, suite="simulated", model="generator_rl", n_seeds=3):
    """Two models under a few seeds; names of conditions are the same in all of them."""
    rng = np.random.default_rng(0)
    keys = ["suite", "seed", "condition", "metric", "model", "value", "role"]
    rows = []
    for seed in range(n_seeds):
        for sign, condition in zip((1, -1, 1, -1), "ABCD", strict=True):
            for metric in METRICS:
                base = rng.normal()
                for name, more in (("generator_longer", 0.0), (model, gain[metric] + 0.01 * sign)):
                    rows.append((suite, seed, condition, metric, name, base + more, "held-out"))
    return pd.DataFrame(rows, columns=keys)


def cells(text):
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines()]


def test_better_and_worse_stand_out():
    gain = {"score_pearson_topk": 0.5, "discrimination": -0.5, "pearson_delta_systema": 0.0}
    head, _, row = cells(interval_lines(table(gain)))
    found = dict(zip(head, row, strict=True))
    # names are the same with every seed, and yet conditions of their own
    assert (found["data set"], found["cells"], found["n"]) == ("simulated", "`generator_rl`", "12")
    assert found["Pearson top-k"].startswith("**+0.5")
    assert found["Discrimination"].startswith("*-0.")
    assert not found["Discrimination"].startswith("**")
    assert "*" not in found["Systema Pearson"]
    assert found["RMSE top-k"] == "-"


def test_the_numbers_are_means_over_conditions_of_seeds():
    rows = table(dict.fromkeys(METRICS, 0.2))
    wide = rows[rows["metric"] == "discrimination"].pivot_table(
        index=["seed", "condition"], columns="model", values="value"
    )
    mean = (wide["generator_rl"] - wide["generator_longer"]).mean()
    head, _, row = cells(interval_lines(rows))
    shown = dict(zip(head, row, strict=True))["Discrimination"]
    assert f"{mean:+.4f}" in shown


def test_oracles_stand_below_and_sets_without_post_training_are_left_out():
    gain = dict.fromkeys(METRICS, 0.1)
    oracle = table(gain, model="right_means")
    both = pd.concat([table(gain), oracle[oracle["model"] == "right_means"]])
    other = table(gain, suite="kang", model="generator")
    lines = cells(interval_lines(pd.concat([both, other])))[2:]
    assert [line[1] for line in lines] == ["`generator_rl`", "`right_means`"]


def test_models_without_these_metrics_have_empty_cells():
    rows = table(dict.fromkeys(METRICS, 0.1)).assign(metric="mse")
    _, _, row = cells(interval_lines(rows))
    assert row[2:] == ["0", *"-" * 9]
