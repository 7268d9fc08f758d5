from __future__ import annotations

import importlib.util
import shutil

import pandas as pd
import pytest

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.__main__ import main

from benchmarks import arms, grid, kept, report, suites

MODELS = ["baselines", "generator", "generator_longer", "generator_rl"]
SMALL = {"n_steps": 20, "width": 16, "n_latent": 6}


def tiny(seed, data):
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, fraction=0.4, seed=seed)
    spr.pp.reference(adata)
    return suites.Prepared(adata, {}, None, 20)


@pytest.fixture(scope="module")
def grid_of_toys():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(suites.DATASETS, "toy", suites.Dataset("toy", tiny, "a toy"))
        fit, finetune, evaluate = spr.tl.fit_generator, spr.tl.rl_finetune, spr.tl.evaluate
        patch.setattr(
            spr.tl, "fit_generator", lambda adata, **o: fit(adata, **(SMALL | o | {"n_steps": 20})), raising=False
        )
        small = {"n_iterations": 2, "n_conditions": 2, "group_size": 4}
        patch.setattr(spr.tl, "rl_finetune", lambda adata, **o: finetune(adata, **(o | small)), raising=False)
        patch.setattr(arms, "steps_for", lambda budget, train: 20)
        patch.setattr(spr.tl, "evaluate", lambda adata, **o: evaluate(adata, **(o | {"max_cells": 20})), raising=False)
        yield patch


@pytest.fixture(scope="module")
def measured(grid_of_toys, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    grid.run(["toy"], MODELS[::-1], [0], data=out, out=out)
    return out


def rows_of(out, model):
    table = kept.read(kept.table_file(out, "toy"))
    return table[table["arm"] == model].reset_index(drop=True)


def without(out, model):
    """Take the rows of a model out of the table."""
    file = kept.table_file(out, "toy")
    table = kept.read(file)
    kept.keep(table[table["arm"] != model], file)


def test_a_data_set_has_one_table_with_the_rows_of_every_model(measured):
    assert [file.name for file in measured.glob("*.csv*")] == ["toy.csv.gz"]
    assert not list(measured.glob("toy/*/*.csv"))
    assert kept.read(kept.table_file(measured, "toy"))["arm"].unique().tolist() == sorted(MODELS)


def test_the_best_of_eight_cells_score_higher_than_all(measured, grid_of_toys, monkeypatch):
    chosen = []
    select = spr.tl.select
    monkeypatch.setattr(spr.tl, "select", lambda adata, **o: chosen.append(select(adata, **o)), raising=False)
    grid.run(["toy"], ["best_of_8"], [0], data=measured, out=measured)
    assert set(rows_of(measured, "best_of_8")["n_cells"]) == {20}
    without(measured, "best_of_8")
    assert (chosen[0]["selected_by"] == "reward").all()
    assert (chosen[0]["reward_selected"] > chosen[0]["reward_all"]).all()


def test_a_second_run_measures_nothing_and_a_lost_cell_is_measured_again(measured, capsys, monkeypatch):
    grid.run(["toy"], ["baselines", "generator"], [0], data=measured, out=measured)
    assert capsys.readouterr().out == "toy, seed 0: kept\n"
    file = kept.table_file(measured, "toy")
    before, rows = file.read_bytes(), rows_of(measured, "generator")
    without(measured, "generator")
    assert rows_of(measured, "generator").empty
    monkeypatch.setattr(arms, "stopwatch", None)  # nothing may be fitted again
    grid.run(["toy"], ["generator"], [0], data=measured, out=measured)
    pd.testing.assert_frame_equal(rows_of(measured, "generator"), rows)
    assert file.read_bytes() == before


def test_again_fits_and_measures_anew_only_what_was_asked_for(measured, tmp_path, monkeypatch):
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    fitted, fit = [], spr.tl.fit_generator
    monkeypatch.setattr(spr.tl, "fit_generator", lambda adata, **o: fitted.append(o) or fit(adata, **o), raising=False)
    file = kept.table_file(tmp_path, "toy")
    before = kept.read(file)
    # a time that no run can take, because two runs may well take the same to the digits that are kept
    before.loc[before["arm"] == "generator", "cpu_seconds"] = 1e6
    kept.keep(before, file)
    grid.run(["toy"], ["generator"], [0], data=tmp_path, out=tmp_path, again=True)
    after = kept.read(kept.table_file(tmp_path, "toy"))
    assert [options["key_added"] for options in fitted] == ["generator"]
    assert len(after) == len(before)
    same = ["model", "condition", "metric", "value"]
    pd.testing.assert_frame_equal(after[same], before[same])
    own = after["arm"] == "generator"
    assert (after.loc[own, "cpu_seconds"] < 1e6).all()
    pd.testing.assert_series_equal(after.loc[~own, "cpu_seconds"], before.loc[~own, "cpu_seconds"])


def test_the_table_says_who_where_and_how_long(measured):
    table = grid.collect(measured, ["toy"])
    assert set(table["suite"]) == {"toy"}
    assert set(table["seed"]) == {0}
    assert {"generator", "generator_rl", "generator_longer", "additive_ridge", "split_half"} <= set(table["model"])
    own = table[table["kind"] == "generator"]
    assert (own["cpu_seconds"] > 0).all()
    assert own["engine_of_model"].str.startswith("scperturbrl ").all()
    assert table["split"].nunique() == 1
    assert not table.duplicated(["suite", "seed", "model", "condition", "metric"]).any()


def test_a_metric_has_one_role_the_most_severe(measured):
    table = grid.collect(measured, ["toy"])
    roles = table.groupby("metric")["role"].unique().map(list)
    assert roles["score_pearson_topk"] == ["rewarded"]
    assert roles["pearson_delta_systema"] == ["held-out"]


def test_the_report_has_tables_pictures_and_verdicts(measured, tmp_path):
    table = grid.collect(measured, ["toy"])
    other = table.assign(seed=1, condition="another", value=table["value"] * 1.01)
    table = pd.concat([table, other])
    text = report.write(table, tmp_path, provenance="x")
    assert "**Toy**, a toy; 2 seeds" in text
    assert "| generator_rl |" in text
    assert "Post-trained minus trained on for as long, per seed: Pearson top-k" in text
    assert "`generator_rl` against `additive_ridge`" in text
    assert (tmp_path / "toy.png").stat().st_size > 10_000
    assert len(pd.read_csv(tmp_path / "results.csv")) > 100
    assert "![toy](toy.png)" in (tmp_path / "report.md").read_text()
    short = report.write(grid.collect(measured, ["toy"]), tmp_path, short=True)
    assert len(short) < len(text) / 2
    assert "Weighted R2" not in short


def test_the_command_line_redraws(measured, capsys, grid_of_toys):
    main(["report", "--suites", "toy", "--out", str(measured), "--short"])
    assert "| real cells (one half) |" in capsys.readouterr().out
    assert (measured / "report.md").exists()


def test_nothing_measured_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="Nothing has been measured"):
        grid.collect(tmp_path, ["toy"])


def test_data_that_are_not_here_are_told_not_fatal(grid_of_toys, tmp_path, capsys):
    def absent(seed, data):
        raise FileNotFoundError("kang.h5ad")

    grid_of_toys.setitem(suites.DATASETS, "absent", suites.Dataset("absent", absent, ""))
    grid.run(["absent"], ["baselines"], [0], data=tmp_path, out=tmp_path)
    assert "not available here (kang.h5ad)" in capsys.readouterr().out
