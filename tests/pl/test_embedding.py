from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scperturbrl as spr


def offsets(artists):
    return np.concatenate([artist.get_offsets() for artist in artists])


def of_origin(ax, drawn, origin):
    names = {"observed": ("observed",), "generated": ("generated", "generated, held out")}
    return [artist for name in names[origin] for artist in drawn(ax, name)]


def by_place(points):
    return points[np.lexsort(points.T)]


def legend_labels(figure):
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def test_every_cell_is_at_its_own_place(adata, drawn):
    frame = spr.get.embedding(adata)
    ax = spr.pl.embedding(adata, show=False)
    for origin in ("observed", "generated"):
        expected = frame.loc[frame["origin"] == origin, ["x", "y"]].to_numpy()
        np.testing.assert_allclose(by_place(offsets(of_origin(ax, drawn, origin))), by_place(expected))


def test_reward_is_the_colour(adata, drawn):
    frame = spr.get.embedding(adata)
    ax = spr.pl.embedding(adata, show=False)
    scored = drawn(ax, "generated")[-1]
    expected = frame.loc[(frame["origin"] == "generated") & frame["value"].notna()]
    order = np.lexsort(scored.get_offsets().T)
    np.testing.assert_allclose(
        scored.get_array()[order], expected["value"].to_numpy()[np.lexsort(expected[["x", "y"]].to_numpy().T)]
    )
    assert scored.get_clim() == (0, 1)
    assert scored.get_rasterized()
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "Reward (0 = control cell, 1 = typical real cell)"


def test_cells_held_out_are_the_visible_ones(adata, drawn):
    figure = spr.pl.embedding(adata, return_fig=True)
    ax = figure.axes[0]
    held_out = (adata.obs["split"] != "train") & (adata.obs["perturbation"] != "control")
    unscored, scored = drawn(ax, "generated, held out")
    assert len(unscored.get_offsets()) == held_out.sum() > 0
    assert len(scored.get_offsets()) == 0
    assert {to_hex(color) for color in unscored.get_facecolor()} == {"#d55e00"}
    (seen,) = drawn(ax, "generated")
    assert unscored.get_zorder() > seen.get_zorder()
    assert unscored.get_sizes()[0] > seen.get_sizes()[0]
    assert legend_labels(figure) == ["Observed cells", "Observed, held out", "Generated, held out, no reward"]
    assert len(drawn(ax, "observed")[1].get_offsets()) == held_out.sum()


def test_held_out_cells_with_a_reward_show_it(adata, drawn):
    adata.obs["generator_rl_reward"] = 0.25
    figure = spr.pl.embedding(adata, return_fig=True)
    (cells,) = drawn(figure.axes[0], "generated, held out")
    assert set(cells.get_array()) == {0.25}
    assert legend_labels(figure) == ["Observed cells", "Observed, held out", "Generated, held out"]


def test_training_cells_that_could_not_be_scored_are_hollow(adata, drawn):
    adata.obs.loc[adata.obs["perturbation"] == "GENE014", "generator_rl_reward"] = np.nan
    assert (adata.obs.loc[adata.obs["perturbation"] == "GENE014", "split"] == "train").all()
    figure = spr.pl.embedding(adata, return_fig=True)
    hollow, _ = drawn(figure.axes[0], "generated")
    assert len(hollow.get_offsets()) == (adata.obs["perturbation"] == "GENE014").sum()
    assert len(hollow.get_facecolor()) == 0
    assert "Generated, no reward" in legend_labels(figure)


def test_limits_of_a_verifier_are_percentiles_unless_given(adata, drawn):
    ax = spr.pl.embedding(adata, color="rmse_topk", vmax=0.9, show=False)
    perturbed = adata.obs["perturbation"] != "control"
    scores = adata.obsm["score_generator_rl"]["rmse_topk"][perturbed]
    low, high = drawn(ax, "generated")[-1].get_clim()
    assert drawn(ax, "generated, held out")[-1].get_clim() == (low, high)
    np.testing.assert_allclose(low, scores.quantile(0.01))
    assert high == 0.9
    assert ax.figure.axes[1].get_ylabel() == "RMSE top-k proximity (raw score)"


@pytest.mark.parametrize(
    ("values", "extend"), [((0, 1), "neither"), ((-1, 1), "min"), ((0, 2), "max"), ((-1, 2), "both")]
)
def test_bar_points_where_values_go_on(adata, drawn, values, extend):
    adata.obs["generator_rl_reward"] = np.linspace(*values, adata.n_obs)
    adata.obs.loc[adata.obs["perturbation"] == "control", "generator_rl_reward"] = np.nan
    ax = spr.pl.embedding(adata, show=False)
    assert drawn(ax, "generated, held out")[-1].colorbar.extend == extend


def test_numbers_of_obs(adata):
    ax = spr.pl.embedding(adata, color="library_size", show=False)
    assert ax.figure.axes[1].get_ylabel() == "Library size"


def test_perturbation_colours_are_those_of_scanpy(adata, drawn):
    categories = adata.obs["perturbation"].cat.categories
    adata.uns["perturbation_colors"] = [f"#0000{i:02x}" for i in range(len(categories))]
    ax = spr.pl.embedding(adata, color="perturbation", show=False)
    points = of_origin(ax, drawn, "generated")
    frame = spr.get.embedding(adata, color="perturbation")
    frame = frame[frame["origin"] == "generated"]
    expected = {(x, y): f"#0000{categories.get_loc(name):02x}" for x, y, name in frame[["x", "y", "value"]].to_numpy()}
    found = {
        tuple(place): to_hex(color)
        for part in points
        for place, color in zip(part.get_offsets(), part.get_facecolor(), strict=True)
    }
    assert found == expected


def test_perturbation_colours_are_set_if_absent(adata):
    import scanpy as sc

    spr.pl.embedding(adata, color="perturbation", show=False)
    n = adata.obs["perturbation"].nunique()
    assert adata.uns["perturbation_colors"] == [to_hex(color) for color in sc.pl.palettes.default_20[:n]]


def test_views_and_text_columns_are_left_alone(adata):
    adata.obs["plate"] = np.where(np.arange(adata.n_obs) % 2, "two", "one")
    spr.pl.embedding(adata, color="plate", show=False)
    view = adata[:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spr.pl.embedding(view, color="perturbation", show=False)
    assert view.is_view
    assert "plate_colors" not in adata.uns
    assert "perturbation_colors" not in adata.uns


def test_legend_of_categories_in_their_order(adata):
    figure = spr.pl.embedding(adata, color="perturbation", return_fig=True)
    names = adata.obs["perturbation"].cat.categories.drop("control")
    assert legend_labels(figure) == ["Observed cells", "Observed, held out", *names, "Held out"]
    assert figure.axes[0].get_legend().get_title().get_text() == "Perturbation"


def test_a_choice_of_perturbations(adata, drawn):
    wanted = ["GENE016", "GENE034"]
    figure = spr.pl.embedding(adata, color="perturbation", perturbations=wanted, return_fig=True)
    assert legend_labels(figure) == ["Observed cells", "Observed, same perturbations", *wanted]
    others, same = drawn(figure.axes[0], "observed")
    assert len(same.get_offsets()) == adata.obs["perturbation"].isin(wanted).sum()
    assert len(others.get_offsets()) + len(same.get_offsets()) == adata.n_obs


def test_booleans_are_categories(adata):
    adata.obs["chosen"] = np.arange(adata.n_obs) % 2 == 0
    figure = spr.pl.embedding(adata, color="chosen", return_fig=True)
    assert legend_labels(figure) == ["Observed cells", "Observed, held out", "False", "True", "Held out"]


def test_sixty_categories_fit_beside_the_plot(adata, inside):
    adata.obs["guide"] = pd.Categorical([f"GUIDE{i % 60:03d}+GUIDE{i % 60:03d}" for i in range(adata.n_obs)])
    figure = spr.pl.embedding(adata, color="guide", return_fig=True)
    assert inside(figure)
    ax = figure.axes[0]
    assert ax.get_window_extent().width > 300
    assert ax.get_legend().get_window_extent().x0 > ax.get_window_extent().x1


def test_axis_labels(adata):
    adata.obsm["X_umap"] = adata.obsm["X_umap_generator_rl"] = np.random.default_rng(0).normal(size=(adata.n_obs, 2))
    ax = spr.pl.embedding(adata, dimensions=(1, 2), show=False)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("PC2", "PC3")
    ax = spr.pl.embedding(adata, basis="umap", show=False)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("UMAP1", "UMAP2")
