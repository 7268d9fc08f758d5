from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import screening_report as report


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(report, "N_BOOTSTRAP_CONDITIONS", 40)


def rows(seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=12)
    frame = pd.DataFrame({"truth": truth, "line": truth, "additive": -truth, "ridge": 0.0, "context_line": np.nan})
    frame["mean_response"], frame["width"], frame["mean_width"] = 0.0, 0.1, 0.2
    frame["condition"] = [f"C{i}" for i in range(12)]
    return frame.assign(suite="a", seed=seed, objective="size", kind="combination", support="supported", error=0.5)


def test_the_truth_is_ranked_perfectly_and_its_negative_worst():
    found = report.scores(rows()).set_index("ranker")
    assert found.loc["line", ["spearman", "precision", "regret"]].tolist() == pytest.approx([1, 1, 0])
    assert found.loc["additive", "spearman"] == pytest.approx(-1)
    truth = rows()["truth"]
    assert found.loc["additive", "regret"] == pytest.approx((truth.max() - truth.min()) / truth.std())


def test_a_rule_that_says_the_same_of_all_is_as_good_as_chance():
    found = report.scores(rows()).set_index("ranker")
    assert found.loc["ridge", "spearman"] == found.loc["context_line", "spearman"] == 0
    assert found.loc["ridge", "precision"] == pytest.approx(4 / 12)


def test_folds_with_few_conditions_are_ranked_together():
    few = pd.concat([rows(seed).head(2).assign(condition=[f"{seed}a", f"{seed}b"]) for seed in range(4)])
    found = report.scores(few)
    assert set(found["seed"]) == {0}
    assert found.set_index("ranker").loc["line", "spearman"] == pytest.approx(1)


def test_the_line_beside_the_best_rule_with_an_interval():
    found = report.ranks(pd.concat([rows(0), rows(1)])).set_index("score")
    assert found.loc["spearman", ["line", "best", "gap", "low", "high"]].tolist() == pytest.approx([1, 0, 1, 1, 1])
    assert found.loc["regret", "gap"] < 0


def test_of_one_data_set_the_conditions_are_drawn_again():
    rng = np.random.default_rng(0)
    parts = []
    for seed in range(5):
        few = rows(seed).head(3).assign(condition=[f"{seed}{name}" for name in "abc"])
        few["line"] = few["truth"] + rng.normal(size=3)
        # the same in another unit: more objectives are no more evidence
        parts += [
            few.assign(objective=name, truth=few["truth"] * by, line=few["line"] * by)
            for name, by in (("a", 1), ("b", 2))
        ]
    found = report.ranks(pd.concat(parts)).set_index("score").loc["spearman"]
    assert found["high"] - found["low"] > 0.2
    assert found["low"] < found["gap"] < found["high"]


def test_coverage_width_and_errors_by_support():
    half = rows(0).assign(support="unsupported", error=1.0, seed=1)
    half["line"] = half["truth"] + np.where(np.arange(12) < 3, 0.2, 0.05)
    found = report.intervals(pd.concat([rows(0), half]))
    assert found[["candidates", "coverage", "width", "error"]].iloc[0].tolist() == [24, 0.875, 0.5, 0.75]
    assert found[["error_supported", "error_unsupported"]].iloc[0].tolist() == [0.5, 1.0]


def test_the_section_says_what_is_reached_and_how_to_measure_it(tmp_path):
    text = report.write(pd.concat([rows(0), rows(1)]), tmp_path)
    assert report.section(tmp_path) == text
    assert "| a | 2 | Spearman | 1.000 | 0.000 (chance) | **+1.000" in text
    assert "| a | combination | 24 | 1.00 | 0.50 | supported 100% | 0.50 |" in text
    assert "contain 74 to 86 % of the real values (suites with 20 candidates or more): not reached on a." in text
    assert "simple rule by an interval that excludes 0: reached." in text
    assert "python -m benchmarks screen --suites a --seeds 2" in text


def test_suites_measured_apart_stand_together(tmp_path):
    report.write(rows(0), tmp_path)
    other = rows(0).assign(suite="b", support="unsupported", error=1.5)
    text = report.write(other, tmp_path)
    assert "| a | 1 | Spearman" in text
    assert "| b | 1 | Spearman" in text
    assert "3.00 times the error of *supported* ones: the aim of 2 is reached" in text
    assert report.write(other, tmp_path) == text


def test_nothing_measured_is_no_section(tmp_path):
    assert report.section(tmp_path) == ""


def test_a_line_that_is_worse_is_called_so(tmp_path):
    worse = pd.concat([rows(0), rows(1)])
    worse["line"], worse["additive"] = worse["additive"], worse["line"]
    text = report.write(worse.assign(width=np.nan), tmp_path)
    assert "not reached on a (Spearman), a (precision among the best), a (regret)" in text
    assert "no interval" in text
    assert "**" not in text
