from __future__ import annotations

import pytest

import scperturbrl as spr


@pytest.fixture(scope="module")
def screened():
    adata = spr.datasets.simulated_perturbseq(n_genes=60, n_singles=8, n_doubles=20, n_cells_per_condition=30)
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    spr.tl.screen(adata, "pairs", objective="size")
    return adata


def test_the_best_first_and_only_new_ones_if_wanted(screened):
    table = spr.get.screen(screened)
    assert table["rank"].is_monotonic_increasing
    new = spr.get.screen(screened, measured=False)
    assert len(new) == len(table) - (table["kind"] == "measured").sum()
    assert spr.get.screen(screened, n=5).equals(table.head(5))


def test_the_table_is_a_copy(screened):
    table = spr.get.screen(screened)
    table["value"] = 0
    assert (spr.get.screen(screened)["value"] != 0).all()


def test_errors_say_what_to_do(screened):
    with pytest.raises(ValueError, match="`n` is 0"):
        spr.get.screen(screened, n=0)
    bare = spr.datasets.toy()
    with pytest.raises(KeyError, match=r"Call `scperturbrl.tl.screen\(adata\)` first"):
        spr.get.screen(bare)
