from __future__ import annotations

import enum
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from scperturbrl._core.serialize import to_uns, versions


class Colour(enum.Enum):
    RED = "red"
    LEVEL = 3


@dataclass
class Choice:
    path: Path
    shape: tuple[int, ...]


def odd(x):
    return x


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.complex_numbers(),
    st.datetimes(),
    st.just(odd),
    st.sampled_from(Colour),
    st.sampled_from([Path("a/b"), torch.device("cpu"), np.dtype("f4"), np.float32(1.5), np.int64(3), np.str_("x")]),
    st.builds(Choice, path=st.just(Path("x")), shape=st.tuples(st.integers(0, 9), st.integers(0, 9))),
)
tensors = arrays.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
    arrays.array_shapes(min_dims=0, max_dims=3, max_side=3),
)
leaves = st.one_of(
    scalars, tensors, tensors.map(torch.from_numpy), st.frozensets(st.integers(0, 9) | st.text(max_size=2))
)
names = st.text(max_size=6) | st.integers(0, 9) | st.sampled_from([".", "..", "", "a/b", "nul\0", "\ud800"])
params = st.dictionaries(
    names,
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3) | st.tuples(inner, inner),
        max_leaves=6,
    ),
    max_size=4,
)


def same(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if a is None:
        return b is None
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "U" or b.dtype.kind in "OTU":
        return a.size == b.size and [str(x) for x in a.ravel()] == [str(x) for x in b.ravel()]
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def check_file(folder, form, params):
    written = to_uns(params)
    adata = anndata.AnnData(np.zeros((1, 1), dtype=np.float32), uns={"generator": {"params": written}})
    path = folder / f"a.{form}"
    with warnings.catch_warnings():
        # zarr announces that its text format may still change
        warnings.simplefilter("ignore")
        getattr(adata, f"write_{form}")(path)
        back = getattr(anndata, f"read_{form}")(path)
    found = back.uns["generator"].get("params", {})
    assert same(written, found)


@given(params=params)
@settings(max_examples=60, deadline=None)
def test_whatever_is_recorded_survives_h5ad(tmp_path_factory, params):
    check_file(tmp_path_factory.mktemp("uns"), "h5ad", params)


# one file with much in it, because every zarr array costs a few milliseconds
@given(params=st.tuples(*[params] * 4).map(lambda many: dict(enumerate(many))))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_whatever_is_recorded_survives_zarr(tmp_path_factory, params):
    check_file(tmp_path_factory.mktemp("uns"), "zarr", params)


@given(params=params)
@settings(max_examples=60, deadline=None)
def test_to_uns_leaves_its_own_result_alone(params):
    once = to_uns(params)
    assert same(once, to_uns(once))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2), [1, 2]),
        (Choice(Path("a"), (3,)), {"path": "a", "shape": [3]}),
        ({"a/b": {1: Colour.RED}}, {"a∕b": {"1": "red"}}),
        ([Colour.LEVEL, 2.5], [3, 2.5]),
        ([1, "a"], {"0": 1, "1": "a"}),
        ([[1], [2, 3]], {"0": [1], "1": [2, 3]}),
        ({3, 1, 2}, [1, 2, 3]),
        (torch.device("cpu"), "cpu"),
        (2**70, str(2**70)),
        (None, None),
        ([None, 1], {"0": None, "1": 1}),
        (b"x", "b'x'"),
        (pd.Timestamp(0), "Timestamp('1970-01-01 00:00:00')"),
        (np.array([1, None], dtype=object), {"0": 1, "1": None}),
        (np.datetime64("2020-01-01"), "2020-01-01"),
    ],
)
def test_to_uns_by_example(value, expected):
    assert to_uns(value) == expected


def test_tensors_become_arrays_of_the_same_numbers():
    value = to_uns({"x": torch.arange(4.0, requires_grad=True).reshape(2, 2)})["x"]
    np.testing.assert_array_equal(value, [[0, 1], [2, 3]])


def test_tables_pass_unchanged():
    table = pd.DataFrame({"x": [1.0]})
    assert to_uns({"table": table})["table"] is table


def test_versions_are_those_installed():
    assert versions()["numpy"] == np.__version__
    assert versions()["torch"] == version("torch")
