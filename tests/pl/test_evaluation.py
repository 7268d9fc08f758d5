from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scperturbrl as spr
from scperturbrl.get._read.labels import metric_label


@pytest.fixture
def small(adata):
    rows = [
        {
            "model": model,
            "kind": kind,
            "condition": condition,
            "metric": metric,
            "value": 0.0,
            "scaled": scaled,
            "role": role,
            "n_cells": 9,
        }
        for model, kind, shift in (
            ("generator", "generator", 0.5),
            ("additive", "baseline", -3.0),
            ("split_half", "ceiling", 1.0),
        )
        for metric, role in (("mse", "rewarded"), ("mmd", "held-out"))
        for condition, scaled in (("A", shift - 0.2), ("B", shift), ("C", shift + 0.2))
    ]
    frame = pd.DataFrame(rows)
    adata.uns["evaluation"] = frame.set_index(frame.index.astype(str))
    return adata


def labels(ax):
    """Labels of the metrics, without the star of those that cannot discriminate."""
    return [label.get_text().replace("\n", " ").removesuffix("\N{NO-BREAK SPACE}*") for label in ax.get_yticklabels()]


MODELS = ["generator", "additive", "split_half"]


def test_one_panel_a_role_with_its_metrics(adata):
    axes = spr.pl.evaluation(adata, metrics="all", show=False)
    summary = spr.get.evaluation(adata)
    assert [ax.get_title() for ax in axes] == ["Rewarded", "Related to the reward", "Held out"]
    for ax, role in zip(axes, ("rewarded", "related", "held-out"), strict=True):
        wanted = summary.loc[summary["role"] == role, "metric"].unique()
        assert labels(ax) == [metric_label(name) for name in wanted]
        assert ax.get_xlabel() == "Scaled score: median, quartiles"


def test_a_star_marks_metrics_that_cannot_discriminate(small):
    small.uns["evaluation"]["calibrated"] = (small.uns["evaluation"]["metric"] == "mse").to_numpy()
    figure = spr.pl.evaluation(small, return_fig=True)
    shown = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    assert shown == ["MSE", "MMD\N{NO-BREAK SPACE}*"]
    assert "cannot tell a replicate from the mean response" in [
        text.get_text() for text in figure.legends[0].get_texts()
    ]


def test_a_selection_of_metrics_by_default(adata):
    summary = spr.get.evaluation(adata)
    known = summary.groupby("metric")["scaled_median"].apply(lambda values: values.notna().any())
    figure = spr.pl.evaluation(adata, return_fig=True)
    shown = [label for ax in figure.axes for label in labels(ax)]
    defined = {metric_label(name) for name in known.index[known]}
    rewarded = summary.loc[summary["role"] == "rewarded", "metric"].unique()
    assert {metric_label(name) for name in rewarded} & defined <= set(shown) <= defined
    assert len(shown) <= 18 < len(known)
    assert figure.get_size_inches()[1] < 6


def test_baselines_share_a_lane_unless_named(adata, drawn):
    ax = spr.pl.evaluation(adata, metrics="mse", limits=(-1e6, 1e6), show=False)
    summary = spr.get.evaluation(adata, metrics="mse").set_index("model")
    baselines = summary.loc[summary["kind"] == "baseline", "scaled_median"]
    assert len(baselines) > 3
    medians = [dot.get_xdata()[0] for dot in drawn(ax, "median")]
    np.testing.assert_allclose(medians, [*summary.loc[["generator", "generator_rl"], "scaled_median"], baselines.max()])
    np.testing.assert_allclose(drawn(ax, "range")[-1].get_xdata(), [baselines.min(), baselines.max()])
    named = spr.pl.evaluation(adata, metrics="mse", models=["additive", "control"], limits=(-1e6, 1e6), show=False)
    medians = [dot.get_xdata()[0] for dot in drawn(named, "median")]
    np.testing.assert_allclose(medians, baselines[["additive", "control"]])


def test_markers_are_medians_and_bars_quartiles(small, drawn):
    rewarded, _ = spr.pl.evaluation(small, models=MODELS, show=False)
    np.testing.assert_allclose([dot.get_xdata()[0] for dot in drawn(rewarded, "median")], [0.5, 1.0])
    bars = [bar.get_xdata() for bar in drawn(rewarded, "range")]
    np.testing.assert_allclose(bars, [[0.4, 0.6], [-1.0, -1.0], [0.9, 1.1]])


def test_far_medians_are_arrows_with_their_value(small, drawn):
    rewarded, _ = spr.pl.evaluation(small, models=MODELS, show=False)
    (arrow,) = drawn(rewarded, "clipped")
    assert arrow.get_xdata()[0] == -1
    assert arrow.get_marker() == "<"
    (value,) = drawn(rewarded, "value")
    assert value.get_text() == "\N{MINUS SIGN}3.0"
    assert value.xy == (-1, arrow.get_ydata()[0])
    wide, _ = spr.pl.evaluation(small, models=MODELS, limits=(-4, 2), show=False)
    assert not drawn(wide, "clipped")
    assert len(drawn(wide, "median")) == 3


def test_arrows_at_one_edge_share_their_values(small, drawn):
    ax = spr.pl.evaluation(small, metrics="mse", models=MODELS, limits=(-9, -4), show=False)
    assert {arrow.get_marker() for arrow in drawn(ax, "clipped")} == {">"}
    (value,) = drawn(ax, "value")
    assert value.get_text() == "\N{MINUS SIGN}3.0 to 1.0"
    np.testing.assert_allclose(value.xy, (-4, np.mean([arrow.get_ydata()[0] for arrow in drawn(ax, "clipped")])))


def test_far_above(small, drawn):
    ax = spr.pl.evaluation(small, metrics="mse", models=MODELS, limits=(-4, 0.8), show=False)
    (arrow,) = drawn(ax, "clipped")
    assert (arrow.get_marker(), arrow.get_xdata()[0]) == (">", 0.8)
    assert not drawn(ax, "replicate")
    assert drawn(ax, "baseline")


def test_kinds_differ_in_colour_and_marker(adata, drawn):
    models = spr.get.evaluation(adata)["model"].unique().tolist()
    options = {"metrics": "variance_ratio", "models": models}
    ax = spr.pl.evaluation(adata, **options, limits=(-100, 100), show=False)
    summary = spr.get.evaluation(adata, **options)
    looks = [
        (to_hex(dot.get_color()), dot.get_marker(), to_hex(dot.get_markerfacecolor())) for dot in drawn(ax, "median")
    ]
    assert len(set(looks)) == len(looks) == len(summary)
    for kind, (_, marker, face) in zip(summary["kind"], looks, strict=True):
        assert (face == "#ffffff") == (kind == "baseline")
        assert (marker == "*") == (kind == "ceiling")


def test_models_keep_their_lane_in_every_metric(adata, drawn):
    ax = spr.pl.evaluation(adata, metrics=["variance_ratio", "zero_fraction_error"], limits=(-1e6, 1e6), show=False)
    lanes = np.array([dot.get_ydata()[0] for dot in drawn(ax, "median")]).reshape(2, -1)
    np.testing.assert_allclose(lanes[1] - lanes[0], 1)
    assert (np.diff(lanes) > 0).all()
    assert np.abs(lanes[0]).max() < 0.5


def test_anchors_are_marked_and_explained(small, drawn):
    figure = spr.pl.evaluation(small, return_fig=True)
    for ax in figure.axes:
        assert drawn(ax, "baseline")[0].get_xdata()[0] == 0
        assert drawn(ax, "replicate")[0].get_xdata()[0] == 1
        assert {"mean\nresponse", "half of\nreal cells"} <= {text.get_text() for text in ax.texts}
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[-2:] == [
        "0: mean response of the training conditions",
        "1: half of the real cells predicts the other half",
    ]


def test_legend_has_every_lane(small):
    for models, expected in (
        (None, ["Generator", "Additive"]),
        (MODELS, ["Generator", "Additive", "Half of the real cells (1)"]),
    ):
        figure = spr.pl.evaluation(small, models=models, return_fig=True)
        assert [text.get_text() for text in figure.legends[0].get_texts()][:-2] == expected


def test_legend_counts_the_baselines(adata):
    figure = spr.pl.evaluation(adata, return_fig=True)
    n = spr.get.evaluation(adata).query("kind == 'baseline'")["model"].nunique()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"Best of {n} baselines (bar: all of them)" in texts


def test_a_metric_without_scale_says_so(small, drawn):
    small.uns["evaluation"].loc[lambda frame: frame["metric"] == "mmd", "scaled"] = np.nan
    assert spr.pl.evaluation(small, show=False).get_title() == "Rewarded"
    _, held_out = spr.pl.evaluation(small, metrics="all", show=False)
    assert not drawn(held_out, "median")
    assert "no scaled values" in [text.get_text() for text in held_out.texts]


def test_palette(small, drawn):
    ax = spr.pl.evaluation(small, metrics="mse", models="generator", palette={"generator": "red"}, show=False)
    assert [to_hex(dot.get_color()) for dot in drawn(ax, "median")] == ["#ff0000"]


def test_other_kinds_and_roles_are_drawn(small, drawn):
    frame = small.uns["evaluation"]
    small.uns["evaluation"] = frame.replace({"kind": {"baseline": "prediction"}, "role": {"held-out": "own idea"}})
    axes = spr.pl.evaluation(small, limits=(-4, 2), show=False)
    assert [ax.get_title() for ax in axes] == ["Rewarded", "Own idea"]
    assert all(len(drawn(ax, "median")) == 2 for ax in axes)


@pytest.mark.parametrize("metrics", [None, "all"])
def test_rows_are_equally_high_in_all_panels(adata, metrics):
    figure = spr.pl.evaluation(adata, metrics=metrics, return_fig=True)
    figure.canvas.draw()
    heights = [ax.get_window_extent().height / len(ax.get_yticks()) for ax in figure.axes]
    np.testing.assert_allclose(heights, heights[0], rtol=0.12)


@pytest.mark.parametrize("metrics", [None, "all"])
def test_nothing_is_cut_off_or_overlaps(adata, inside, apart, metrics):
    figure = spr.pl.evaluation(adata, metrics=metrics, return_fig=True)
    assert inside(figure)
    for ax in figure.axes:
        assert apart(figure, ax.get_yticklabels())


def test_only_baselines_have_lanes_of_their_own(small, drawn):
    frame = small.uns["evaluation"]
    small.uns["evaluation"] = frame[frame["kind"] != "generator"]
    axes = spr.pl.evaluation(small, limits=(-4, 2), show=False)
    assert all(len(drawn(ax, "median")) == 2 for ax in axes)


def test_limits_in_the_wrong_order(small):
    with pytest.raises(ValueError, match="the first must be below"):
        spr.pl.evaluation(small, limits=(2, -1))
