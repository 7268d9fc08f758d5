from __future__ import annotations

from scperturbrl.get._read.labels import metric_label, model_label, readable, verifier_label
from scperturbrl.metrics import METRICS
from scperturbrl.verifiers import names, registry


def test_registered_names_get_their_own_labels():
    assert [verifier_label(name) for name in names()] == [registry.get(name).label for name in names()]
    assert [metric_label(name) for name in METRICS] == [metric.label for metric in METRICS.values()]


def test_other_names_are_made_readable():
    assert verifier_label("my_own") == "My own"
    assert metric_label("my_metric") == "My metric"
    assert metric_label("score_my_own") == "Verifier: My own"
    assert model_label("scvi_baseline") == "Scvi baseline"
    assert readable("MSE") == "MSE"
