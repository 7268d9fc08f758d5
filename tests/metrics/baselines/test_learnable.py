from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.metrics.baselines.learnable import SHARES, learnable_shares

N, D = 40, 15


def of_mean(effects):
    """Predict the mean response of the others, and no departure from it."""
    return lambda train, left_out: (effects[train].mean(0), np.zeros((len(left_out), effects.shape[1])))


def test_what_all_perturbations_share_is_predicted_in_full():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=D) * 3 + 0.1 * rng.normal(size=(N, D))
    found = learnable_shares(effects, of_mean(effects))
    assert (found.mean, found.departure) == (1.0, 0.0)
    assert found.r2 > 0.99
    assert found.error == pytest.approx(0.1**2 * D * (1 + 1 / (N - 1)), rel=0.3)


def test_nothing_is_predicted_where_nothing_can_be_learnt():
    effects = np.random.default_rng(1).normal(size=(N, D))
    found = learnable_shares(effects, of_mean(effects))
    assert (found.mean, found.departure, found.r2) == (0.0, 0.0, 0.0)
    assert found.error == pytest.approx(np.square(effects).sum(1).mean())


def test_a_response_of_a_few_is_not_forced_on_the_many_without_one():
    rng = np.random.default_rng(2)
    effects = 0.05 * rng.normal(size=(N, D))
    effects[: N // 4] += 4.0
    # the mean response would lower the mean error, at the cost of three quarters of the perturbations
    assert learnable_shares(effects, of_mean(effects)).mean == 0


@pytest.mark.parametrize("truth", SHARES)
def test_departures_are_taken_as_far_as_they_are_right(truth):
    rng = np.random.default_rng(3)
    told = rng.normal(size=(N, D))
    effects = truth * told + 0.05 * rng.normal(size=(N, D))
    leave_out = lambda train, left_out: (np.zeros(D), told[left_out])
    assert learnable_shares(effects, leave_out).departure == truth


def test_a_perturbation_never_tells_its_own_effect():
    effects, seen = np.zeros((45, D)), []
    leave_out = lambda train, left_out: seen.append((train, left_out)) or (np.zeros(D), np.zeros((len(left_out), D)))
    learnable_shares(effects, leave_out)
    assert all(not np.intersect1d(*pair).size for pair in seen)
    assert sorted(np.concatenate([left_out for _, left_out in seen])) == list(range(45))
