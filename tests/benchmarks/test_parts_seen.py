from __future__ import annotations

import importlib.util

import pandas as pd
import pytest

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import parts_seen


def table(seen):
    return pd.DataFrame(
        [
            {"model": model, "metric": metric, "condition": name, "parts_seen": n, "value": shift + n + i}
            for i, (name, n) in enumerate(seen.items())
            for model, shift in (("generator", 0.0), ("additive", 10.0), ("control", 99.0))
            for metric in ("energy_distance", "l2", "mse")
        ]
    )


def test_means_are_taken_where_as_many_parts_were_seen():
    lines = parts_seen.lines(table({"A+B": 2, "A+C": 1, "A+D": 1})).splitlines()
    assert lines[2] == "| | 2 seen (1): E-distance | 2 seen (1): L2 | 1 seen (2): E-distance | 1 seen (2): L2 |"
    assert lines[4:] == ["| generator | 2 | 2 | 2.5 | 2.5 |", "| additive | 12 | 12 | 12.5 | 12.5 |"]


def test_there_is_nothing_to_say_where_all_are_alike():
    assert parts_seen.lines(table({"A+B": 2, "A+C": 2})) == ""
