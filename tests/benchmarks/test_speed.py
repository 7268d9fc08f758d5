from __future__ import annotations

import importlib.util
import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.speed import floor, generation, gpu, growth, many, memory, report, row, run, screen

import scperturbrl as spr
from benchmarks import __main__ as command
from scperturbrl.flow.velocity.mlp import VelocityMLP


def line(ratio, stated=10.0, **options):
    return row.Row("scoring", "a kernel", 1.0, "cells/s", "a loop", ratio, stated, **options)


@pytest.mark.parametrize(("ratio", "status"), [(12.0, 0), (5.0, 0), (4.9, 1), (math.nan, 1)])
def test_a_ratio_below_half_of_what_is_stated_fails_and_is_named(ratio, status, capsys):
    assert run.check([line(20.0), line(ratio)]) == status
    assert ("a kernel" in capsys.readouterr().out) == bool(status)


@pytest.mark.parametrize(("ratios", "found"), [([20.0, 1.0], [20.0]), ([1.0, 20.0], [20.0]), ([1.0, 2.0], [2.0])])
def test_only_a_ratio_that_is_low_is_measured_again_and_only_once(ratios, found):
    left = iter(ratios)
    assert [row.ratio for row in run._again_if_low(lambda: [line(next(left))])] == found


def test_what_was_high_enough_is_kept_when_its_part_is_measured_again():
    turns = iter([[line(12.0), line(1.0)], [line(0.5), line(11.0)]])
    assert [row.ratio for row in run._again_if_low(lambda: next(turns))] == [12.0, 11.0]


def test_slower_turns_do_not_count(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(row.time, "process_time", lambda: clock[0])

    def work(*costs):
        left = iter(costs)
        return lambda: clock.__setitem__(0, clock[0] + next(left))

    # each is run once to warm up and once to learn how often a turn runs it
    assert row.compare(work(5, 5, 5, 3), work(5, 5, 4, 20), repeats=2) == (3, 4)


def test_what_depends_on_the_machine_or_is_not_stated_cannot_fail():
    assert run.check([line(0.1, within_run=False), line(0.1, math.nan)]) == 0
    assert run.check([row.limit("memory", "all", 900.0, "MB", most=100.0)]) == 0


def test_the_command_exits_with_that_status(monkeypatch, capsys):
    monkeypatch.setattr(run, "smoke", lambda: [line(1.0)])
    with pytest.raises(SystemExit) as end:
        command.main(["speed", "--smoke"])
    assert end.value.code == 1
    assert "a kernel" in capsys.readouterr().out


def test_verdicts_of_rows():
    assert [line(ratio).ok for ratio in (10.0, 9.9)] == ["yes", "no"]
    assert line(1.0, math.nan).ok == ""
    assert row.limit("memory", "all", 50.0, "MB", most=100.0).ok == "yes"
    assert row.at_least("scoring", "all", 50.0, "cells/s", least=100.0).ok == "no"


def test_exponents_are_the_slopes_of_the_upper_half():
    size = np.array([1.0, 10, 100, 1000])
    value = np.array([5.0, 5, 0.1 * 100**2, 0.1 * 1000**2])
    table = pd.DataFrame({"axis": "cells", "size": size, "quantity": "all, s", "value": value})
    assert growth.exponents(table)["exponent"].item() == pytest.approx(2)
    assert growth.rows(table)[0].ok == "no"


def test_operations_of_the_network_are_those_of_its_weights():
    velocity = VelocityMLP(50, 256, 2)
    weights = sum(module.weight.numel() for module in velocity.modules() if isinstance(module, torch.nn.Linear))
    assert floor.mlp_step()["weights"] == weights
    assert floor.mlp_step()["operations"] == 6 * 256 * weights


def test_generation_is_set_beside_its_layer_and_beside_one_worker(monkeypatch):
    taken = {"cells": 90, "cpu": 2.0, "one": 3.0, "two": 1.5, "extra": 80.0, "layer": 50.0}
    monkeypatch.setattr(generation, "in_subprocess", lambda *_, **__: taken)
    speed, memory_, workers = generation.measure(200, 40, 6, n_steps=2)
    assert (speed.value, memory_.ratio, memory_.ok) == (45.0, pytest.approx(75 / 80), "no")
    assert (workers.ratio, workers.ok) == (2.0, "yes")


def test_generation_prints_what_it_took(ready_toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(generation, "screen", lambda *_: screen.screen(200, 40, 6))
    adata = ready_toy.copy()
    spr.tl.fit_generator(adata, n_steps=2, width=32, n_latent=4, device="cpu", progress=False)
    adata.write_h5ad(tmp_path / "fitted.h5ad")
    generation.main({"path": str(tmp_path / "fitted.h5ad")}, repeats=1)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["cells"] == (adata.obs["perturbation"] != "control").sum()
    assert min(found[name] for name in ("cpu", "one", "two", "layer")) > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the counter is that of Linux")
def test_peak_sees_what_was_freed_again():
    with memory.peak() as found:
        np.ones(2**23)
    assert 60 < found.extra < 90


def test_screens_have_the_size_that_was_asked_for():
    adata = screen.screen(200, 40, 10)
    assert adata.shape == (200, 40)
    assert adata.obs["perturbation"].nunique() == 11
    assert adata.obs["perturbation"].str.contains(r"\+").any()


def test_scoring_against_observed_cells_is_set_beside_training_references(monkeypatch):
    monkeypatch.setattr(many, "compare", lambda ours, theirs: (ours(), theirs(), (3.0, 2.0))[-1])
    found = many.observed_row(300, 60, 8)
    assert (found.value, found.ratio, found.ok) == (3.0, pytest.approx(2 / 3), "yes")


def test_the_table_is_markdown():
    text = report.markdown(report.table([line(12.0)]))
    assert text.splitlines()[2] == "| scoring | a kernel | 1 | cells/s | a loop | 12 | 10 | yes |"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_what_a_gpu_did_is_kept_where_there_is_none(tmp_path, capsys):
    kept = pd.DataFrame([row.Row("gpu", "copies", 4.0, "TB/s").plain()])
    kept.to_csv(tmp_path / "gpu.csv", index=False)
    assert "| gpu | copies | 4 | TB/s |" in run.run(tmp_path, ["gpu"])
    assert "no CUDA device" in capsys.readouterr().out


def test_a_step_of_the_transformer_is_counted(monkeypatch):
    monkeypatch.setattr(gpu, "GENES", 12)
    monkeypatch.setattr(gpu, "BATCH", 2)
    step, few, name = gpu._transformer_step("cpu", "float32", 16, 1, compiled=False)
    step()
    assert "12 genes, batch 2, float32" in name
    monkeypatch.setattr(gpu, "BATCH", 4)
    # but for the embedding of the genes, which all cells share, twice the cells cost twice as much
    assert 1.5 < gpu._transformer_step("cpu", "float32", 16, 1, compiled=False)[1] / few < 2
