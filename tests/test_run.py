from __future__ import annotations

import json
import re

import anndata as ad
import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl import _run
from scperturbrl.__main__ import INTERRUPTED, main
from scperturbrl._core.provenance import weights_hash

SMALL = ["--n-steps", "20", "--n-iterations", "2", "--n-cells", "40", "--seed", "3"]


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    path = tmp_path_factory.mktemp("screen") / "mine.h5ad"
    adata = spr.datasets.toy()
    adata.obs = adata.obs.rename(columns={"perturbation": "gene"})
    adata.obs["gene"] = adata.obs["gene"].cat.rename_categories({"control": "NT"})
    adata.write_h5ad(path)
    return path


def line(screen, out, *more):
    return ["run", str(screen), "--perturbation-key", "gene", "--control", "NT", "--out", str(out), *SMALL, *more]


@pytest.fixture(scope="module")
def finished_run(screen, tmp_path_factory):
    """A run that was cut off in the middle and started again."""
    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_run.Road, "_finetune", _interrupt)
        assert main(line(screen, out)) == INTERRUPTED
    first = json.loads((out / "run.json").read_text())["done"]
    fitted = weights(out)
    assert main(line(screen, out)) == 0
    return out, first, fitted


def weights(out):
    return weights_hash(ad.read_h5ad(out / "run.h5ad").uns["generator"]["weights"])


def _interrupt(self, adata):
    del self, adata
    raise KeyboardInterrupt


def test_a_second_start_goes_on(finished_run):
    out, first, fitted = finished_run
    assert first == ["prepare", "fit"]
    record = json.loads((out / "run.json").read_text())
    assert record["done"][:2] == first
    assert record["done"][-1] == "report"
    assert weights(out) == fitted


def test_options_reach_what_they_are_named_after(finished_run):
    adata = ad.read_h5ad(finished_run[0] / "run.h5ad")
    record = adata.uns["scperturbrl"]
    assert (record["setup"]["perturbation_key"], record["setup"]["control"]) == ("gene", "NT")
    assert record["split"]["holdout"].startswith("combinations")
    assert record["split"]["seed"] == 3
    assert {"generator", "generator_rl", "generator_longer"} <= set(adata.uns)
    assert int(adata.uns["generator_rl"]["params"]["n_iterations"]) == 2
    table = adata.uns["evaluation"]
    assert table.loc[table["kind"].astype(str) == "generator", "n_cells"].unique().tolist() == [40]


def test_the_page_is_there_and_whole(finished_run):
    page = (finished_run[0] / "report.html").read_text(encoding="utf-8")
    assert "mine.h5ad" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_nothing_is_done_twice(finished_run, screen, monkeypatch):
    monkeypatch.setattr(_run.Road, "_keep", lambda *_: pytest.fail("a stage was run again"))
    assert main(line(screen, finished_run[0])) == 0


def test_other_settings_are_refused(finished_run, screen):
    with pytest.raises(SystemExit, match=r"fraction was 0\.3.*another --out"):
        main(line(screen, finished_run[0], "--fraction", "0.5"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--perturbation-key", "genes"], r"prepare: .*'genes'.*Did you mean 'gene'"),
        (["--holdout", "batches"], "prepare: .*batches"),
        (["--layer", "counts"], "prepare: .*counts"),
    ],
)
def test_errors_are_one_line(screen, tmp_path, more, message):
    with pytest.raises(SystemExit, match=message):
        main(line(screen, tmp_path, *more))
    assert not (tmp_path / "run.json").exists()


def test_counts_are_normalised_where_that_is_asked(tmp_path):
    adata = spr.datasets.toy()
    adata.X = adata.layers["counts"].copy()
    adata.write_h5ad(tmp_path / "counts.h5ad")
    arguments = ["run", str(tmp_path / "counts.h5ad"), "--out", str(tmp_path / "out"), *SMALL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_run.Road, "_fit", _interrupt)
        with pytest.raises(SystemExit, match="--target-sum 1e4 does both"):
            main(arguments)
        assert main([*arguments, "--target-sum", "1000"]) == INTERRUPTED
    done = ad.read_h5ad(tmp_path / "out" / "run.h5ad")
    np.testing.assert_allclose(np.expm1(done.X.toarray()).sum(axis=1), 1000, rtol=1e-3)


def test_a_file_that_is_not_there(tmp_path):
    for command in (["run", "no.h5ad", "--out", str(tmp_path)], ["report", "no.h5ad"]):
        with pytest.raises(SystemExit, match=r"no file no\.h5ad"):
            main(command)


def test_files_that_are_no_data_and_no_folder(screen, tmp_path):
    text = tmp_path / "text.h5ad"
    text.write_text("no data")
    for options in (["run", str(text), "--out", str(tmp_path / "new")], ["report", str(text)]):
        with pytest.raises(SystemExit, match=r"text\.h5ad cannot be read as an h5ad file"):
            main(options)
    with pytest.raises(SystemExit, match=r"text\.h5ad is a file. Name a folder"):
        main(["run", str(screen), "--out", str(text)])
    with pytest.raises(SystemExit, match="`target_sum` is -5.0; it must be above 0"):
        main(["run", str(screen), "--target-sum=-5", "--out", str(tmp_path / "negative")])


def test_report_of_a_file(finished_run, screen, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["report", str(finished_run[0] / "run.h5ad"), "--out", str(page), "--model", "generator"]) == 0
    assert str(page) in capsys.readouterr().out
    assert "<tr class=own><td>Generator</td>" in page.read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="evaluate"):
        main(["report", str(screen), "--out", str(page)])
    with pytest.raises(SystemExit, match="'nobody'"):
        main(["report", str(finished_run[0] / "run.h5ad"), "--out", str(page), "--model", "nobody"])
