from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import calibration


def results(suite, folds, metric="mse"):
    """Folds of (share told apart, dynamic range, number of conditions), with two models."""
    return pd.DataFrame(
        {
            "suite": suite,
            "seed": seed,
            "model": model,
            "condition": f"{seed}-{i}",
            "metric": metric,
            "value": 0.0,
            "told_apart": share,
            "dynamic_range": reach,
            "calibrated": share >= 0.75,
        }
        for seed, (share, reach, n) in enumerate(folds)
        for model in ("generator", "control")
        for i in range(n)
    )


def test_folds_count_by_their_conditions():
    row = calibration.table(results("kang", [(1.0, 0.9, 6), (0.0, 0.1, 2), (1.0, 0.5, 1)])).iloc[0]
    assert row["told_apart"] == pytest.approx(7 / 9)
    assert row["calibrated"]
    assert (row["dynamic_range"], row["n_conditions"], row["n_folds"]) == (0.5, 9, 3)
    # in two of three folds it is calibrated, but not in three of four conditions
    assert not calibration.table(results("kang", [(1.0, 0.9, 1), (1.0, 0.9, 1), (0.25, 0.1, 8)]))["calibrated"].any()


def test_a_fold_without_a_value_says_nothing():
    found = calibration.table(results("kang", [(1.0, 0.9, 1), (np.nan, np.nan, 9)]))
    assert found[["told_apart", "calibrated"]].iloc[0].tolist() == [1.0, True]
    assert not calibration.table(results("kang", [(np.nan, np.nan, 2)]))["calibrated"].any()


def test_every_measurement_gets_the_pooled_calibration():
    rows = calibration.pooled(results("kang", [(1.0, 0.9, 1), (0.25, 0.1, 3)]))
    assert not rows["calibrated"].any()
    assert set(rows["told_apart"]) == {0.4375}
    assert rows.duplicated(["seed", "model", "condition"]).sum() == 0


def test_what_is_kept_is_read_again_and_named_in_words(tmp_path):
    both = pd.concat([results("kang", [(1.0, 0.9, 2)]), results("kang", [(0.5, 0.1, 2)], "variance_ratio")])
    text = calibration.write(both, tmp_path)
    assert "1 of 2 metrics tell a replicate from the mean response" in text
    assert "MSE 1.00. Left out of verdicts: Variance ratio 0.50." in text
    calibration.write(results("zhao", [(0.0, -1.0, 1)]), tmp_path)
    found = calibration.of(tmp_path, ["kang", "zhao"])
    assert calibration.lines(found, "kang") == text
    assert "(1 held-out condition). 0 of 1" in calibration.lines(found, "zhao")
    assert (
        calibration.lines(found, "norman") == calibration.lines(calibration.of(tmp_path / "x", ["kang"]), "kang") == ""
    )
