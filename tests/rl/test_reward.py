from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture
def cells():
    return 5 + torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(0))


def nan_verifier(make_verifier):
    return make_verifier(name="silent", score=lambda cells, reference: torch.full(cells.shape[:2], torch.nan))


@pytest.mark.parametrize("calibrated", [True, False])
def test_scores_are_stacked_and_calibrated(make_reward, make_verifier, world, cells, calibrated):
    reward = make_reward(make_verifier(0), make_verifier(1), calibrated=calibrated, weights=[1.0, 3.0])
    scores = reward(cells, torch.tensor([2, 0]))
    raw = (cells - 5).numpy() @ world.generator.space.components.numpy()
    np.testing.assert_allclose(scores.raw, raw, atol=1e-5)
    position = np.clip(raw / 2, -1, 1)
    np.testing.assert_allclose(scores.rewarded, position if calibrated else raw, atol=1e-5)
    np.testing.assert_allclose(scores.reward, np.average(position, axis=2, weights=[1, 3]), atol=1e-5)


def test_conditions_that_no_verifier_can_judge_are_told(make_reward, make_verifier, cells):
    reward = make_reward(
        make_verifier(0), make_verifier(1), weight=[[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]], weights=[1.0, 2.0]
    )
    assert reward.informative().tolist() == [True, False, True]
    np.testing.assert_allclose(reward.verifier_weight, [[1, 0], [0, 0], [1, 2]])
    found = reward(cells, torch.tensor([0, 1]))
    np.testing.assert_allclose(found.reward[0], found.rewarded[0, :, 0], atol=1e-6)
    assert found.reward[1].isnan().all()


def test_a_verifier_without_weight_may_be_silent(make_reward, make_verifier, cells):
    reward = make_reward(make_verifier(0), nan_verifier(make_verifier), weight=[[1.0, 0.0]] * 3)
    assert torch.isfinite(reward(cells, torch.tensor([0, 1])).reward).all()


def test_a_verifier_with_weight_that_is_silent_leaves_no_reward(make_reward, make_verifier, cells):
    reward = make_reward(make_verifier(0), nan_verifier(make_verifier))
    assert reward(cells, torch.tensor([0, 1])).reward.isnan().all()
