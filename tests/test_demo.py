from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys

import anndata as ad
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from rich.console import Console

import scperturbrl as spr
from scperturbrl import _demo_report as report
from scperturbrl.__main__ import INTERRUPTED, main

GENERATORS = ("generator", "generator_longer", "generator_rl")
PICTURES = ("verifier_scores", "embedding", "history_generator", "history_generator_rl", "evaluation")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "results"
    logged, before = io.StringIO(), sc.settings.logfile
    sc.settings.logfile = logged
    try:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            assert main(["demo", "--fast", "--out", str(out), "--seed", "3"]) == 0
    finally:
        sc.settings.logfile = before
    return out, text.getvalue(), logged.getvalue()


@pytest.fixture(scope="module")
def written(demo):
    return ad.read_h5ad(demo[0] / "demo.h5ad")


def test_written_object_holds_every_result(written):
    assert set(GENERATORS) <= set(written.uns)
    assert {"generator", "generator_rl"} <= set(written.layers)
    assert {"observed_reward", "generator_reward", "generator_rl_reward"} <= set(written.obs)
    assert set(report.COLUMNS) <= set(written.uns["evaluation"]["metric"])


def test_seed_reaches_every_step(written):
    assert written.uns["truth"]["parameters"]["seed"] == 3
    assert written.uns["scperturbrl"]["split"]["seed"] == 3
    assert {int(written.uns[key]["params"]["seed"]) for key in GENERATORS} == {3}


def test_comparison_trained_for_as_long_as_post_training_took(written):
    longer, asked = written.uns["generator_longer"], written.uns["generator_rl"]["fitted"]["seconds"]
    assert longer["params"]["parent"] == "generator"
    assert longer["params"]["max_seconds"] == pytest.approx(asked)
    assert longer["fitted"]["stopped"] == "out of time"
    assert longer["fitted"]["seconds"] >= asked


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_drawn(demo, name):
    picture = matplotlib.image.imread(demo[0] / f"{name}.png")
    assert min(picture.shape[:2]) > 200
    assert picture[..., :3].std() > 0.02


def test_table_shows_means_over_held_out_conditions(demo, written):
    [line] = [line.split() for line in demo[1].splitlines() if line.startswith("+ post-training")]
    evaluation = written.uns["evaluation"]
    own = evaluation[evaluation["model"].astype(str) == "generator_rl"]
    expected = own.groupby(own["metric"].astype(str))["value"].mean()
    shown = [float(word.rstrip("*")) for word in line[-len(report.COLUMNS) :]]
    factors = [column.factor for column in report.COLUMNS.values()]
    np.testing.assert_allclose(shown, expected[list(report.COLUMNS)] * factors, atol=0.06, rtol=1e-2)


def test_output_without_terminal_has_one_line_per_stage(demo):
    stages = [line for line in demo[1].splitlines() if line.endswith(" s") and "Done" not in line]
    assert len(stages) == 9
    assert "\x1b" not in demo[1]


def test_scores_that_are_missing_are_told_once(demo):
    assert demo[2].count("no scores") == 1


def _results(values):
    """AnnData whose evaluation has, in two conditions, the values of each model, the same for all its metrics."""
    kinds = dict.fromkeys(GENERATORS, "generator") | {"additive": "baseline", "split_half": "ceiling"}
    adata = spr.datasets.toy()
    adata.uns["evaluation"] = pd.DataFrame(
        [
            {"model": model, "kind": kinds[model], "condition": condition, "metric": metric, "value": value}
            for model, value in values.items()
            for condition in ("A", "B")
            for metric in report.COLUMNS
        ]
    )
    for key, reward in {"generator": 0.4, "generator_rl": 0.6, "observed": 0.8}.items():
        adata.obs[f"{key}_reward"] = reward
    adata.uns["generator_rl"] = {
        "params": {"n_iterations": 40},
        "fitted": {"stopped": "all iterations done", "kept_iteration": 40},
    }
    return adata


def _told(adata):
    console = Console(file=io.StringIO(), width=400)
    report.tell(adata, console, GENERATORS)
    return console.file.getvalue()


MIXED = {"generator": 0.2, "generator_longer": 0.3, "generator_rl": 0.6, "additive": 0.5, "split_half": 0.9}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_is_whole_at_any_width(width):
    console = Console(file=io.StringIO(), width=width)
    report.tell(_results(MIXED), console, GENERATORS)
    lines = console.file.getvalue().splitlines()
    headers = [column.header.split("\n") for column in report.COLUMNS.values()]
    for number in (0, 1):
        words = [header[number] for header in headers]
        assert any(all(word in line.split() for word in words) for line in lines)
    [row] = [line.split() for line in lines if line.startswith("half of real")]
    assert len(row) == len(report.COLUMNS) + 3


@pytest.mark.parametrize(
    ("terminal", "told", "shown"), [(True, "in bold", "\x1b[1m0.600"), (False, "marked *", "0.600*")]
)
def test_the_best_is_marked_as_the_title_says(terminal, told, shown):
    system = "standard" if terminal else None
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system=system)
    report.tell(_results(MIXED), console, GENERATORS)
    text = console.file.getvalue()
    assert f"best generator {told}" in text
    assert shown in text
    assert "\x1b[1m0.300" not in text
    assert "0.300*" not in text


def test_report_says_when_post_training_helped():
    text = _told(
        _results({"generator": 0.2, "generator_longer": 0.3, "generator_rl": 0.6, "additive": 0.5, "split_half": 0.9})
    )
    assert "4 of 4 verifier scores are higher" in text
    assert "raised the reward from 0.40 to 0.60; real cells have 0.80" in text
    assert "MSE worse (300.0 to 600.0)" in text
    assert "Pearson of the specific effect better (0.300 to 0.600)" in text
    assert "wins in 6 of 8 metrics. Additive is as good or better in MSE, energy distance." in text
    assert "guard" not in text


def test_report_says_when_post_training_harmed():
    text = _told(
        _results({"generator": 0.6, "generator_longer": 0.5, "generator_rl": 0.2, "additive": 0.9, "split_half": 0.1})
    )
    assert "0 of 4 verifier scores are higher" in text
    assert "Pearson top-k -0.300 (up in 0 of 2)" in text
    assert "discrimination worse (0.500 to 0.200)" in text
    assert "variance ratio worse (0.500 to 0.200)" in text
    assert "A verifier score above that of real cells is not an advantage" in text


def test_report_calls_equal_values_the_same():
    text = _told(
        _results({"generator": 0.5, "generator_longer": 0.5, "generator_rl": 0.5, "additive": 0.5, "split_half": 0.9})
    )
    assert "0 of 4 verifier scores are higher" in text
    assert "MSE the same (500.0)" in text
    assert "wins in 0 of 8 metrics" in text


@pytest.mark.parametrize(("kept", "expected"), [(0, "The guard undid post-training"), (20, "returned to iteration 20")])
def test_report_tells_of_the_guard(kept, expected):
    adata = _results(dict.fromkeys([*GENERATORS, "additive", "split_half"], 0.5))
    adata.uns["generator_rl"]["fitted"] |= {"stopped": "guard: iteration 30: energy rose", "kept_iteration": kept}
    text = _told(adata)
    assert expected in text
    assert "iteration 30: energy rose" in text


def test_report_says_when_the_reward_is_exhausted():
    adata = _results(dict.fromkeys([*GENERATORS, "additive", "split_half"], 0.5))
    adata.obs["observed_reward"] = 0.5
    assert "a higher reward does not mean better cells" in _told(adata)


def test_help_without_a_command(capsys):
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == f"scperturbrl {spr.__version__}"


def test_interrupt_between_trainings(monkeypatch, capsys, tmp_path):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(spr.datasets._simulated, "_simulate", interrupted)
    assert main(["demo", "--fast", "--out", str(tmp_path / "out")]) == INTERRUPTED
    assert "Interrupted" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def interrupted(process):
    # once more if need be: an interrupt during an import may be lost in somebody's clean-up
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=30)[1]
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.communicate()[1]


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process on Windows")
def test_interrupt_during_training_ends_the_demo(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "scperturbrl", "demo", "--out", str(tmp_path / "out")]
    # a shell that runs the tests in the background lets its children ignore interrupts
    heeds = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeds)
    assert process.stdout is not None
    # two stages are over, so that the fit of the generator is under way
    for _ in range(2):
        assert process.stdout.readline()
    errors = interrupted(process)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()
