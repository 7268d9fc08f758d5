from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr


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
    for key, other in (("generator", {"step"}), ("generator_rl", {"iteration", "reward_sd"})):
        history = adata.uns[key]["history"]
        columns = set(history.columns) - other
        assert len(spr.get.training_history(adata, key=key)) == len(columns) * len(history)


def test_missing_generator_names_the_verb(bare):
    with pytest.raises(KeyError, match=r"tl\.rl_finetune\(adata\)"):
        spr.get.training_history(bare)
    with pytest.raises(KeyError, match=r"tl\.fit_generator\(adata, key_added='mine'\)"):
        spr.get.training_history(bare, key="mine")


def test_empty_history(adata):
    adata.uns["generator"]["history"] = adata.uns["generator"]["history"].iloc[:0]
    with pytest.raises(KeyError, match="empty history"):
        spr.get.training_history(adata, key="generator")
