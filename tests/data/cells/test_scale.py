from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.scale import other_scale, unlike_controls

# name to what is done to counts ``(n, G)`` and normalised values ``(n, G)``
SCALES = {
    "the logarithm was taken twice": lambda counts, values: np.log1p(np.log1p(values)),
    "the logarithm has base 2": lambda counts, values: np.log2(1 + values),
    "the logarithm has base 10": lambda counts, values: np.log10(1 + values),
    "no logarithm was taken": lambda counts, values: values,
    "the square root was taken": lambda counts, values: np.sqrt(values),
    "library sizes were not normalised": lambda counts, values: np.log1p(counts),
}


def on_scale(adata, name, total=1e4):
    counts = adata.layers["counts"].toarray().astype(float)
    return SCALES[name](counts, total * counts / counts.sum(1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def deep():
    return spr.datasets.simulated_perturbseq(
        n_genes=200, n_singles=3, n_doubles=1, n_cells_per_condition=20, n_controls=60
    )


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("name", SCALES)
def test_setup_names_what_was_done_instead(deep, name, form):
    adata = deep.copy()
    # so shallow that unlogged values are below 25
    adata.X = form(on_scale(adata, name, 60.0))
    with pytest.raises(ValueError, match=rf"`X` does not have the scale .*: {name}.*sc.pp.normalize_total"):
        spr.pp.setup_anndata(adata)
    assert "scperturbrl" not in adata.uns


@pytest.mark.parametrize("total", [1e3, 1e4, 1e6])
def test_any_total_is_accepted_at_setup(deep, total):
    adata = deep.copy()
    adata.X = np.log1p(on_scale(adata, "no logarithm was taken", total))
    spr.pp.setup_anndata(adata)


def doors(adata, matrix):
    """Every verb that takes a matrix from outside, and what it is called there."""
    theirs = ad.AnnData(matrix, obs=adata.obs[["perturbation"]], var=adata.var[[]])
    layered = adata.copy()
    layered.layers["theirs"] = matrix
    evaluate = {"keys": [], "verifiers": ["rmse_topk"], "max_cells": 20}
    return {
        "`predictions['p'].X`": lambda: spr.tl.evaluate(adata, predictions={"p": theirs}, **evaluate),
        "`layers['theirs']`": lambda: spr.tl.evaluate(layered, layers=["theirs"], **evaluate),
        "`layers['theirs']` scored": lambda: spr.tl.score(layered, layer="theirs"),
        "`X`": lambda: spr.tl.score(theirs, reference=adata),
        "`layers['theirs']` in a table": lambda: spr.get.effects(layered, keys=["theirs"]),
    }


@pytest.mark.parametrize("name", [*SCALES, "its cells have 100 times"])
def test_every_door_names_another_scale_than_that_of_the_control_cells(toy, name):
    if name in SCALES:
        matrix = on_scale(toy, name, 1e4 if "logarithm has" in name or "twice" in name else 20.0)
    else:
        matrix = np.log1p(100 * np.expm1(toy.X.toarray()))
    for where, call in doors(toy, matrix.astype(np.float32)).items():
        with pytest.raises(ValueError, match="not have the scale") as error:
            call()
        assert str(error.value).startswith(where.split(" ")[0])


@pytest.mark.filterwarnings("ignore:.*identical to measured cells of the same conditions")
def test_the_right_scale_passes_every_door(toy):
    for call in doors(toy, toy.X.copy()).values():
        call()


@given(
    seed=st.integers(0, 10**6),
    strength=st.floats(0, 3),
    share=st.floats(0, 0.5),
    smooth=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_no_perturbation_is_taken_for_another_scale(ready_toy, seed, strength, share, smooth):
    rng, values = np.random.default_rng(seed), ready_toy.X.toarray().astype(float)
    # strong effects on many genes, in both directions, and cells that are all the same
    shift = rng.normal(0, strength, values.shape[1]) * (rng.random(values.shape[1]) < share)
    predicted = np.maximum(values + shift, 0)
    predicted = np.broadcast_to(predicted.mean(0), values.shape) if smooth else predicted
    assert unlike_controls(predicted, Cells.of(ready_toy), None) == ""


def test_another_logarithm_behind_a_strong_effect_is_reported(toy):
    theirs = ad.AnnData(toy.X.toarray(), obs=toy.obs[["perturbation"]].copy(), var=toy.var[[]])
    # so strong that the logarithm cannot be told by the mean profile
    order = np.argsort(theirs.X.mean(0))
    theirs.X[:, order] = theirs.X[:, order[::-1]] / np.log(2)
    with pytest.warns(UserWarning, match=r"`predictions\['p'\].X` adds up to .* times the total of the control cells"):
        spr.tl.evaluate(toy, keys=[], predictions={"p": theirs}, verifiers=["rmse_topk"], max_cells=20)


def test_genes_in_another_order_are_compared_by_name(toy):
    turned = toy[:, ::-1].copy()
    del turned.uns["scperturbrl"]
    spr.tl.score(turned, reference=toy)
    turned.X = turned.X / np.log(2)
    with pytest.raises(ValueError, match="the logarithm has base 2"):
        spr.tl.score(turned, reference=toy)


def test_values_just_below_zero_are_called_what_they_are(toy):
    theirs = ad.AnnData(toy.X.toarray(), obs=toy.obs[["perturbation"]], var=toy.var[[]])
    theirs.X[0, 0] = -0.001
    with pytest.raises(
        ValueError, match=r"goes down to -0.001: below 0, as values of a regression may. Set those to 0"
    ):
        spr.tl.score(theirs, reference=toy)


def test_cells_of_one_depth_need_no_normalising():
    counts = np.random.default_rng(0).multinomial(500, np.full(30, 1 / 30), size=40)
    assert other_scale(np.log1p(counts)) == ""


@pytest.mark.parametrize("name", ["kang", "zhao", "norman"])
def test_real_data_are_on_the_right_scale(request, name):
    assert other_scale(request.getfixturevalue(f"loaded_{name}").X) == ""
