from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import zscore

from scperturbrl.rl.advantage import condition_advantage

SEEDS = st.integers(0, 2**32 - 1)
QUICK = settings(max_examples=40, deadline=None)


def scores(seed, *, C=4, n=6, V=3):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(C, n, V)) * rng.uniform(0.5, 2, (C, 1, V)) + rng.normal(size=(C, 1, V))
    return torch.tensor(values), torch.tensor(rng.uniform(0.2, 2, (C, V)))


@QUICK
@given(seed=SEEDS)
def test_it_is_the_weighted_mean_of_standard_scores(seed):
    rewarded, weight = scores(seed)
    expected = np.average(zscore(rewarded, axis=1, ddof=1), axis=2, weights=np.tile(weight.numpy()[:, None], (1, 6, 1)))
    np.testing.assert_allclose(condition_advantage(rewarded, weight, floor=0.0), expected, atol=1e-8)


@QUICK
@given(seed=SEEDS, floor=st.floats(0, 2))
def test_groups_sum_to_zero(seed, floor):
    rewarded, weight = scores(seed)
    advantage = condition_advantage(rewarded, weight, floor=floor, clip=1e9)
    np.testing.assert_allclose(advantage.sum(1), 0, atol=1e-9)


@QUICK
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), shift=st.floats(-50, 50), verifier=st.integers(0, 2))
def test_scale_and_level_of_a_verifier_do_not_matter(seed, scale, shift, verifier):
    rewarded, weight = scores(seed)
    changed = rewarded.clone()
    changed[..., verifier] = changed[..., verifier] * scale + shift
    np.testing.assert_allclose(condition_advantage(changed, weight), condition_advantage(rewarded, weight), atol=1e-6)


@QUICK
@given(seed=SEEDS, other=st.floats(-1e3, 1e3))
def test_a_verifier_without_weight_is_ignored(seed, other):
    rewarded, weight = scores(seed)
    weight[:, 1] = 0
    expected = condition_advantage(rewarded[..., [0, 2]], weight[:, [0, 2]])
    for spoilt in (other, torch.nan, torch.inf):
        changed = rewarded.clone()
        changed[..., 1] = spoilt
        np.testing.assert_allclose(condition_advantage(changed, weight), expected, atol=1e-12)


@QUICK
@given(seed=SEEDS, row=st.integers(0, 3), cell=st.integers(0, 5))
def test_cells_without_a_score_are_ignored(seed, row, cell):
    rewarded, _ = scores(seed, V=1)
    weight = torch.ones(4, 1, dtype=torch.float64)
    rewarded[row, cell] = torch.nan
    advantage = condition_advantage(rewarded, weight, floor=0.0)
    assert advantage[row, cell] == 0
    others = np.delete(rewarded[row, :, 0].numpy(), cell)
    np.testing.assert_allclose(np.delete(advantage[row].numpy(), cell), zscore(others, ddof=1), atol=1e-8)


@pytest.mark.parametrize("level", [0.0, 3.7, -1e4])
def test_a_group_without_spread_has_none(level):
    rewarded, weight = scores(0, V=2)
    rewarded[1] = level
    advantage = condition_advantage(rewarded, weight)
    np.testing.assert_allclose(advantage[1], 0, atol=1e-6)
    assert (advantage[0] != 0).all()


def test_differences_far_below_the_usual_are_not_blown_up():
    rewarded, weight = scores(1, V=1)
    rewarded[2] = rewarded[2] * 1e-4
    advantage = condition_advantage(rewarded, weight, floor=0.1)
    assert advantage[2].abs().max() < 0.02
    assert advantage[0].abs().max() > 0.5


def test_it_is_clipped():
    rewarded = torch.zeros(1, 60, 1)
    rewarded[0, 0] = 1
    assert condition_advantage(rewarded, torch.ones(1, 1), clip=3.0).max() == 3
    assert condition_advantage(rewarded, torch.ones(1, 1), clip=30.0).max() > 7


def test_groups_that_nothing_can_judge_have_none():
    rewarded, weight = scores(2)
    weight[1] = 0
    rewarded[3] = torch.nan
    advantage = condition_advantage(rewarded, weight)
    assert (advantage[[1, 3]] == 0).all()
    assert torch.isfinite(advantage).all()


def test_a_group_of_one_has_none():
    assert condition_advantage(torch.tensor([[[2.0]]]), torch.ones(1, 1)).item() == 0
