from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import scperturbrl as spr


@pytest.fixture(scope="module")
def screened():
    adata = spr.datasets.simulated_perturbseq(n_genes=60, n_singles=8, n_doubles=20, n_cells_per_condition=30)
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    spr.tl.screen(adata, "pairs", objective={"size": 1})
    return adata


def test_candidates_stand_in_order_with_their_intervals(screened, drawn):
    ax, frame = spr.pl.screen(screened, n=12, show=False), spr.get.screen(screened, n=12)
    assert [label.get_text() for label in ax.get_yticklabels()] == frame["perturbation"].tolist()
    assert ax.yaxis_inverted()
    points = np.array([line.get_xydata()[0] for line in drawn(ax, "candidate")])
    np.testing.assert_allclose(points, np.column_stack([frame["value"], range(12)]))
    bars = np.array([line.get_xdata() for line in drawn(ax, "interval")])
    np.testing.assert_allclose(bars, frame[["low", "high"]])
    ticks = drawn(ax, "rule additive")[0].get_offsets()
    np.testing.assert_allclose(np.ma.getdata(ticks)[:, 0], frame["additive"])


def test_odds_are_written_and_measured_ones_are_squares(screened, drawn):
    ax, frame = spr.pl.screen(screened, show=False), spr.get.screen(screened, n=20)
    expected = [f"{100 * p:.0f} %" for p in frame["top_probability"]]
    assert [text.get_text() for text in drawn(ax, "odds")] == expected
    squares = [line.get_marker() == "s" for line in drawn(ax, "candidate")]
    assert squares == (frame["kind"] == "measured").tolist()


def test_the_legend_explains_the_question_mark(screened):
    few = screened.copy()
    words = {}
    for name, unknown in (("told", False), ("not told", True)):
        few.uns["screen"]["table"].loc[:, "top_probability"] = np.nan if unknown else 0.5
        figure = spr.pl.screen(few, return_fig=True)
        words[name] = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [word for word in words["not told"] if word not in words["told"]] == ["Probability unknown"]


def test_only_new_ones(screened, drawn):
    ax = spr.pl.screen(screened, measured=False, show=False)
    assert {line.get_marker() for line in drawn(ax, "candidate")} == {"o"}


def test_pairs_are_a_triangle(screened, drawn):
    ax, frame = spr.pl.screen(screened, kind="pairs", show=False), spr.get.screen(screened)
    values = drawn(ax, "heatmap")[0].get_array()
    assert values.shape == (7, 7)
    assert sorted(values.compressed()) == pytest.approx(sorted(frame["value"]))
    rows, columns = ([label.get_text() for label in axis.get_ticklabels()] for axis in (ax.yaxis, ax.xaxis))
    name = "+".join(sorted([rows[2], columns[1]]))
    assert values[2, 1] == pytest.approx(frame.loc[name, "value"])
    dots = drawn(ax, "measured")[0].get_offsets()
    assert len(dots) == (frame["kind"] == "measured").sum()


def test_layout_and_given_axes(screened, inside):
    for kind in ("ranked", "pairs"):
        assert inside(spr.pl.screen(screened, kind=kind, return_fig=True))
        _, ax = plt.subplots()
        assert spr.pl.screen(screened, kind=kind, ax=ax) is ax


def test_errors_say_what_to_do(screened):
    with pytest.raises(ValueError, match="'ranked', 'pairs'"):
        spr.pl.screen(screened, kind="bars")
    with pytest.raises(ValueError, match="was not screened"):
        spr.pl.screen(screened, group="B")
    singles = screened.copy()
    spr.tl.screen(singles, "singles", objective="size")
    with pytest.raises(ValueError, match="No candidate is a pair"):
        spr.pl.screen(singles, kind="pairs", show=False)
