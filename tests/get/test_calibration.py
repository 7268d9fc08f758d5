from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr


def dense(matrix):
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)


def test_one_condition_is_its_variance_and_zero_fraction(adata):
    frame = spr.get.calibration(adata, conditions="GENE014")
    rows = (adata.obs["perturbation"] == "GENE014").to_numpy()
    for column, matrix in (("observed", adata.X), ("generated", adata.layers["generator_rl"])):
        cells = dense(matrix)[rows]
        by = frame.set_index("quantity")[column]
        np.testing.assert_allclose(by["variance"], cells.var(0, ddof=1), rtol=1e-5)
        np.testing.assert_allclose(by["zero_fraction"], (cells == 0).mean(0))


def test_pooling_leaves_differences_between_conditions_out(adata):
    adata.layers["shifted"] = dense(adata.X) + 0.2 * adata.obs["perturbation"].cat.codes.to_numpy()[:, None]
    frame = spr.get.calibration(adata, key="shifted").set_index("quantity").loc["variance"]
    np.testing.assert_allclose(frame["generated"], frame["observed"], rtol=1e-4)


def test_collapse_shows(adata):
    means = dense(adata.X)
    for label in adata.obs["perturbation"].unique():
        rows = (adata.obs["perturbation"] == label).to_numpy()
        means[rows] = means[rows].mean(0)
    adata.layers["mean"] = means
    frame = spr.get.calibration(adata, key="mean").set_index("quantity")
    np.testing.assert_allclose(frame.loc["variance", "generated"], 0, atol=1e-8)
    assert (frame.loc["zero_fraction", "generated"] <= frame.loc["zero_fraction", "observed"]).all()


def test_missing_layer(adata):
    with pytest.raises(KeyError, match=r"tl\.generate\(adata, key='mine'\)"):
        spr.get.calibration(adata, key="mine")
