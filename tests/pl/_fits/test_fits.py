from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import scperturbrl as spr


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=100, n_singles=4, n_doubles=3, n_cells_per_condition=40, n_controls=150, doses=[0.1, 1.0, 10.0], seed=5
    )
    spr.pp.setup_anndata(adata, dose_key="dose")
    adata.obs["all"] = "train"
    spr.pp.split(adata, holdout="column", column="all")
    adata.layers["same"] = adata.X.copy()
    return adata


def drawn(ax, gid):
    return [artist for artist in ax.get_children() if artist.get_gid() == gid]


def inside(figure):
    figure.canvas.draw()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02


def test_dots_are_coefficients(screen):
    ax = spr.pl.genetic_interactions(screen, show=False)
    frame = spr.get.genetic_interactions(screen).set_index("condition")
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert sorted(rows) == sorted(frame.index)
    for part in ("first", "second"):
        shown = {round(line.get_ydata()[0]): line.get_xdata()[0] for line in drawn(ax, part)}
        wanted = frame.loc[rows, f"{part}_coefficient"].clip(*ax.get_xlim()).to_numpy()
        np.testing.assert_allclose([shown[i] for i in range(len(rows))], wanted)
    assert [text.get_text() for text in drawn(ax, "kind")] == frame.loc[rows, "interaction"].tolist()


def test_intervals_that_go_on_beyond_the_axes_have_arrowheads(screen):
    ax = spr.pl.genetic_interactions(screen, show=False)
    frame = spr.get.genetic_interactions(screen)
    low, high = ax.get_xlim()
    for part in ("first", "second"):
        beyond = (frame[f"{part}_low"] < low).sum() + (frame[f"{part}_high"] > high).sum()
        assert len(drawn(ax, f"{part}_cut")) == beyond
    assert drawn(ax, "first_cut") or drawn(ax, "second_cut")


def test_a_panel_for_each_model_and_names_inside(screen):
    figure = spr.pl.genetic_interactions(screen, layers="same", return_fig=True)
    assert [ax.get_title() for ax in figure.axes] == ["Real cells", "Same"]
    assert inside(figure)


def test_only_the_furthest_pairs(screen):
    ax = spr.pl.genetic_interactions(screen, n_top=1, show=False)
    assert len(ax.get_yticks()) == 1
    assert "1 of 3 shown" in ax.get_ylabel()


def test_curves_and_ec50(screen):
    axes = spr.pl.dose_response(screen, show=False)
    frame = spr.get.dose_response(screen).sort_values("perturbation")
    assert [ax.get_title().split("\n")[0] for ax in axes] == frame["perturbation"].tolist()
    for ax, each in zip(axes, frame.itertuples(), strict=True):
        assert len(drawn(ax, "curve")) == (each.status != "no response")
        for mark in drawn(ax, "ec50"):
            assert mark.get_xdata()[0] == pytest.approx(each.ec50)
            assert mark.get_ydata()[0] == pytest.approx(each.top / 2)
        assert ax.get_xscale() == "log"


def test_models_are_told_apart_and_fit_into_the_figure(screen):
    figure = spr.pl.dose_response(screen, layers="same", objective=screen.var_names[0], n_top=3, return_fig=True)
    assert len(figure.axes) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Real cells", "Same"]
    assert figure.axes[0].get_ylabel() == screen.var_names[0]
    assert inside(figure)


def test_given_axes(screen):
    _, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="`ax` holds 2 axes; this plot has 4 panels"):
        spr.pl.dose_response(screen, ax=axes, show=False)
    _, ax = plt.subplots()
    assert spr.pl.genetic_interactions(screen, ax=ax, show=False) is ax


def test_a_panel_in_which_no_pair_is_clear_says_why(screen):
    blurred = screen.copy()
    rng = np.random.default_rng(0)
    # nothing but noise: all labels are of the same cells
    controls = np.flatnonzero(blurred.obs["perturbation"] == "control")
    blurred.X = blurred.X[rng.choice(controls, blurred.n_obs)]
    ax = spr.pl.genetic_interactions(blurred, show=False)
    assert spr.get.genetic_interactions(blurred)["first_low"].isna().all()
    [note] = drawn(ax, "nothing-clear")
    assert "no larger than the noise" in note.get_text()
    assert "40 cells" in note.get_text()
    assert inside(ax.figure)
    assert drawn(spr.pl.genetic_interactions(screen, show=False), "nothing-clear") == []
