from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import scperturbrl as spr


def test_one_panel_a_source_with_the_numbers_of_the_frame(adata, drawn):
    axes = spr.pl.pathway_activity(adata, show=False)
    frame = spr.get.pathway_activity(adata)
    assert [ax.get_title().replace("\n", " ") for ax in axes] == ["Real cells", "Generator", "Generator, post-trained"]
    rows, columns = frame["condition"].unique(), frame["pathway"].unique()
    for ax, model in zip(axes, ("observed", "generator", "generator_rl"), strict=True):
        (mesh,) = drawn(ax, "heatmap")
        part = frame[frame["model"] == model].pivot(index="condition", columns="pathway", values="activity")
        np.testing.assert_allclose(mesh.get_array(), part.loc[rows, columns])
        assert [label.get_text() for label in ax.get_xticklabels()] == columns.tolist()
    assert [label.get_text() for label in axes[0].get_yticklabels()] == rows.tolist()
    assert len({drawn(ax, "heatmap")[0].get_clim() for ax in axes}) == 1


def test_held_out_conditions_are_bold(adata):
    ax, *_ = spr.pl.pathway_activity(adata, show=False)
    test = set(adata.obs.loc[adata.obs["split"] != "train", "perturbation"])
    bold = {label.get_text() for label in ax.get_yticklabels() if label.get_fontweight() == "bold"}
    assert bold == test
    assert ax.get_ylabel() == "Condition (bold: held out)"


def test_the_collection_is_said_once(adata):
    plain, *_ = spr.pl.pathway_activity(adata, show=False)
    names = [label.get_text() for label in plain.get_xticklabels()]
    assert plain.get_xlabel() == ""
    network = adata.uns["pathway_network"]
    adata.uns["pathway_network"] = network.assign(source="HALLMARK_" + network["source"].astype(str).str.upper())
    ax, *_ = spr.pl.pathway_activity(adata, show=False)
    assert ax.get_xlabel() == "Hallmark"
    assert [label.get_text() for label in ax.get_xticklabels()] == [name.upper() for name in names]


def test_the_strongest_rows_and_columns_are_shown_and_it_is_said(adata, drawn, inside):
    figure = spr.pl.pathway_activity(adata, n_top=3, n_pathways=2, return_fig=True)
    frame = spr.get.pathway_activity(adata)
    real = frame[frame["model"] == "observed"].assign(activity=lambda table: table["activity"].abs())
    ax = figure.axes[0]
    for axis, labels, count in (("condition", ax.get_yticklabels(), 3), ("pathway", ax.get_xticklabels(), 2)):
        strongest = real.groupby(axis)["activity"].max().nlargest(count).index
        assert [label.get_text() for label in labels] == [name for name in real[axis].unique() if name in strongest]
    n = frame["condition"].nunique(), frame["pathway"].nunique()
    assert ax.get_ylabel().splitlines()[1] == f"(3 of {n[0]} shown: the strongest in real cells)"
    assert ax.get_xlabel() == f"(2 of {n[1]} shown: the strongest)"
    assert inside(figure)
    named = spr.pl.pathway_activity(adata, conditions=["GENE016", "GENE014"], n_top=1, show=False)[0]
    assert [label.get_text() for label in named.get_yticklabels()] == ["GENE016", "GENE014"]


def test_one_colour_bar(adata):
    figure = spr.pl.pathway_activity(adata, return_fig=True)
    assert [ax.get_ylabel() for ax in figure.axes[3:]] == ["Pathway activity\n(t of decoupler's ULM)"]


def test_given_axes(adata):
    _, axes = plt.subplots(1, 2)
    assert spr.pl.pathway_activity(adata, keys="generator", ax=axes) == list(axes)
    with pytest.raises(ValueError, match="2 axes; this plot has 3 panels"):
        spr.pl.pathway_activity(adata, ax=axes)


def test_two_conditions_are_enough(adata, inside):
    figure = spr.pl.pathway_activity(adata, conditions=["GENE014", "GENE016"], return_fig=True)
    assert inside(figure)
    tallest = figure.axes[0].yaxis.label.get_window_extent().height
    assert tallest < figure.get_window_extent().height


@pytest.mark.parametrize("font", [8, 10, 16])
def test_texts_are_inside_and_apart(adata, font, inside, apart):
    with plt.rc_context({"font.size": font}):
        figure = spr.pl.pathway_activity(adata, return_fig=True)
        assert inside(figure)
        assert apart(figure, figure.axes[0].get_yticklabels())
        assert apart(figure, [ax.title for ax in figure.axes[:3]])
