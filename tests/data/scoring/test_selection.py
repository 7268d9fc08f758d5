from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scperturbrl.data.scoring.selection import best_of, effective_share, resample, selection_cost


@settings(deadline=None, max_examples=30)
@given(m=st.integers(1, 60), n=st.integers(1, 8), seed=st.integers(0, 999))
def test_one_in_n_is_kept_once_each(m, n, seed):
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=m)
    for kept in (best_of(reward, n, rng), resample(reward, n, 0.5, rng)):
        assert len(kept) == len(set(kept)) == -(-m // n)
        assert kept.min() >= 0
        assert kept.max() < m


def test_best_of_n_has_the_mean_of_the_largest_of_n():
    rng = np.random.default_rng(0)
    reward = rng.normal(size=40_000)
    expected = rng.normal(size=(200_000, 4)).max(1).mean()
    assert reward[best_of(reward, 4, rng)].mean() == pytest.approx(expected, abs=0.02)


def test_resampling_few_of_many_follows_the_odds():
    rng = np.random.default_rng(0)
    reward = np.repeat([0.0, 1.0], 5000)
    kept = np.concatenate([resample(reward, 500, 0.5, rng) for _ in range(50)])
    odds = np.exp(1 / 0.5)
    assert (reward[kept] == 1).mean() == pytest.approx(odds / (1 + odds), abs=0.03)


def test_cells_without_reward_come_last():
    rng = np.random.default_rng(0)
    reward = np.where(np.arange(40) < 20, np.nan, 1.0)
    kept = [best_of(reward, 4, rng) for _ in range(50)]
    # a hand of four without any reward is rare but possible
    assert np.mean([np.isnan(reward[k]).mean() for k in kept]) < 0.15
    nothing = np.full(8, np.nan)
    assert len(best_of(nothing, 4, rng)) == len(resample(nothing, 4, 1.0, rng)) == 2


def test_the_effective_share_is_that_of_known_weights():
    weight = np.array([1.0, 2.0, 5.0])
    expected = weight.sum() ** 2 / (weight**2).sum() / 3
    assert effective_share(0.3 * np.log(weight), 0.3) == pytest.approx(expected)
    assert effective_share(np.zeros(7), 1.0) == 1
    assert effective_share(np.full(3, np.nan), 1.0) == 1


def test_selection_of_the_middle_costs_spread():
    rng = np.random.default_rng(0)
    cells = np.abs(rng.normal(3, 1, size=(400, 5))).astype(np.float32)
    far = np.linalg.norm(cells - cells.mean(0), axis=1)
    rows = np.arange(400)
    middle = selection_cost(lambda r: cells[r], rows, np.argsort(far)[:100])
    chance = selection_cost(lambda r: cells[r], rows, rng.permutation(400)[:100])
    assert middle["spread_ratio"] < 0.6
    assert middle["variance_ratio"] < 0.4
    assert chance["spread_ratio"] == pytest.approx(1, abs=0.08)
    assert chance["variance_ratio"] == pytest.approx(1, abs=0.2)
