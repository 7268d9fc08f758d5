from __future__ import annotations

import importlib.util

import pandas as pd
import pytest

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import verdicts

KINDS = {"generator": "generator", "generator_rl": "generator", "additive": "baseline", "control": "baseline"}
COLUMNS = ["model", "metric", "seed", "value", "told_apart", "role"]


def results(figures, *, suite="kang", folds=3, told_apart=1.0, role="held-out", metric="mse"):
    """`figures`: the error of each model, a little larger in every fold; one condition of the same name in each."""
    rows = [
        (model, metric, seed, value + 0.01 * seed, told_apart, role)
        for model, value in figures.items()
        for seed in range(folds)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).assign(suite=suite, condition="A", dynamic_range=0.5)
    table["kind"] = table["model"].map(KINDS)
    return table.assign(scaled=-table["value"], calibrated=told_apart >= 0.75)


def test_it_is_compared_with_the_best_rule_in_the_metrics_that_can_judge():
    good = results({"generator": 0.1, "additive": 0.5, "control": 0.9})
    found = verdicts.table(good)
    assert found[["suite", "model", "reference", "verdict", "judges"]].values.tolist() == [
        ["kang", "generator", "additive", "better", True]
    ]
    # the same name in another fold is another condition
    assert found["n_conditions"].tolist() == found["n_folds"].tolist() == [3]
    blind = results({"generator": 0.9, "additive": 0.1, "control": 0.5}, told_apart=0.5, metric="mae")
    found = verdicts.table(pd.concat([good, blind]))
    assert found.set_index("metric")["judges"].to_dict() == {"mse": True, "mae": False}
    assert found.set_index("metric")["verdict"].to_dict() == {"mse": "better", "mae": "uncalibrated"}
    assert (found["reference"] == "additive").all()


@pytest.mark.parametrize(
    "options",
    [{"told_apart": 0.5}, {"role": "rewarded"}, {"metric": "energy_distance"}],
    ids=lambda one: next(iter(one)),
)
def test_there_is_no_verdict_where_nothing_can_judge(options, tmp_path):
    table = results({"generator": 0.1, "additive": 0.5}, **options)
    assert verdicts.table(table).empty
    assert verdicts.write(table, tmp_path, "real") == ""
    assert not list(tmp_path.iterdir())


def test_a_model_is_compared_in_its_own_folds():
    table = results({"generator": 0.5, "generator_rl": 0.1, "additive": 0.3})
    table = table[(table["model"] != "generator_rl") | (table["seed"] < 2)]
    found = verdicts.table(table).set_index("model")
    assert found["n_folds"].to_dict() == {"generator": 3, "generator_rl": 2}
    assert found["verdict"].to_dict() == {"generator": "worse", "generator_rl": "better"}


def test_the_table_names_task_rule_and_metrics(tmp_path):
    one = results({"generator": 0.1, "additive": 0.5})
    more = results({"generator": 0.7, "additive": 0.5}, suite="norman", folds=1)
    text = verdicts.write(pd.concat([one, more]), tmp_path, "real")
    assert (
        "| kang, interferon beta on blood cells, cell types held out in turn | generator | 3 | 3 | additive | better | 1: MSE | 0 | 0 |"
        in text
    )
    assert "| generator | 1 | 1 | additive | too few conditions | 0 | 0 | 0 |" in text
    assert [file.name for file in tmp_path.iterdir()] == ["verdicts_real.csv.gz"]
