from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scperturbrl.data.cells.network import check_network, network_matrix, warn_other_case


def table(**columns):
    return pd.DataFrame({"source": ["P", "P", "Q"], "target": ["a", "b", "b"], **columns})


def test_weights_are_one_where_absent():
    assert check_network(table())["weight"].tolist() == [1, 1, 1]


def test_text_that_is_a_number_is_a_weight_and_extra_columns_go():
    checked = check_network(table(weight=["1", "-2.5", "0"], pvalue=0.1))
    assert checked["weight"].tolist() == [1, -2.5, 0]
    assert list(checked) == ["source", "target", "weight"]


@pytest.mark.parametrize("weight", [["1", "x", "2"], [1, np.nan, 2], [1, np.inf, 2]])
def test_weights_must_be_finite_numbers(weight):
    with pytest.raises(ValueError, match="not finite numbers"):
        check_network(table(weight=weight))


@pytest.mark.parametrize("name", ["source", "target"])
def test_a_missing_column_is_named(name):
    with pytest.raises(KeyError, match=f"no column \\['{name}'\\]"):
        check_network(table().drop(columns=name))


def test_repeated_edges_count_once():
    assert len(check_network(pd.concat([table(), table()]))) == 3


def test_an_edge_of_two_weights_is_refused_and_the_line_repairs_it():
    both = pd.concat([table(weight=[1.0, 2, 3]), table(weight=[1.0, 2, 5])])
    with pytest.raises(ValueError, match="1 edges of the network, such as 'Q' to 'b', have more than one weight"):
        check_network(both)
    repaired = both.groupby(["source", "target"], as_index=False)["weight"].mean()
    assert check_network(repaired)["weight"].tolist() == [1, 2, 4]


def test_missing_names_are_refused():
    with pytest.raises(ValueError, match="1 rows of the network have no `source` or no `target`"):
        check_network(table().assign(target=["a", None, "b"]))


def test_targets_that_are_lost_by_their_spelling_are_told():
    with pytest.warns(UserWarning, match="1 of 2 targets of the network, such as 'b', are genes of the data but for"):
        warn_other_case(check_network(table()), ["a", "B", "c"])
    warn_other_case(check_network(table()), ["a", "c"])


def test_the_matrix_agrees_with_a_pivot_table():
    rng = np.random.default_rng(0)
    genes = [f"g{i}" for i in range(30)]
    net = pd.DataFrame({"source": rng.choice(list("PQR"), 60), "target": rng.choice([*genes, "elsewhere"], 60)})
    net = net.drop_duplicates()
    net["weight"] = rng.normal(size=len(net))
    net = check_network(net)
    weights, sources = network_matrix(net, genes)
    wide = net.pivot_table(index="target", columns="source", values="weight").reindex(index=genes).fillna(0)
    assert sources == list(wide.columns)
    np.testing.assert_allclose(weights, wide.to_numpy(), rtol=1e-6)


def test_targets_outside_the_data_leave_an_empty_matrix():
    weights, sources = network_matrix(check_network(table()), ["x", "y"])
    assert weights.shape == (2, 0)
    assert sources == []
