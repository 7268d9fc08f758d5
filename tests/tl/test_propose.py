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


@pytest.mark.parametrize("strategy", ["exploit", "explore", "balanced"])
def test_nothing_measured_is_proposed_and_nothing_twice(screened, strategy):
    found = spr.tl.propose(screened, n=5, strategy=strategy)
    assert found.index.is_unique
    assert len(found) == 5
    assert (found["kind"] != "measured").all()
    assert (found["strategy"] == strategy).all()


def test_exploit_follows_the_value(screened):
    best = spr.get.screen(screened, measured=False)["value"].nlargest(4)
    assert spr.tl.propose(screened, n=4, strategy="exploit").index.tolist() == best.index.tolist()


def test_explore_begins_with_the_perturbations_in_fewest_measured_pairs(screened):
    table = spr.get.screen(screened)
    pairs = [label.split("+") for label in table.index[table["kind"] == "measured"]]
    count = {part: sum(part in pair for pair in pairs) for label in table.index for part in label.split("+")}
    new = table.index[table["kind"] != "measured"]
    first = spr.tl.propose(screened, n=1, strategy="explore").index[0]
    assert sum(count[part] for part in first.split("+")) == min(sum(count[p] for p in x.split("+")) for x in new)


def test_all_that_is_left(screened):
    left = len(spr.get.screen(screened, measured=False))
    assert len(spr.tl.propose(screened, n=1000)) == left


def test_unsupported_ones_are_named(screened, monkeypatch):
    told = []
    monkeypatch.setattr("scperturbrl.tl._propose.log.tell", told.append)
    spr.tl.propose(screened, n=3)
    assert not told
    doubtful = screened.copy()
    doubtful.uns["screen"]["table"] = doubtful.uns["screen"]["table"].assign(support="unsupported")
    spr.tl.propose(doubtful, n=3)
    assert told[0].startswith("3 of 3 proposed perturbations are unsupported")


def test_errors_say_what_to_do(screened):
    with pytest.raises(ValueError, match="'exploit', 'explore', 'balanced'"):
        spr.tl.propose(screened, strategy="greedy")
    moved = screened.copy()
    spr.pp.split(moved, seed=7)
    with pytest.raises(ValueError, match=r"Call `scperturbrl.tl.screen"):
        spr.tl.propose(moved)
    del moved.uns["screen"]
    with pytest.raises(KeyError, match="has no 'screen'"):
        spr.tl.propose(moved)
    measured = spr.get.screen(screened).query("kind == 'measured'").index
    moved = screened.copy()
    spr.tl.screen(moved, list(measured), objective="size")
    with pytest.raises(ValueError, match="nothing to propose"):
        spr.tl.propose(moved)
