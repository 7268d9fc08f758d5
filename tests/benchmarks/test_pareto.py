from __future__ import annotations

import importlib.util
import math

import numpy as np
import pandas as pd
import pytest

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.arms import BASE, LONGER, RL
from benchmarks.report import CLAIMED

from benchmarks import pareto, pareto_report
from scperturbrl.rl.rules.registry import UPDATE_RULES

POINTS = [point for batch in pareto.BATCHES for point in batch]


def cells(seed, model, point=None, *, gain=0.0, distance=1.0, seconds=10.0):
    """Two conditions that average to the numbers given."""
    values = dict.fromkeys(CLAIMED, 0.5 + gain) | {"energy_distance": distance, "mse": 0.02 * distance}
    values |= {"variance_ratio": 1.0, "pearson_delta_systema": 0.3, "discrimination": 0.9}
    rows = [
        {"model": model, "condition": condition, "metric": metric, "value": value + shift}
        for metric, value in values.items()
        for condition, shift in (("A+B", 0.01), ("C+D", -0.01))
    ]
    notes = {"seed": seed, "cpu_seconds": seconds, "stopped": "all iterations done", "kept_iteration": 60}
    return pd.DataFrame(rows).assign(**({} if point is None else vars(point)), **notes)


def made_up(seeds=(0,), *, default=(0.02, 0.95)):
    parts = []
    for seed in seeds:
        parts += [cells(seed, BASE, gain=-0.01, distance=1.1), cells(seed, LONGER)]
        parts.append(cells(seed, RL, pareto.DEFAULT, gain=default[0], distance=default[1], seconds=40.0))
        for number, anchor in enumerate((0.1, 1.0)):
            point = pareto.Point("grpo", anchor)
            parts.append(cells(seed, point.name, point, gain=0.01 - 0.004 * number, distance=1.2, seconds=100.0))
        early = pareto.Point(pareto.DEFAULT_RULE, pareto.DEFAULT_ANCHOR, pareto.RECIPE, 20)
        parts.append(cells(seed, early.name, early, gain=0.015, distance=0.99, seconds=20.0))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_other_point_beats(seed):
    # on a coarse lattice, so that there are ties and copies
    distance, gain = np.random.default_rng(seed).integers(0, 6, (2, 25)) / 5
    beaten = [
        any((distance[j] <= distance[i] and gain[j] >= gain[i]) and (distance[j], gain[j]) != (distance[i], gain[i])
            for j in range(25))
        for i in range(25)
    ]  # fmt: skip
    np.testing.assert_array_equal(pareto.front(distance, gain), ~np.array(beaten))


def test_every_rule_is_there_alone_at_every_anchor_and_within_the_recipe():
    alone = {(point.rule, point.anchor) for point in POINTS if point.kind == pareto.ALONE}
    assert alone == {(rule, anchor) for rule in UPDATE_RULES for anchor in pareto.ANCHORS}
    assert {point.rule for point in [*POINTS, pareto.DEFAULT] if point.kind == pareto.RECIPE} == set(UPDATE_RULES)
    names = [point.name for point in [*POINTS, pareto.DEFAULT]]
    assert len(set(names)) == len(names)


def test_the_default_point_is_what_the_verb_does_by_itself():
    import inspect

    import scperturbrl as spr

    defaults = {name: p.default for name, p in inspect.signature(spr.tl.rl_finetune).parameters.items()}
    assert (pareto.DEFAULT.rule, pareto.DEFAULT.anchor) == (defaults["update_rule"], defaults["anchor"])
    assert pareto.DEFAULT.n_iterations == defaults["n_iterations"]
    assert pareto.DEFAULT.name == RL


def test_gains_and_distances_are_beside_the_generator_trained_on_of_the_same_set():
    rows = pareto.summary(made_up()).set_index("model")
    assert rows.loc[LONGER, "gain"] == pytest.approx(0)
    assert rows.loc[RL, "gain"] == pytest.approx(0.02)
    assert rows.loc[RL, "distance"] == pytest.approx(0.95)
    assert rows.loc[BASE, "error"] == pytest.approx(1.1)


def test_the_table_has_a_line_a_point_and_marks_the_front():
    table = pareto_report.medians(pareto.summary(made_up(seeds=(0, 1))))
    assert list(table.index[table["front"]]) == [RL]
    assert table.loc[RL, "seeds_on_front"] == 2
    lines = pareto_report.markdown(table).splitlines()
    assert len(lines) == 2 + 5  # shorter runs are not in it
    assert sum("the default" in line and "yes (2 of 2 sets)" in line for line in lines) == 1


def test_the_first_run_with_as_much_gain_for_no_more_distance_counts():
    rows = pareto.summary(made_up())
    race = pareto_report.reaching(rows).iloc[0]
    assert (race["reached"], race["cpu_seconds"], race["ratio"]) == (20.0, 100.0, pytest.approx(0.2))
    assert "0.20 times as long" in pareto_report.sentences(rows)


def test_a_default_off_the_front_is_said_to_be():
    rows = pareto.summary(made_up(default=(0.001, 1.3)))
    rows = rows[~rows["model"].str.contains("after")]
    words = pareto_report.sentences(rows)
    assert "is not on the front" in words
    assert "does not get there" in words
    assert math.isnan(pareto_report.reaching(rows)["ratio"][0])


def test_the_page_gets_the_table_between_its_marks_and_the_picture(tmp_path):
    page = tmp_path / pareto_report.PAGE
    page.parent.mkdir()
    page.write_text(f"before\n{pareto_report.BEGIN}old\n{pareto_report.END}after\n")
    for _ in range(2):
        text = pareto_report.write(made_up(), tmp_path)
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert text in written
    assert "old" not in written
    assert (tmp_path / pareto_report.PICTURE).stat().st_size > 5000


def test_a_set_that_is_half_measured_is_only_in_the_race():
    half = made_up(seeds=(1,), default=(0.5, 0.5))
    rows = pareto.summary(pd.concat([made_up(), half[~half["model"].isin([BASE])]], ignore_index=True))
    table = pareto_report.medians(rows)
    assert table.loc[RL, "n_seeds"] == 1
    assert table.loc[RL, "gain"] == pytest.approx(0.02)
    assert list(pareto_report.reaching(rows)["seed"]) == [0, 1]


def test_the_best_of_a_kind_has_all_its_rounds():
    longer = pareto.Point("grpo", 0.1, pareto.ALONE, 120)
    results = pd.concat([made_up(), cells(0, longer.name, longer, gain=0.03)], ignore_index=True)
    rows = pareto.summary(results)
    assert pareto.best_of("grpo", rows)["model"] == longer.name
    assert pareto.best_of("grpo", rows, kind=pareto.ALONE)["model"] == "grpo_alone_anchor_0.1"


def test_what_was_not_measured_is_named():
    words = pareto_report.missing(pareto.summary(made_up()))
    assert "`nft` alone with anchor 0.1" in words
    assert "`grpo` alone with anchor 0.1" not in words
    everything = pd.DataFrame({"model": [point.name for point in POINTS]})
    assert pareto_report.missing(everything) == ""
