from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import scperturbrl as spr


def test_points_are_genes(adata, drawn):
    variance, zeros = spr.pl.calibration(adata, show=False)
    frame = spr.get.calibration(adata).set_index("quantity")[["observed", "generated"]]
    np.testing.assert_allclose(drawn(zeros, "gene")[0].get_offsets(), frame.loc["zero_fraction"])
    kept = frame.loc["variance"][(frame.loc["variance"] > 0).all(axis=1)]
    np.testing.assert_allclose(drawn(variance, "gene")[0].get_offsets(), kept)
    assert (variance.get_xscale(), variance.get_yscale(), zeros.get_xscale()) == ("log", "log", "linear")
    assert {(ax.get_xlabel(), ax.get_ylabel()) for ax in (variance, zeros)} == {("Real cells", "Generated cells")}


def test_medians_are_told_and_drawn(adata, drawn):
    variance, zeros = spr.pl.calibration(adata, show=False)
    frame = spr.get.calibration(adata).set_index("quantity")
    v, z = frame.loc["variance"], frame.loc["zero_fraction"]
    ratio = (v["generated"] / v["observed"])[v["generated"] > 0].median()
    assert variance.get_title().endswith(f"Median ratio {ratio:.2f}")
    shift = (z["generated"] - z["observed"]).median()
    assert zeros.get_title().endswith(f"{shift:+.3f}".replace("-", "\N{MINUS SIGN}"))
    x, y = drawn(variance, "typical")[0].get_data()
    np.testing.assert_allclose(y / x, ratio)
    x, y = drawn(zeros, "typical")[0].get_data()
    np.testing.assert_allclose(y - x, shift)


def test_real_cells_lie_on_the_line(adata, drawn):
    adata.layers["real"] = adata.X.copy()
    for ax in spr.pl.calibration(adata, key="real", show=False):
        x, y = drawn(ax, "gene")[0].get_offsets().T
        np.testing.assert_allclose(x, y)


def test_given_axes_and_layout(adata, inside):
    assert inside(spr.pl.calibration(adata, return_fig=True))
    _, axes = plt.subplots(1, 2)
    assert spr.pl.calibration(adata, ax=axes) == list(axes)
    with pytest.raises(ValueError, match="this plot has 2 panels"):
        spr.pl.calibration(adata, ax=axes[0])


def test_a_narrow_range_of_variances_has_a_scale(adata):
    figure = spr.pl.calibration(adata, return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        shown = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
        assert len(shown) >= 2
