from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.conditions import condition_table, find_conditions, parse_perturbation
from scperturbrl.data.cells.setup import Setup


def make(labels, setup=None, **columns):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"perturbation": labels, **columns}, index=[f"cell{i}" for i in range(len(labels))])
    adata = AnnData(rng.gamma(2, size=(len(labels), 4)).astype(np.float32), obs=obs)
    spr.pp.setup_anndata(adata, **(setup or {}))
    return adata


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("A", ("A",)),
        ("B+A", ("A", "B")),
        ("A+ctrl", ("A",)),
        ("ctrl+A", ("A",)),
        ("A+control", ("A",)),
        ("A+NT", ("A",)),
        ("NT", ()),
        ("NT+NT", ()),
        ("NT+ctrl", ()),
        (" A + B ", ("A", "B")),
        ("A+A", ("A",)),
        ("control", ("control",)),
        ("C+A+B", ("A", "B", "C")),
    ],
)
def test_labels_are_parsed(label, expected):
    assert parse_perturbation(label, control="NT", sep="+") == expected


def test_a_control_label_may_contain_the_separator():
    assert parse_perturbation("non-targeting", control="non-targeting", sep="-") == ()
    assert parse_perturbation("A-B", control="non-targeting", sep="-") == ("A", "B")


@given(st.sets(st.sampled_from("ABCDEFG"), min_size=1, max_size=4), st.randoms())
def test_order_and_controls_do_not_matter(parts, random):
    order = [*parts, "NT"]
    random.shuffle(order)
    assert parse_perturbation("+".join(order), control="NT", sep="+") == tuple(sorted(parts))


def test_the_table_counts_cells_and_codes_point_into_it():
    adata = make(["B+A", "A", "control", "A+B", "ctrl+A", "control"])
    table, codes = condition_table(adata, Setup.of(adata))
    assert table["n_cells"].to_dict() == {"A": 2, "A+B": 2, "control": 2}
    assert table.index[codes].tolist() == ["A+B", "A", "control", "A+B", "A", "control"]
    assert table["is_control"].tolist() == [False, False, True]
    assert table.loc["A+B", "parts"] == ("A", "B")
    assert (table["group"] == "all").all()


def test_dose_and_covariates_name_the_condition_and_controls_have_no_dose():
    labels, dose, cell_type = ["A", "A", "A", "control", "control"], [1, 10, 1, 0, np.nan], list("TTBTB")
    adata = make(labels, {"covariate_keys": ["cell_type"], "dose_key": "dose"}, dose=dose, cell_type=cell_type)
    table, codes = condition_table(adata, Setup.of(adata))
    assert table.index[codes].tolist() == [
        "A | dose=1 | cell_type=T",
        "A | dose=10 | cell_type=T",
        "A | dose=1 | cell_type=B",
        "control | cell_type=T",
        "control | cell_type=B",
    ]
    assert table["group"].to_list() == [name.split("=")[-1] for name in table.index]
    assert table.loc["A | dose=10 | cell_type=T", "dose"] == 10


def test_slashes_leave_the_names_of_conditions():
    adata = make(["NKX2-1/2", "control"], {"covariate_keys": ["cell_type"]}, cell_type=["CD4/8", "CD4/8"])
    table, _ = condition_table(adata, Setup.of(adata))
    assert not any("/" in name for name in table.index)
    assert table["parts"].iloc[0] == ("NKX2-1/2",)


def random_labels(seed=0, n=400):
    rng = np.random.default_rng(seed)
    names = ["control", "A", "B", "C", "A+B", "B+A", "C+ctrl", "A+C"]
    return rng.choice(names, n), rng.choice(["T", "B"], n), rng.choice([0.1, 1.0, 10.0], n)


def test_the_table_agrees_with_a_plain_loop():
    labels, cell_type, dose = random_labels()
    adata = make(labels, {"covariate_keys": ["cell_type"], "dose_key": "dose"}, cell_type=cell_type, dose=dose)
    table, codes = condition_table(adata, Setup.of(adata))
    expected = []
    for label, context, amount in zip(labels, cell_type, dose, strict=True):
        parts = sorted(set(label.split("+")) - {"control", "ctrl"})
        extra = [f"dose={amount:g}"] if parts else []
        expected.append(" | ".join(["+".join(parts) or "control", *extra, f"cell_type={context}"]))
    assert table.index[codes].tolist() == expected
    assert table["n_cells"].to_dict() == pd.Series(expected).value_counts().to_dict()


def test_the_order_of_cells_does_not_change_the_table():
    labels, cell_type, _ = random_labels()
    order = np.random.default_rng(1).permutation(len(labels))
    first, second = (
        condition_table(made, Setup.of(made))[0]
        for made in (
            make(labels[i], {"covariate_keys": ["cell_type"]}, cell_type=cell_type[i])
            for i in (np.arange(len(labels)), order)
        )
    )
    pd.testing.assert_frame_equal(first, second)


def split_by(adata, labels):
    adata.obs["given"] = labels
    spr.pp.split(adata, holdout="column", column="given")
    return Cells.of(adata)


def test_cells_find_conditions_and_their_controls():
    labels, cell_type, _ = random_labels()
    adata = make(labels, {"covariate_keys": ["cell_type"], "batch_key": "batch"}, cell_type=cell_type, batch="b1")
    cells = split_by(adata, "train")
    for row, name in enumerate(cells.table.index):
        assert cells.table.index[cells.control_row(row)] == f"control | {name.split(' | ')[1]}"
    assert set(cells.batch) == {"b1"}
    names = cells.conditions("train", min_cells=60)
    count = cells.table["n_cells"]
    assert names == [n for n in cells.table.index if count[n] >= 60 and not n.startswith("control")]
    assert cells.conditions("test") == []
    assert [cells.table.index[row] for row in cells.rows(names)] == names
    assert cells.is_training().all()


def test_a_condition_without_controls_of_its_covariates_is_named():
    whole = make(["A", "A", "control", "control"], {"covariate_keys": ["ct"]}, ct=["T", "B", "B", "T"])
    cells = split_by(whole[:3].copy(), "train")
    row = cells.table.index.get_loc("A | ct=T")
    with pytest.raises(ValueError, match=r"'A \| ct=T' has no control cells with the same covariates \(T\)"):
        cells.control_row(row)


def test_blocks_are_dense_rows_of_any_matrix(toy):
    cells, index = Cells.of(toy), np.array([5, 0, 7])
    np.testing.assert_array_equal(cells.block(index), toy.X.toarray()[index])
    np.testing.assert_array_equal(cells.block(index, toy.layers["counts"]), toy.layers["counts"].toarray()[index])
    np.testing.assert_array_equal(cells.block(index, toy.X.toarray()), toy.X.toarray()[index])
    assert cells.block(index, toy.layers["counts"]).dtype == np.float32


@pytest.mark.parametrize(("change", "message"), [("drop", "has no column 'split'"), ("rename", r"holds \['holdout'\]")])
def test_a_missing_or_strange_split_is_refused(toy, change, message):
    if change == "drop":
        del toy.obs["split"]
    else:
        toy.obs["split"] = toy.obs["split"].cat.rename_categories({"test": "holdout"})
    with pytest.raises(ValueError, match=message):
        Cells.of(toy)


def test_combinations_of_everything_are_kept_apart():
    parts = ["A", "B", "A+B", "control"]
    rows = list(itertools.product(parts, ["x", "y"], ["u", "v"]))
    frame = pd.DataFrame(rows, columns=["perturbation", "first", "second"])
    adata = make(
        frame["perturbation"].to_list(),
        {"covariate_keys": ["first", "second"]},
        first=frame["first"].to_list(),
        second=frame["second"].to_list(),
    )
    table, codes = condition_table(adata, Setup.of(adata))
    assert len(table) == len(set(codes)) == len(rows)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("A+B | dose=2 | line=x", ["A+B | dose=2 | line=x"]),
        ("B+A | dose=2 | line=x", ["A+B | dose=2 | line=x"]),
        (["B+A"], ["A+B | dose=2 | line=x", "A+B | dose=2 | line=y"]),
        (["A+ctrl", "A"], ["A | dose=1 | line=x"]),
        (["A | dose=1 | line=x", "B+A", "A+B | dose=2 | line=y"], None),
    ],
)
def test_conditions_are_found_by_any_of_their_names(wanted, expected):
    setup, table = measured()
    every = ["A | dose=1 | line=x", "A+B | dose=2 | line=x", "A+B | dose=2 | line=y"]
    assert find_conditions(wanted, table, setup) == (expected or every)


def test_other_names_are_refused():
    setup, table = measured()
    with pytest.raises(KeyError, match=r"no condition 'A\+C'.*'A\+B"):
        find_conditions(["A+C"], table, setup)
    with pytest.raises(KeyError, match="no condition 'A | dose=9 | line=x'"):
        find_conditions(["A | dose=9 | line=x"], table, setup)
    with pytest.raises(ValueError, match="'ctrl' in `conditions` names control cells"):
        find_conditions("ctrl", table, setup)


def measured():
    obs = pd.DataFrame(
        [("A", 1.0, "x"), ("A+B", 2.0, "x"), ("B+A", 2.0, "y"), ("ctrl", 0.0, "x"), ("ctrl", 0.0, "y")],
        columns=["gene", "dose", "line"],
        index=list("abcde"),
    )
    adata = AnnData(np.log1p(np.arange(1.0, 11).reshape(5, 2)).astype(np.float32), obs=obs)
    spr.pp.setup_anndata(adata, perturbation_key="gene", control="ctrl", covariate_keys=["line"], dose_key="dose")
    setup = Setup.of(adata)
    return setup, condition_table(adata, setup)[0]
