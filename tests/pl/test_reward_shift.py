from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

import scperturbrl as spr


@pytest.fixture
def scored(adata):
    for key in ("generator", "generator_rl"):
        spr.tl.score(adata, layer=key, reference="observed", key_added=f"{key}_all")
    spr.tl.score(adata, reference="observed")
    return adata


def positions(ax, drawn, gid):
    return [dot.get_xdata()[0] for dot in drawn(ax, gid)]


def test_dots_are_the_means_sorted_by_shift(adata, drawn):
    ax = spr.pl.reward_shift(adata, show=False)
    frame = spr.get.reward_shift(adata).dropna(subset="shift").sort_values("shift", ascending=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == frame["condition"].tolist()
    for gid in ("before", "after"):
        np.testing.assert_allclose(positions(ax, drawn, gid), frame[gid])
    assert positions(ax, drawn, "observed") == [1]
    assert positions(ax, drawn, "control") == [0]
    np.testing.assert_allclose([line.get_xdata() for line in drawn(ax, "shift")], frame[["before", "after"]])
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    left_out = len(spr.get.reward_shift(adata)) - len(frame)
    assert left_out > 1
    assert ax.get_xlabel().splitlines() == [
        "Mean reward (0 = control cells, 1 = real cells)",
        f"{left_out} conditions without a value not shown",
    ]


def test_unseen_conditions_are_hollow(scored, drawn):
    names = {"before": "generator_all", "after": "generator_rl_all", "verifier": "rmse_topk"}
    figure = spr.pl.reward_shift(scored, **names, return_fig=True)
    (ax,) = figure.axes
    seen = spr.get.reward_shift(scored, **names).set_index("condition")["seen"]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(labels) == len(seen)
    hollow = [to_hex(dot.get_markerfacecolor()) == "#ffffff" for dot in drawn(ax, "after")]
    assert hollow == [not seen[label] for label in labels]
    assert "Not seen in training" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_one_verifier(adata, drawn):
    ax = spr.pl.reward_shift(adata, verifier="de_spearman", show=False)
    assert ax.get_xlabel().splitlines()[0] == "DE Spearman (raw score)"
    frame = spr.get.reward_shift(adata, verifier="de_spearman").dropna(subset="shift")
    frame = frame.sort_values("shift", ascending=False)
    np.testing.assert_allclose(positions(ax, drawn, "observed"), frame["observed"])
    assert not drawn(ax, "control")


def test_the_rows_with_the_largest_shifts_are_shown_and_it_is_said(adata):
    frame = spr.get.reward_shift(adata).dropna(subset="shift").sort_values("shift", ascending=False)
    ax = spr.pl.reward_shift(adata, n_top=2, show=False)
    largest = frame["condition"][frame["shift"].abs().rank(ascending=False) <= 2]
    assert [label.get_text() for label in ax.get_yticklabels()] == largest.tolist()
    assert ax.get_ylabel() == f"Condition\n(2 of {len(frame)} shown: the largest shifts)"


def test_colours_of_scanpy(adata, drawn):
    categories = list(adata.obs["perturbation"].cat.categories)
    adata.uns["perturbation_colors"] = [to_hex(plt.cm.tab20(i)) for i in range(len(categories))]
    ax = spr.pl.reward_shift(adata, palette="obs", show=False)
    for label, dot in zip(ax.get_yticklabels(), drawn(ax, "after"), strict=True):
        wanted = adata.uns["perturbation_colors"][categories.index(label.get_text())]
        assert to_hex(dot.get_color()) == wanted


def test_without_real_scores_there_is_no_scale(adata, drawn):
    del adata.obsm["score_observed"]
    with pytest.raises(ValueError, match=r"the real cells were not scored. Call `scperturbrl.tl.score\(adata\)`"):
        spr.pl.reward_shift(adata)
    figure = spr.pl.reward_shift(adata, verifier="rmse_topk", return_fig=True)
    assert not drawn(figure.axes[0], "observed")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Generator", "Generator, post-trained"]


def test_nothing_to_show(adata):
    adata.obs["generator_reward"] = np.nan
    with pytest.raises(
        ValueError, match="No condition has a value both in 'generator' and in 'generator_rl': they have"
    ):
        spr.pl.reward_shift(adata)


def test_nothing_is_cut_off(adata, inside):
    assert inside(spr.pl.reward_shift(adata, return_fig=True))
    assert inside(spr.pl.reward_shift(adata, n_top=2, return_fig=True))
