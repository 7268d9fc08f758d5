from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl.flow.training import fit
from scperturbrl.rl import finetuner
from scperturbrl.rl.rules import nft

SMALL = {"width": 16, "n_latent": 6, "n_blocks": 1, "batch_size": 32, "progress": False}
RL = {"n_iterations": 12, "n_conditions": 2, "group_size": 4, "energy_steps": 1, "progress": False}


def finite(record):
    return all(np.isfinite(v).all() for name, v in record["weights"].items() if name != "observation.max_log_rate")


def broken(original, calls, bad):
    """A loss that is NaN at the calls numbered in `bad`."""

    def loss(*arguments, **options):
        calls.append(1)
        value = original(*arguments, **options)
        return value * math.nan if len(calls) in bad else value

    return loss


def test_single_bad_training_steps_are_left_out_and_told(toy, monkeypatch):
    monkeypatch.setattr(fit, "flow_matching_loss", broken(fit.flow_matching_loss, [], {5, 9}))
    with pytest.warns(
        UserWarning, match=r"2 training steps were left out .* first time it was the loss \(conditions '"
    ):
        spr.tl.fit_generator(toy, n_steps=60, **SMALL)
    found = toy.uns["generator"]["fitted"]
    assert found["skipped_steps"] == 2
    assert found["stopped"] == "all steps done"
    assert finite(toy.uns["generator"])
    assert np.isfinite(toy.uns["generator"]["history"]["loss"]).all()


def test_training_goes_back_then_stops_and_keeps_the_best(toy, monkeypatch):
    monkeypatch.setattr(fit, "flow_matching_loss", broken(fit.flow_matching_loss, [], set(range(150, 10**5))))
    with pytest.warns(UserWarning, match="6 training steps were left out"):
        spr.tl.fit_generator(toy, n_steps=400, **SMALL)
    found = toy.uns["generator"]["fitted"]
    assert found["stopped"].startswith("not finite: the loss (conditions '")
    assert found["best_step"] == 100
    assert finite(toy.uns["generator"])


def test_going_back_means_the_last_validation(toy, monkeypatch):
    seen = []
    original = fit.FitRun.note_loss

    def note(run, *arguments):
        original(run, *arguments)
        seen.append(run.weights.state()["parameters"])

    monkeypatch.setattr(fit.FitRun, "note_loss", note)
    bad = {104, 105, 106}
    # the validation after step 100 calls the loss as well
    monkeypatch.setattr(fit, "flow_matching_loss", broken(fit.flow_matching_loss, [], bad))
    with pytest.warns(UserWarning, match="3 training steps"):
        spr.tl.fit_generator(toy, n_steps=120, **SMALL)
    at_100, at_105 = seen[99], seen[104]
    assert all(map(torch.equal, at_100, at_105))
    assert not all(map(torch.equal, seen[101], at_105))


def test_training_that_never_was_finite_is_an_error_and_leaves_nothing(toy, monkeypatch):
    monkeypatch.setattr(fit, "flow_matching_loss", broken(fit.flow_matching_loss, [], set(range(10**5))))
    before = set(toy.uns)
    with pytest.raises(FloatingPointError, match=r"no good state.*6 steps left out.*the loss.*learning_rate"):
        spr.tl.fit_generator(toy, n_steps=60, **SMALL)
    assert set(toy.uns) == before


def test_a_learning_rate_without_bounds_is_told(toy):
    with pytest.raises(FloatingPointError, match=r"the (weight|loss|gradient)"):
        spr.tl.fit_generator(toy, n_steps=60, **SMALL, learning_rate=1e30)


@pytest.mark.parametrize(
    ("module", "part"),
    [(nft, "nft_loss"), (nft, "anchor_loss"), (finetuner, "anchor_loss"), (finetuner, "energy_distance")],
)
@pytest.mark.parametrize("guard", [True, False])
def test_bad_updates_are_left_out_and_told(fitted, monkeypatch, module, part, guard):
    monkeypatch.setattr(module, part, broken(getattr(module, part), [], {2}))
    with pytest.warns(UserWarning, match=r"1 updates were left out .* the loss \(conditions '"):
        spr.tl.rl_finetune(fitted, guard=guard, **RL)
    assert fitted.uns["generator_rl"]["fitted"]["skipped_steps"] == 1
    assert finite(fitted.uns["generator_rl"])


def test_post_training_goes_back_then_stops(fitted, monkeypatch):
    monkeypatch.setattr(finetuner, "energy_distance", broken(finetuner.energy_distance, [], set(range(1, 10**5))))
    with pytest.warns(UserWarning, match="updates were left out"):
        spr.tl.rl_finetune(fitted, **RL | {"reward_steps": 0})
    record = fitted.uns["generator_rl"]
    assert record["fitted"]["stopped"].startswith("not finite: the loss (conditions '")
    for name, value in record["weights"].items():
        np.testing.assert_array_equal(value, fitted.uns["generator"]["weights"][name])


def test_rounds_without_rewards_are_left_out_and_told(fitted, monkeypatch):
    original = finetuner.Finetuner._score
    monkeypatch.setattr(finetuner.Finetuner, "_score", lambda self, rollout: _spoilt(original(self, rollout)))
    with pytest.warns(UserWarning, match=r"left out .* the reward pearson_topk \(conditions '"):
        spr.tl.rl_finetune(fitted, verifiers=["pearson_topk"], **RL | {"energy_steps": 0})
    found = fitted.uns["generator_rl"]["fitted"]
    assert found["stopped"].startswith("not finite: the reward pearson_topk")
    assert found["skipped_steps"] == 6


def _spoilt(scores):
    return scores._replace(rewarded=torch.full_like(scores.rewarded, math.nan))


@pytest.mark.parametrize(("verb", "options"), [("fit_generator", {**SMALL, "n_steps": 30}), ("rl_finetune", RL)])
def test_out_of_memory_means_smaller_batches(fitted, monkeypatch, verb, options):
    module, name, size = (fit, "flow_matching_loss", 32) if verb == "fit_generator" else (finetuner, "roll_out", 2)
    original, sizes = getattr(module, name), []

    def small_device(*arguments, **options):
        n = len(arguments[1]) if verb == "fit_generator" else len(arguments[3])
        sizes.append(n)
        if n > size // 2 and sum(s == n for s in sizes) < 2 and n == size:
            msg = "CUDA out of memory. Tried to allocate 20.00 MiB."
            raise torch.OutOfMemoryError(msg)
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, small_device)
    with pytest.warns(UserWarning, match=rf"Out of memory: CUDA.*Continuing with {size // 2} c"):
        getattr(spr.tl, verb)(fitted, **options)
    assert size // 2 in sizes
    assert finite(fitted.uns["generator"])
