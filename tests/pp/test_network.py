from __future__ import annotations

import decoupler as dc
import pandas as pd
import pytest

import scperturbrl as spr


def sets(**members):
    rows = [(source, target, 1.0) for source, targets in members.items() for target in targets]
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


@pytest.fixture
def genes(toy):
    return toy.var_names.tolist()


def test_small_sets_are_left_out_by_name(toy, genes):
    network = sets(BIG=genes[:8], SMALL=genes[:4], AWAY=["x", "y", "z", "u", "v"])
    with pytest.warns(UserWarning, match=r"Left out 2 of 3 sets.*: AWAY \(0\), SMALL \(4\)\."):
        table = spr.pp.pathway_network(toy, network)
    assert table.loc[["BIG", "SMALL", "AWAY"], "kept"].tolist() == [True, False, False]
    assert table.loc["AWAY", ["n_targets", "n_in_data"]].tolist() == [5, 0]
    assert table.index[0] == "BIG"
    assert set(toy.uns["pathway_network"]["source"]) == {"BIG"}
    assert set(toy.uns["pathway_network"]["target"]) == set(genes[:8])


def test_many_sets_left_out_are_not_all_listed(toy, genes):
    network = sets(BIG=genes[:8], **{f"S{i:02d}": genes[:2] for i in range(30)})
    with pytest.warns(UserWarning, match=r"S02 \(2\) and 27 more\.") as caught:
        spr.pp.pathway_network(toy, network)
    assert "S20" not in str(caught[0].message)


def test_fewer_targets_may_be_asked_for(toy, genes):
    assert spr.pp.pathway_network(toy, sets(A=genes[:2], B=genes[:9]), min_targets=2)["kept"].all()


def test_no_set_left_is_an_error_that_names_the_largest(toy, genes):
    before = toy.uns["pathway_network"]
    with pytest.raises(ValueError, match=r"among the 60 genes \(most: 'A' with 3\).*gene symbols"):
        spr.pp.pathway_network(toy, sets(A=genes[:3], B=["x"] * 9))
    pd.testing.assert_frame_equal(toy.uns["pathway_network"], before)


def test_a_network_from_elsewhere_is_checked(toy):
    with pytest.raises(KeyError, match="no column"):
        spr.pp.pathway_network(toy, pd.DataFrame({"gene": []}))


@pytest.mark.parametrize("name", ["progeny", "hallmark", "collectri"])
def test_resources_come_from_decoupler(toy, genes, monkeypatch, name):
    asked = {}

    def load(**options):
        asked.update(options)
        return sets(**{name: genes[:6]})

    monkeypatch.setattr(dc.op, name, load)
    table = spr.pp.pathway_network(toy, name, organism="mouse")
    assert table.index.tolist() == [name]
    assert asked["organism"] == "mouse"
    assert asked.get("top") == (100 if name == "progeny" else None)


def test_the_reference_loads_a_resource_by_name(toy, genes, monkeypatch):
    monkeypatch.setattr(dc.op, "progeny", lambda **options: sets(P=genes[:9], Q=genes[5:20]))
    spr.pp.reference(toy, network="progeny")
    assert list(toy.uns["pathway_response"].columns) == ["P", "Q"]


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("bad table"), RuntimeError("gone")])
def test_no_connection_says_what_to_do(toy, monkeypatch, error):

    def fail(**options):
        raise error

    monkeypatch.setattr(dc.op, "progeny", fail)
    with pytest.raises(ConnectionError, match=f"could not load 'progeny' .{error}.*Without internet, pass a table"):
        spr.pp.pathway_network(toy)


def test_an_unknown_resource_is_refused(toy):
    with pytest.raises(ValueError, match="must be one of 'progeny', 'hallmark', 'collectri'"):
        spr.pp.pathway_network(toy, "kegg")


def test_all_progeny_pathways_are_kept_on_kang(kang, read_shared):
    table = spr.pp.pathway_network(kang, read_shared("networks/progeny_human_top100.csv.gz"))
    assert len(table) == 14
    assert table["kept"].all()


def test_progeny_is_too_small_for_a_panel_of_genes(norman, read_shared):
    with pytest.warns(UserWarning, match="Left out 11 of 14 sets"):
        table = spr.pp.pathway_network(norman, read_shared("networks/progeny_human_top100.csv.gz"))
    assert table["kept"].sum() == 3
