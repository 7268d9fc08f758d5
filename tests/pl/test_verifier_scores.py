from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

import scperturbrl as spr


@pytest.fixture
def expected(adata):
    scores = adata.obsm["score_observed"].groupby(adata.obs["perturbation"], observed=True)
    return {share: scores.quantile(share).drop(index="control").dropna() for share in (0.25, 0.5, 0.75)}


def rows(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_one_panel_a_verifier(adata):
    axes = spr.pl.verifier_scores(adata, show=False)
    labels = spr.verifiers.show().set_index("name")["label"]
    assert [ax.get_title() for ax in axes] == labels[list(spr.verifiers.DEFAULT)].tolist()
    assert [ax.get_xlabel() for ax in axes] == ["Raw score"] * 4
    assert axes[0].get_ylabel() == "Condition"


def test_rows_are_the_perturbations_from_top_to_bottom(adata):
    ax = spr.pl.verifier_scores(adata, show=False)[0]
    assert rows(ax) == [name for name in adata.obs["perturbation"].cat.categories if name != "control"]
    bottom, top = ax.get_ylim()
    assert bottom > top


def test_bands_are_the_quartiles_of_the_real_cells(adata, drawn, expected):
    axes = spr.pl.verifier_scores(adata, show=False)
    names = rows(axes[0])
    for ax, verifier in zip(axes, spr.verifiers.DEFAULT, strict=True):
        bands, medians = drawn(ax, "band"), drawn(ax, "band-median")
        low, middle, high = (expected[share][verifier] for share in (0.25, 0.5, 0.75))
        np.testing.assert_allclose([band.get_x() for band in bands], low)
        np.testing.assert_allclose([band.get_x() + band.get_width() for band in bands], high)
        np.testing.assert_allclose([line.get_xdata()[0] for line in medians], middle)
        at = [names[round(band.get_y() + band.get_height() / 2)] for band in bands]
        assert at == low.index.tolist()


@pytest.mark.parametrize("kind", ["violin", "strip", "box"])
def test_medians_of_the_generated_cells(adata, drawn, kind):
    ax = spr.pl.verifier_scores(adata, verifiers="rmse_topk", kind=kind, show=False)
    scores = adata.obsm["score_generator_rl"]["rmse_topk"].groupby(adata.obs["perturbation"], observed=True).median()
    scores = scores.drop(index="control").dropna()
    dots = drawn(ax, "median")
    np.testing.assert_allclose([dot.get_xdata()[0] for dot in dots], scores)
    assert [rows(ax)[dot.get_ydata()[0]] for dot in dots] == scores.index.tolist()
    assert len(drawn(ax, kind)) == len(scores)


def test_violins_end_at_the_outer_percentiles(adata, drawn):
    name = "GENE016"
    ax = spr.pl.verifier_scores(adata, verifiers="de_spearman", perturbations=name, show=False)
    (violin,) = drawn(ax, "violin")
    scores = adata.obsm["score_generator_rl"].loc[adata.obs["perturbation"] == name, "de_spearman"]
    x = violin.get_paths()[0].vertices[:, 0]
    np.testing.assert_allclose([x.min(), x.max()], scores.quantile([0.01, 0.99]))


def test_strip_has_every_cell(adata, drawn):
    ax = spr.pl.verifier_scores(adata, verifiers="rmse_topk", perturbations="GENE016", kind="strip", show=False)
    (points,) = drawn(ax, "strip")
    scores = adata.obsm["score_generator_rl"].loc[adata.obs["perturbation"] == "GENE016", "rmse_topk"]
    np.testing.assert_allclose(points.get_offsets()[:, 0], scores)
    assert points.get_rasterized()


def test_box_is_the_quartiles(adata, drawn):
    ax = spr.pl.verifier_scores(adata, verifiers="rmse_topk", perturbations="GENE016", kind="box", show=False)
    scores = adata.obsm["score_generator_rl"].loc[adata.obs["perturbation"] == "GENE016", "rmse_topk"]
    (box,), (whisker,) = drawn(ax, "box"), drawn(ax, "whisker")
    np.testing.assert_allclose([box.get_x(), box.get_x() + box.get_width()], scores.quantile([0.25, 0.75]))
    np.testing.assert_allclose(whisker.get_xdata(), scores.quantile([0.05, 0.95]))


def test_a_condition_without_reference_says_so(adata):
    ax = spr.pl.verifier_scores(adata, verifiers="rmse_topk", show=False)
    scores = adata.obsm["score_generator_rl"]["rmse_topk"].groupby(adata.obs["perturbation"], observed=True).count()
    silent = scores.drop(index="control").loc[lambda n: n == 0].index.tolist()
    notes = [text for text in ax.texts if text.get_text() == "no reference"]
    assert silent
    assert [rows(ax)[note.xy[1]] for note in notes] == silent


def test_equal_scores_and_single_cells_are_drawn(adata, drawn):
    adata.obsm["score_generator_rl"].loc[adata.obs["perturbation"] == "GENE016", "rmse_topk"] = 0.5
    few = adata.obs_names[adata.obs["perturbation"] == "GENE034"]
    adata.obsm["score_generator_rl"].loc[few[1:], "rmse_topk"] = np.nan
    wanted = ["GENE016", "GENE034"]
    ax = spr.pl.verifier_scores(adata, verifiers="rmse_topk", perturbations=wanted, show=False)
    assert [len(points.get_offsets()) for points in drawn(ax, "strip")] == [30, 1]


def test_no_band_without_observed_scores(adata, drawn):
    del adata.obsm["score_observed"]
    figure = spr.pl.verifier_scores(adata, return_fig=True)
    assert not any(drawn(ax, "band") for ax in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Generator, post-trained (dot: median)"]


def test_observed_cells_alone(adata, drawn):
    ax = spr.pl.verifier_scores(adata, key="observed", verifiers="rmse_topk", show=False)
    assert len(drawn(ax, "violin")) == len(drawn(ax, "band")) > 0


def test_order_and_selection(adata):
    wanted = ["GENE034", "GENE014"]
    axes = spr.pl.verifier_scores(adata, verifiers=["de_spearman", "rmse_topk"], perturbations=wanted, show=False)
    assert [ax.get_title() for ax in axes] == ["DE Spearman", "RMSE top-k proximity"]
    assert rows(axes[0]) == wanted


def test_grouping_by_another_column(adata):
    adata.obs["plate"] = np.where(np.arange(adata.n_obs) % 2, "two", "one")
    ax = spr.pl.verifier_scores(adata, groupby="plate", verifiers="rmse_topk", show=False)
    assert rows(ax) == ["one", "two"]
    assert ax.get_ylabel() == "Plate"


@pytest.mark.parametrize(
    ("palette", "expected"),
    [
        (None, ["#0072b2"] * 2),
        ("red", ["#ff0000"] * 2),
        (["red", "blue"], ["#ff0000", "#0000ff"]),
        ({"GENE016": "blue", "GENE014": "red"}, ["#ff0000", "#0000ff"]),
    ],
)
def test_palette(adata, drawn, palette, expected):
    wanted = ["GENE014", "GENE016"]
    ax = spr.pl.verifier_scores(adata, verifiers="rmse_topk", perturbations=wanted, palette=palette, show=False)
    assert [to_hex(violin.get_facecolor()[0]) for violin in drawn(ax, "violin")] == expected


def test_palette_of_the_column(adata, drawn):
    adata.uns["perturbation_colors"] = [f"#0000{i:02x}" for i in range(adata.obs["perturbation"].nunique())]
    ax = spr.pl.verifier_scores(adata, verifiers="rmse_topk", perturbations="GENE016", palette="obs", show=False)
    number = adata.obs["perturbation"].cat.categories.get_loc("GENE016")
    assert to_hex(drawn(ax, "violin")[0].get_facecolor()[0]) == f"#0000{number:02x}"


def test_colours_that_are_none(adata):
    with pytest.raises(ValueError, match="'GENE016', which is not a colour"):
        spr.pl.verifier_scores(adata, perturbations="GENE016", palette={"GENE014": "red"})


def test_unknown_kind(adata):
    with pytest.raises(ValueError, match="'violin', 'strip', 'box'"):
        spr.pl.verifier_scores(adata, kind="swarm")


def test_sixty_perturbations_stay_readable(crowd, apart, inside):
    figure = spr.pl.verifier_scores(crowd, n_top=None, return_fig=True)
    labels = figure.axes[0].get_yticklabels()
    assert len(labels) == 60
    assert apart(figure, labels)
    assert inside(figure)
    assert not any(label.get_visible() for label in figure.axes[1].get_yticklabels())


def test_the_rows_with_the_most_scored_cells_are_shown_and_it_is_said(crowd, inside):
    labels = [name for name in crowd.obs["perturbation"].cat.categories if name != "control"]
    few = labels[5:30]
    crowd.obsm["score_generator"].loc[crowd.obs["perturbation"].isin(few), :] = np.nan
    figure = spr.pl.verifier_scores(crowd, n_top=35, return_fig=True)
    assert rows(figure.axes[0]) == [name for name in labels if name not in few]
    assert figure.axes[0].get_ylabel() == "Condition\n(35 of 60 shown: the most scored cells)"
    assert inside(figure)
    assert inside(spr.pl.verifier_scores(crowd, n_top=2, return_fig=True))
    assert rows(spr.pl.verifier_scores(crowd, perturbations=few, n_top=2, show=False)[0]) == few


@pytest.mark.parametrize("n_top", [0, 1.5, True])
def test_n_top_is_a_count(crowd, n_top):
    with pytest.raises(ValueError, match=f"`n_top` is {n_top}"):
        spr.pl.verifier_scores(crowd, n_top=n_top)


def test_a_thousand_perturbations_make_a_page():
    labels = np.repeat(["control", *(f"GENE{i:04d}" for i in range(1000))], 3)
    obs = pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(len(labels))])
    adata = AnnData(np.random.default_rng(0).gamma(1, size=(len(obs), 2)).astype(np.float32), obs=obs)
    spr.pp.setup_anndata(adata)
    for key in ("observed", "generator"):
        adata.obsm[f"score_{key}"] = pd.DataFrame({"rmse_topk": adata.X[:, 0]}, index=adata.obs_names)
    figure = spr.pl.verifier_scores(adata, return_fig=True)
    assert figure.get_size_inches()[1] < 16
    assert "40 of 1,000 shown" in figure.axes[0].get_ylabel()


def test_cell_types_are_not_pooled(crowd):
    crowd.obs["cell_type"] = pd.Categorical(np.where(np.arange(crowd.n_obs) % 2, "T", "B"))
    spr.pp.setup_anndata(crowd, covariate_keys=["cell_type"])
    wanted = ["GENE003+GENE103", "GENE001+GENE101"]
    ax = spr.pl.verifier_scores(crowd, perturbations=wanted, palette=["red", "blue"], show=False)[0]
    assert rows(ax) == [f"{name} | cell_type={kind}" for name in wanted for kind in "BT"]
    colors = [to_hex(area.get_facecolor()[0]) for area in ax.collections if area.get_gid() == "violin"]
    assert colors == ["#ff0000", "#ff0000", "#0000ff", "#0000ff"]


def test_the_note_keeps_clear_of_the_band(adata, drawn):
    silent = adata.obs["perturbation"] == "GENE016"
    adata.obsm["score_generator_rl"].loc[silent, "rmse_topk"] = np.nan
    figure = spr.pl.verifier_scores(adata, verifiers="rmse_topk", perturbations=["GENE014", "GENE016"], return_fig=True)
    ax = figure.axes[0]
    figure.canvas.draw()
    [note], band = drawn(ax, "missing"), drawn(ax, "band")[1]
    box, area = note.get_window_extent(), band.get_window_extent()
    assert box.x1 < area.x0 or box.x0 > area.x1


def test_labels_on_each_of_somebody_elses_axes(adata):
    figure, axes = plt.subplots(2, 1)
    drawn = spr.pl.verifier_scores(adata, verifiers=["rmse_topk", "de_spearman"], ax=axes)
    assert drawn == list(axes)
    assert all(label.get_visible() for ax in axes for label in ax.get_yticklabels())
    assert not figure.legends
    assert axes[1].get_legend() is not None


@pytest.mark.parametrize("key", ["observed", "generator_rl"])
def test_a_panel_without_a_network_says_so_once(adata, drawn, key):
    del adata.uns["pathway_network"]
    for name in ("score_observed", "score_generator_rl"):
        adata.obsm[name]["pathway_activity"] = np.nan
    axes = spr.pl.verifier_scores(adata, key=key, verifiers=["rmse_topk", "pathway_activity"], show=False)
    [note] = drawn(axes[1], "no-network")
    assert "no network" in note.get_text()
    assert "pp.reference" in note.get_text()
    assert drawn(axes[1], "missing") == drawn(axes[0], "no-network") == []
    # the rows keep their labels
    assert [label.get_text() for label in axes[0].get_yticklabels()]


def test_scores_are_drawn_even_if_the_network_is_gone(adata, drawn):
    del adata.uns["pathway_network"]
    ax = spr.pl.verifier_scores(adata, verifiers="pathway_activity", show=False)
    assert drawn(ax, "no-network") == []


def test_a_condition_with_a_reference_in_which_nothing_changed_is_told_apart(adata, drawn):
    name = adata.varm["perturbation_effect"].columns[0]
    label = name.split(" | ")[0]
    for slot in ("score_observed", "score_generator_rl"):
        adata.obsm[slot].loc[(adata.obs["perturbation"] == label).to_numpy(), "pathway_activity"] = np.nan
    ax = spr.pl.verifier_scores(adata, verifiers="pathway_activity", show=False)
    notes = {rows(ax)[round(note.xy[1])]: note.get_text() for note in drawn(ax, "missing")}
    assert notes.pop(label) == "no response"
    held_out = adata.obs.loc[adata.obs["split"] != "train", "perturbation"].astype(str).unique()
    assert {notes[one] for one in held_out if one in notes} <= {"no reference"}
