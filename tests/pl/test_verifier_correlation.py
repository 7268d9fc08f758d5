from __future__ import annotations

import numpy as np

import scperturbrl as spr
from scperturbrl.get._read.labels import metric_label, verifier_label

MANY = ["generator", "generator_rl", "control", "perturbed_mean", "matching_mean", "nearest_condition"]
MANY += ["additive", "additive_ridge", "combination_ridge"]


def test_matrix_is_the_frame(adata, drawn):
    ax = spr.pl.verifier_correlation(adata, models=MANY, show=False)
    frame = spr.get.verifier_correlation(adata, models=MANY)
    (mesh,) = drawn(ax, "heatmap")
    rows, columns = frame["metric"].unique(), frame["verifier"].unique()
    wide = frame.pivot(index="metric", columns="verifier", values="correlation").loc[rows, columns]
    np.testing.assert_allclose(np.ma.filled(mesh.get_array(), np.nan), wide)
    assert mesh.get_clim() == (-1, 1)
    labels = [label.get_text().partition(" (n = ")[0] for label in ax.get_yticklabels()]
    assert labels == [metric_label(name) for name in rows]
    assert [label.get_text() for label in ax.get_xticklabels()] == [verifier_label(name) for name in columns]


def test_every_value_is_written(adata):
    options = {"metrics": ["mse", "mmd"], "models": MANY}
    ax = spr.pl.verifier_correlation(adata, **options, show=False)
    values = spr.get.verifier_correlation(adata, **options)["correlation"]
    assert values.notna().all()
    shown = sorted(text.get_text().replace("\N{MINUS SIGN}", "-") for text in ax.texts if len(text.get_text()) < 6)
    assert shown == sorted(f"{value:.2f}" for value in values)


def test_the_number_of_pairs_is_said(adata):
    options = {"metrics": ["mse", "mmd"], "models": MANY}
    [n] = spr.get.verifier_correlation(adata, **options)["n"].unique()
    ax = spr.pl.verifier_correlation(adata, **options, show=False)
    assert ax.get_title() == f"n = {n} pairs of model and condition"
    frame = adata.uns["evaluation"]
    frame.loc[(frame["metric"] == "mmd") & (frame["model"] == "control"), "value"] = np.nan
    ax = spr.pl.verifier_correlation(adata, **options, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"MSE (n = {n})", f"MMD (n = {n - 1})"]


def test_nothing_below_eight_pairs(adata, drawn):
    ax = spr.pl.verifier_correlation(adata, metrics=["mse", "mmd"], models=MANY[:3], show=False)
    [text] = ax.texts
    assert text.get_text() == "No correlations: 3 pairs of model and condition,\nand at least 8 are needed."
    assert not drawn(ax, "heatmap")


def test_the_sentence_is_inside(adata, inside):
    assert inside(spr.pl.verifier_correlation(adata, models=MANY[:3], return_fig=True))


def test_a_field_without_a_number_is_a_dash(adata, drawn):
    frame = adata.uns["evaluation"]
    frame.loc[frame["metric"] == "mmd", "value"] = 0.0
    ax = spr.pl.verifier_correlation(adata, metrics=["mse", "mmd"], models=MANY, show=False)
    assert drawn(ax, "heatmap")[0].get_array().mask.any(1).tolist() == [False, True]
    assert ax.get_title().endswith("\N{EN DASH}: fewer than 8, or no difference")


def test_roles_are_named_and_set_apart(adata, drawn):
    ax = spr.pl.verifier_correlation(adata, models=MANY, show=False)
    frame = spr.get.verifier_correlation(adata, models=MANY).drop_duplicates("metric")
    texts = {text.get_text(): text.xy[1] for text in ax.texts if hasattr(text, "xy")}
    assert list(texts) == ["Rewarded", "Related", "Held out"]
    for label, role in (("Rewarded", "rewarded"), ("Related", "related"), ("Held out", "held-out")):
        rows = np.flatnonzero((frame["role"] == role).to_numpy())
        assert texts[label] == (rows[0] + rows[-1] + 1) / 2
    assert len(drawn(ax, "gap")) == 2


def test_layout(adata, inside, apart):
    figure = spr.pl.verifier_correlation(adata, models=MANY, return_fig=True)
    assert inside(figure)
    assert apart(figure, figure.axes[0].get_yticklabels())
