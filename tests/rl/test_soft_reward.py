from __future__ import annotations

import pytest
import torch

from scperturbrl.rl.advantage import condition_advantage
from scperturbrl.rl.soft_reward import SoftReward


def scored(world, reward):
    latent = world.task.real[:, :20].reshape(-1, 2).nan_to_num()
    index = torch.arange(3)
    cells = world.generator.space.decode(latent).clamp_min(0).view(3, 20, -1)
    return latent, index, reward(cells, index)


def test_it_is_the_advantage_up_to_a_constant_for_each_group(world, make_reward, make_verifier):
    reward = make_reward(make_verifier(0), make_verifier(1))
    latent, index, scores = scored(world, reward)
    soft = SoftReward.of_scores(reward, world.generator.space, index, scores)
    value = soft(latent).view(3, 20)
    advantage = condition_advantage(scores.rewarded, reward.verifier_weight)
    torch.testing.assert_close(value - value.mean(1, keepdim=True), advantage, atol=1e-4, rtol=1e-3)


def test_verifiers_without_gradients_are_left_out(world, make_reward, make_verifier):
    both = make_reward(make_verifier(0), make_verifier(1, differentiable=False))
    latent, index, scores = scored(world, both)
    latent = latent.clone().requires_grad_()
    SoftReward.of_scores(both, world.generator.space, index, scores)(latent).sum().backward()
    slope = latent.grad.abs().sum(0)
    assert slope[0] > 10 * slope[1]
    none = make_reward(make_verifier(0, differentiable=False))
    assert SoftReward.of_scores(none, world.generator.space, index, scored(world, none)[2]) is None


def leaves_torch(cells, reference):
    return torch.as_tensor(cells.numpy()[..., 0])


def test_a_verifier_without_gradients_may_leave_torch(world, make_reward, make_verifier):
    both = make_reward(make_verifier(0), make_verifier(1, score=leaves_torch, differentiable=False))
    latent, index, scores = scored(world, both)
    latent = latent.clone().requires_grad_()
    SoftReward.of_scores(both, world.generator.space, index, scores)(latent).sum().backward()
    assert latent.grad.abs().sum() > 0


def test_one_that_leaves_torch_in_silence_is_told_what_to_do(world, make_reward, make_verifier):
    reward = make_reward(make_verifier(0, score=leaves_torch))
    latent, index, scores = scored(world, reward)
    with pytest.raises(RuntimeError, match=r"coordinate_0.*differentiable=False"):
        SoftReward.of_scores(reward, world.generator.space, index, scores)(latent.clone().requires_grad_())
