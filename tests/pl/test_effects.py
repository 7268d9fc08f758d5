from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

import scperturbrl as spr
from scperturbrl.get._effects import agreement
from scperturbrl.pl._draw.labels import _apart, spread_labels


def points(ax, drawn, gid):
    (found,) = drawn(ax, gid)
    return found.get_offsets()


def test_every_gene_is_a_point(adata, drawn):
    ax = spr.pl.effects(adata, conditions="GENE014", n_top=9, show=False)
    frame = spr.get.effects(adata, keys="generator_rl", conditions="GENE014", n_top=9)
    for gid, which in (("top", frame["top"]), ("target", frame["target"])):
        np.testing.assert_allclose(points(ax, drawn, gid), frame.loc[which, ["observed", "predicted"]])
    assert sum(len(points(ax, drawn, gid)) for gid in ("top", "target", "gene")) == adata.n_vars
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_xlabel() == "Observed effect"


def test_the_strongest_genes_are_named(adata):
    ax = spr.pl.effects(adata, conditions="GENE014", n_labels=4, show=False)
    frame = spr.get.effects(adata, keys="generator_rl", conditions="GENE014")
    top = frame[frame["top"]].sort_values("statistic", key=np.abs, ascending=False)
    assert {text.get_text() for text in ax.texts} == set(top["gene"].head(4))
    by_gene = frame.set_index("gene")
    for text in ax.texts:
        np.testing.assert_allclose(text.xy, by_gene.loc[text.get_text(), ["observed", "predicted"]].astype(float))


def test_caption_has_correlation_and_direction(adata):
    ax = spr.pl.effects(adata, conditions="GENE014", show=False)
    r, direction = agreement(spr.get.effects(adata, keys="generator_rl", conditions="GENE014"))
    assert ax.get_title().splitlines()[-1] == f"r = {r:.2f}, direction {direction:.0%}"


def test_test_conditions_by_default(adata):
    axes = np.atleast_1d(spr.pl.effects(adata, show=False))
    test = adata.obs.loc[adata.obs["split"] == "test", "perturbation"].unique()
    assert sorted(ax.get_title().split(",")[0] for ax in axes) == sorted(test)
    assert all("held out" in ax.get_title() for ax in axes)


@pytest.mark.filterwarnings("ignore:.*made under another split:UserWarning")
def test_training_conditions_where_nothing_is_held_out(adata):
    spr.pp.split(adata, holdout="nothing")
    spr.pp.reference(adata)
    axes = spr.pl.effects(adata, show=False)
    assert len(axes) == 6
    assert not any("held out" in ax.get_title() for ax in axes)


def test_names_do_not_overlap(adata, inside):
    figure = spr.pl.effects(adata, conditions=["GENE014", "GENE016"], n_labels=12, return_fig=True)
    assert inside(figure)
    for ax in figure.axes:
        # of an annotation the line to its point is a part
        boxes = [Text.get_window_extent(text) for text in ax.texts]
        assert len(boxes) == 12
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_heatmap_is_the_frame(adata, drawn):
    ax, other = spr.pl.effects_heatmap(adata, conditions=["GENE014", "GENE016"], n_top=5, show=False)
    frame = spr.get.effects_heatmap(adata, conditions="GENE014", n_top=5)
    (mesh,) = drawn(ax, "heatmap")
    wide = frame.pivot(index="rank", columns="model", values="effect")[["observed", "generator", "generator_rl"]]
    np.testing.assert_allclose(mesh.get_array(), wide)
    assert [label.get_text() for label in ax.get_yticklabels()] == frame["gene"].head(5).tolist()
    assert [label.get_text().replace("\n", " ") for label in ax.get_xticklabels()] == [
        "Real cells",
        "Generator",
        "Generator, post-trained",
    ]
    assert mesh.get_clim() == drawn(other, "heatmap")[0].get_clim()
    assert mesh.get_clim()[0] == -mesh.get_clim()[1]


def test_heatmap_keeps_its_texts_apart(adata, apart, inside):
    figure = spr.pl.effects_heatmap(adata, conditions=["GENE014", "GENE016"], return_fig=True)
    assert inside(figure)
    assert apart(figure, [label for ax in figure.axes[:2] for label in (*ax.get_yticklabels(), *ax.get_xticklabels())])


def test_vmax(adata, drawn):
    ax = spr.pl.effects_heatmap(adata, conditions="GENE014", vmax=0.5, show=False)
    assert drawn(ax, "heatmap")[0].get_clim() == (-0.5, 0.5)
    with pytest.raises(ValueError, match="`vmax` is -1"):
        spr.pl.effects_heatmap(adata, conditions="GENE014", vmax=-1)


@given(st.lists(st.floats(-1, 1), max_size=8).map(sorted))
def test_heights_become_apart_and_stay_inside(heights):
    placed = _apart(heights, 0.2, -1, 1)
    assert all(b - a > 0.2 - 1e-9 for a, b in zip(placed, placed[1:], strict=False))
    assert all(-0.8 - 1e-9 <= y <= 0.8 + 1e-9 for y in placed)


def test_heights_that_are_apart_stay():
    assert _apart([-0.5, 0.0, 0.7], 0.2, -1, 1) == pytest.approx([-0.5, 0.0, 0.7])


@pytest.mark.parametrize("size", [(3.4, 3.4), (9.9, 3.4)])
def test_long_names_stay_inside_narrow_axes(size):
    figure, axes = plt.subplots(1, 3, figsize=size) if size[0] > 5 else plt.subplots(figsize=size)
    rng = np.random.default_rng(0)
    for ax in np.ravel(axes):
        others = rng.normal(size=(200, 2))
        points = np.array([[2.0, 1.0], [1.8, 0.5], [-0.9, -0.5], [-1.0, -0.9]])
        ax.set(xlim=(-1.5, 2.4), ylim=(-1.5, 2.4), aspect="equal")
        spread_labels(ax, points, ["GENE0001", "GENE0002", "GENE0003", "GENE0004"], others=others)
    figure.canvas.draw()
    for ax in np.ravel(axes):
        for text in ax.texts:
            box = Text.get_window_extent(text)
            assert ax.bbox.x0 <= box.x0
            assert box.x1 <= ax.bbox.x1
