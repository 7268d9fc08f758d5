from __future__ import annotations

import subprocess
import sys

import scperturbrl as spr

HEAVY = ("torch", "scanpy", "pertpy", "scvi", "decoupler")


def test_every_export_is_a_function_of_its_name():
    plots = set(dir(spr.pl)) - {"report"}  # a page of many tables
    tables = {
        "GeneratorSummary",
        "generator",
        "differences",
        "dose_values",
        "gap_closed",
        "harm",
        "held_out",
        "metric_calibration",
        "split_manifest",
    }
    assert set(dir(spr.get)) == plots | tables
    assert {"reward_shift", "effects", "effects_heatmap", "pathway_activity", "calibration"} < plots
    for package in (spr.get, spr.pl):
        assert all(getattr(package, name).__name__ == name for name in package.__all__)


def test_importing_the_plots_loads_nothing_heavy():
    code = (
        "import sys, scperturbrl as spr\n"
        "[getattr(room, name) for room in (spr.get, spr.pl) for name in dir(room)]\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
