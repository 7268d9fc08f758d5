from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr

PANELS = ["reward", "verifiers", "proxy_gold", "energy", "spread", "drift"]


@pytest.fixture
def long_run(adata):
    rng = np.random.default_rng(0)
    old = adata.uns["generator_rl"]["history"]
    history = pd.DataFrame(rng.uniform(0.1, 0.9, size=(8, old.shape[1])), columns=old.columns)
    history["iteration"] = np.arange(1, 9) * 10
    adata.uns["generator_rl"]["history"] = history
    adata.uns["generator_rl"]["fitted"] |= {
        "kept_iteration": 50,
        "outcome": "",
        "alarms": [
            "iteration 60: spread is 0.80 of it",
            "iteration 70: spread is 0.70 of it",
            "iteration 70: validation_energy rose by 0.1",
        ],
        "limits": {"energy": 0.02, "spread": 0.1, "drift": 0.1},
    }
    return adata


def curves(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_fit_has_losses_and_energy(adata, drawn):
    loss, energy = spr.pl.training_history(adata, key="generator", show=False)
    history = adata.uns["generator"]["history"]
    np.testing.assert_allclose(curves(loss)["Training"].get_ydata(), history["loss"])
    np.testing.assert_allclose(curves(loss)["Validation"].get_ydata(), history["validation_loss"])
    np.testing.assert_allclose(curves(energy)["Training and validation"].get_ydata(), history["validation_energy"])
    assert loss.get_xlabel() == energy.get_xlabel() == "Step"
    (kept,) = drawn(loss, "kept")
    assert kept.get_xdata()[0] == adata.uns["generator"]["fitted"]["best_step"]


def test_fit_without_validation_leaves_the_panel_out(adata):
    history = adata.uns["generator"]["history"]
    adata.uns["generator"]["history"] = history.assign(validation_loss=np.nan, validation_energy=np.nan)
    ax = spr.pl.training_history(adata, key="generator", show=False)
    assert list(curves(ax)) == ["Training"]


def test_post_training_has_a_panel_for_each_thing(long_run):
    axes = spr.pl.training_history(long_run, show=False)
    titles = [
        "Reward",
        "Verifiers",
        "Reward and what it stands for",
        "Energy distance to real cells",
        "Spread of the cells",
        "Drift from pretrained",
    ]
    assert [ax.get_title() for ax in axes] == titles
    assert {ax.get_xlabel() for ax in axes} == {"Iteration"}


def test_curves_are_the_history(long_run):
    history = long_run.uns["generator_rl"]["history"]
    names = [*PANELS, "rollout_drift"]
    axes = dict(zip(names, spr.pl.training_history(long_run, panels=names, show=False), strict=True))
    for panel, label, column in (
        ("reward", "Cells of this round ± sd", "reward"),
        ("reward", "Check, always the same noise", "check_reward"),
        ("verifiers", "DE Spearman", "de_spearman"),
        ("verifiers", "Pathway activity", "pathway_activity"),
        ("proxy_gold", "Reward", "check_reward"),
        ("energy", "Training", "check_energy"),
        ("energy", "Validation", "check_validation_energy"),
        ("spread", "Check", "check_spread"),
        ("rollout_drift", "Cells of this round", "distance"),
        ("drift", "Check", "check_drift"),
    ):
        line = curves(axes[panel])[label]
        np.testing.assert_array_equal(line.get_xdata(), history["iteration"])
        np.testing.assert_allclose(line.get_ydata(), history[column])


def test_band_is_one_standard_deviation(long_run, drawn):
    ax = spr.pl.training_history(long_run, panels="reward", show=False)
    history = long_run.uns["generator_rl"]["history"]
    (band,) = drawn(ax, "sd")
    y = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose(y.min(), (history["reward"] - history["reward_sd"]).min())
    np.testing.assert_allclose(y.max(), (history["reward"] + history["reward_sd"]).max())


def test_kept_state_alarms_and_limits_are_marked(long_run, drawn):
    axes = dict(zip(PANELS, spr.pl.training_history(long_run, show=False), strict=True))
    for ax in axes.values():
        assert [line.get_xdata()[0] for line in drawn(ax, "kept")] == [50]
        assert [line.get_xdata()[0] for line in drawn(ax, "alarm")] == [60, 70]
    assert [line.get_ydata()[0] for line in drawn(axes["spread"], "limit")] == [0.9, 1.1]
    assert [line.get_ydata()[0] for line in drawn(axes["drift"], "limit")] == [0.1]
    assert not drawn(axes["energy"], "limit")


def test_alarms_are_named(long_run):
    figure = spr.pl.training_history(long_run, return_fig=True)
    title = figure.get_suptitle().replace("\n", " ")
    assert title.startswith(
        "Generator, post-trained Alarm: spread is 0.80 of it at iteration 60, and at 1 later check "
    )
    assert title.endswith("Alarm: validation energy rose by 0.1 at iteration 70")
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["Kept state, iteration 50", "Alarm: spread, validation energy", "Limit of the guard"]


def test_no_alarms(long_run, drawn):
    long_run.uns["generator_rl"]["fitted"]["alarms"] = []
    figure = spr.pl.training_history(long_run, return_fig=True)
    assert figure.get_suptitle() == "Generator, post-trained"
    assert not any(drawn(ax, "alarm") for ax in figure.axes)


def test_the_title_says_what_happened(long_run, inside):
    fitted = long_run.uns["generator_rl"]["fitted"]
    fitted |= {"alarms": [], "outcome": "Post-training helped: the reward went up (+0.036 +- 0.018)."}
    figure = spr.pl.training_history(long_run, return_fig=True)
    assert figure.get_suptitle().splitlines()[1] == "Post-training helped: the reward went up (+0.036 ± 0.018)."
    assert inside(figure)


def test_a_generator_trained_on_does_not_inherit_the_marks(long_run, drawn):
    spr.tl.fit_generator(long_run, init_from="generator_rl", key_added="longer", n_steps=5)
    figure = spr.pl.training_history(long_run, key="longer", return_fig=True)
    assert not any(drawn(ax, gid) for ax in figure.axes for gid in ("kept", "alarm", "limit"))


def test_single_check_is_visible(adata):
    adata.uns["generator_rl"]["history"] = adata.uns["generator_rl"]["history"].tail(1)
    for ax in spr.pl.training_history(adata, show=False):
        assert all(line.get_marker() == "o" for line in curves(ax).values())


def test_panels_in_the_order_asked_for(long_run):
    axes = spr.pl.training_history(long_run, panels=["spread", "reward"], show=False)
    assert [ax.get_title() for ax in axes] == ["Spread of the cells", "Reward"]
    with pytest.raises(ValueError, match="'reward'"):
        spr.pl.training_history(long_run, panels="rewards")


def test_somebody_elses_axes_keep_both_legends(long_run):
    _, ax = plt.subplots()
    spr.pl.training_history(long_run, panels="reward", ax=ax)
    legends = [child for child in ax.get_children() if type(child).__name__ == "Legend"]
    labels = [[text.get_text() for text in legend.get_texts()] for legend in legends]
    assert sorted(labels) == [
        ["Cells of this round ± sd", "Check, always the same noise", "Check, conditions not rewarded"],
        ["Kept state, iteration 50", "Alarm: spread, validation energy"],
    ]


def test_nothing_is_cut_off(long_run, inside):
    assert inside(spr.pl.training_history(long_run, return_fig=True))
    assert inside(spr.pl.training_history(long_run, key="generator", return_fig=True))
