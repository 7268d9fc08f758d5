from __future__ import annotations

import importlib.util
import inspect

import pandas as pd
import pytest

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import backbones
from scperturbrl.metrics.registry import METRICS


def test_arms_are_options_of_the_verb():
    known = inspect.signature(spr.tl.fit_generator).parameters
    assert all(set(options) <= set(known) for options in backbones.ARMS.values())
    assert set(backbones.METRICS) <= set(METRICS)


def test_what_was_measured_is_kept(tmp_path, monkeypatch):
    asked = []

    def measure(adata, arm, seed, minutes, device):
        asked.append((arm, seed, minutes, device))
        return {
            "arm": arm,
            "seed": seed,
            "device": "CPU",
            "seconds": 60.0 + seed,
            **dict.fromkeys(backbones.METRICS, 0.5),
        }

    monkeypatch.setattr(backbones, "_measure", measure)
    monkeypatch.setattr(backbones.simulated, "load", lambda *_: (None, {}))
    backbones.run(tmp_path, ["mlp, genes"], range(2), minutes=1, device="cpu")
    found = backbones.run(tmp_path, ["mlp, genes", "transformer"], range(2), minutes=1, device="cpu")
    assert [arm for arm, *_ in asked] == ["mlp, genes"] * 2 + ["transformer"] * 2
    assert len(found) == 4
    assert "| mlp, genes | CPU | 2 | 60 | 0.5 |" in backbones.markdown(found)


def test_medians_are_shown():
    rows = [
        {"arm": "transformer", "seed": i, "device": "GPU", "seconds": own, **dict.fromkeys(backbones.METRICS, own)}
        for i, own in enumerate([1.0, 3.0, 100.0])
    ]
    line = backbones.markdown(pd.DataFrame(rows)).splitlines()[-1]
    assert line.startswith("| transformer | GPU | 3 | 3 | 3 |")
    # the mean squared error is shown in thousandths
    assert "| 3e+03 |" in line
