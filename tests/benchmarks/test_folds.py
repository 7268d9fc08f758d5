from __future__ import annotations

import importlib.util

import pandas as pd
import pytest

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import folds


def results():
    """Two folds of two conditions each: the generator, two baselines, a ceiling."""
    values = {
        "generator": ("generator", [1.0, 2.0]),
        "control": ("baseline", [4.0, 3.0]),
        "additive": ("baseline", [2.0, 5.0]),
        "split_half": ("ceiling", [0.1, 0.1]),
    }
    return pd.DataFrame(
        {
            "suite": "blood",
            "seed": seed,
            "model": model,
            "kind": kind,
            "metric": metric,
            "condition": f"drug {number} | cell_type={'AB'[seed]}",
            "covariates": "AB"[seed],
            "value": by_fold[seed] * scale + (number - 0.5) * 0.1 * scale,
        }
        for model, (kind, by_fold) in values.items()
        for seed in (0, 1)
        for number in (0, 1)
        for metric, scale in (("energy_distance", 1.0), ("mse", 0.001), ("mae", 7.0))
    )


def test_every_fold_has_its_own_best_baseline():
    table = folds.table(results(), ["generator"])
    assert set(table["model"]) == {"generator", "control", "additive"}
    own = table[(table["model"] == "generator") & (table["metric"] == "energy_distance")]
    assert own["held_out"].tolist() == ["A", "B"]
    assert own["best_baseline"].tolist() == ["additive", "control"]
    assert own["value"].tolist() == pytest.approx([1, 2])
    assert own["ratio"].tolist() == pytest.approx([0.5, 2 / 3])


def test_without_contexts_conditions_are_named():
    table = folds.table(results().assign(covariates="all"), ["generator"])
    assert table["held_out"].iloc[0] == "drug 0 | cell_type=A, drug 1 | cell_type=A"


def test_it_is_kept_and_printed(tmp_path):
    text = folds.write(results(), ["generator"], tmp_path, "blood")
    assert "| blood 0: A | 1 | 2 (additive) | 0.50 | 1 | 2 (additive) | 0.50 |" in text
    assert "| blood 1: B | additive | 5 | 1.67 | 5 | 1.67 |" in text
    assert all(row.count("|") <= 8 for row in text.splitlines())
    kept = pd.read_csv(tmp_path / "folds_blood.csv.gz")
    assert len(kept) == 12
    before = (tmp_path / "folds_blood.csv.gz").read_bytes()
    folds.write(results(), ["generator"], tmp_path, "blood")
    assert (tmp_path / "folds_blood.csv.gz").read_bytes() == before
