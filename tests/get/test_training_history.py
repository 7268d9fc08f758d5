from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr

ERRORS = ("check_energy_error", "check_validation_error")
CHANGES = {"check_gain", "check_gain_error", "check_rise", "check_rise_error"}


def series(frame, panel, name):
    return frame[(frame["panel"] == panel) & (frame["series"] == name)]


def test_fit_is_the_stored_history(adata):
    history = adata.uns["generator"]["history"]
    frame = spr.get.training_history(adata, key="generator")
    for column, panel, name in (
        ("loss", "loss", "training"),
        ("validation_loss", "loss", "validation"),
        ("validation_energy", "energy", "training and validation"),
    ):
        part = series(frame, panel, name)
        np.testing.assert_allclose(part["value"], history[column])
        np.testing.assert_array_equal(part["step"], history["step"])
    assert frame["sd"].isna().all()


def test_post_training_is_the_stored_history(adata):
    history = adata.uns["generator_rl"]["history"]
    frame = spr.get.training_history(adata)
    for column, panel, name in (
        ("reward", "reward", "rollout"),
        ("check_reward", "reward", "check"),
        ("distance", "rollout_drift", "rollout"),
        ("check_drift", "drift", "check"),
        ("check_energy", "energy", "training"),
        ("check_validation_energy", "energy", "validation"),
        ("check_spread", "spread", "check"),
        *((name, "verifiers", name) for name in spr.verifiers.DEFAULT),
    ):
        np.testing.assert_allclose(series(frame, panel, name)["value"], history[column])
    np.testing.assert_allclose(series(frame, "reward", "rollout")["sd"], history["reward_sd"])
    assert frame["sd"].notna().sum() == len(history)


def test_every_column_of_the_history_is_in_the_frame(adata):
    for key, other in (("generator", {"step"}), ("generator_rl", {"iteration", "reward_sd", *ERRORS, *CHANGES})):
        history = adata.uns[key]["history"]
        frame = spr.get.training_history(adata, key=key)
        shown = {"reward", "distance", *spr.verifiers.DEFAULT}
        columns = {name for name in set(history.columns) - other if "loss" in name or "check_" in name or name in shown}
        columns |= {name for name in history.columns if name == "validation_energy"}
        assert len(frame[frame["panel"] != "proxy_gold"]) == len(columns) * len(history)


def test_proxy_is_the_reward_and_gold_the_likeness_to_unrewarded_cells(adata):
    history = adata.uns["generator_rl"]["history"]
    frame = spr.get.training_history(adata)
    np.testing.assert_allclose(series(frame, "proxy_gold", "proxy")["value"], history["check_reward"])
    gold = 1 - history["check_validation_energy"]
    np.testing.assert_allclose(series(frame, "proxy_gold", "gold")["value"], gold)
    adata.uns["generator_rl"]["history"] = history.assign(check_validation_energy=np.nan)
    again = spr.get.training_history(adata)
    np.testing.assert_allclose(series(again, "proxy_gold", "gold")["value"], 1 - history["check_energy"])


def test_a_column_that_is_no_verifier_is_not_taken_for_one(adata):
    adata.uns["generator_rl"]["history"] = adata.uns["generator_rl"]["history"].assign(seconds=1.0)
    frame = spr.get.training_history(adata)
    assert "seconds" not in set(frame["series"])


def test_missing_generator_names_the_verb(bare):
    with pytest.raises(KeyError, match=r"tl\.fit_generator\(adata"):
        spr.get.training_history(bare)
    with pytest.raises(KeyError, match=r"tl\.fit_generator\(adata, key_added='mine'\)"):
        spr.get.training_history(bare, key="mine")


def test_empty_history(adata):
    adata.uns["generator"]["history"] = adata.uns["generator"]["history"].iloc[:0]
    with pytest.raises(KeyError, match="empty history"):
        spr.get.training_history(adata, key="generator")
