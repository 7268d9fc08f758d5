from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from scperturbrl import metrics
from scperturbrl.metrics import METRICS


def test_every_metric_describes_itself():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.label[0].isupper()
        assert metric.description.endswith(".")
        assert metric.source


def test_labels_are_unique():
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)


def test_only_discrimination_scores_compare_conditions():
    joint = [name for name, metric in METRICS.items() if metric.joint]
    assert joint == ["discrimination", "discrimination_l1", "centroid_accuracy"]


@pytest.mark.parametrize(("name", "value", "error"), [("mse", 0.2, 0.2), ("de_overlap", 0.2, 0.8)])
def test_error_follows_the_direction(name, value, error):
    assert METRICS[name].error(value) == pytest.approx(error)


def test_error_of_a_ratio_has_two_sides():
    assert METRICS["variance_ratio"].error(0.5) == METRICS["variance_ratio"].error(1.5) == 0.5


def test_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        METRICS["mse"] = METRICS["mae"]


@pytest.mark.parametrize("name", metrics.__all__)
def test_every_export_exists(name):
    assert getattr(metrics, name) is not None
    assert name in dir(metrics)


def test_metrics_load_neither_anndata_nor_torch():
    modules = [f"scperturbrl.metrics.{name}" for name in metrics.__all__ if name.islower()]
    found = [name for name in modules if importlib.util.find_spec(name)]
    assert len(found) > 8
    banned = {"anndata", "scanpy", "torch", "pertpy"}
    code = (
        f"import importlib, sys\nfor m in {found!r}: importlib.import_module(m)\nprint({banned!r} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
