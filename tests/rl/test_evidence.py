from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.rl.evidence import Evidence, Judge, left_out, standard_error, wide_error
from scperturbrl.verifiers.calibration import calibrate


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_the_error_of_few_values_is_wider_as_student_asks(n):
    values = torch.randn(n, generator=torch.Generator().manual_seed(n))
    plain = stats.sem(values.numpy())
    assert standard_error(values) == pytest.approx(plain, rel=1e-5)
    # one standard deviation on one side
    assert wide_error(values) == pytest.approx(plain * stats.t.ppf(stats.norm.cdf(1), n - 1), rel=1e-5)


def test_one_value_has_no_error_to_beat():
    assert standard_error(torch.ones(1)) == 0
    assert np.isnan(wide_error(torch.ones(1)))


def test_rewards_are_means_of_the_cells_of_each_condition(world):
    yardstick = Yardstick(world.task)
    found = Evidence.of(yardstick, Judge(world.reward, torch.arange(3)))
    rollout = yardstick.roll_out(world.generator, seed=0)
    expected = world.reward(rollout.cells[0], yardstick.index).reward.mean(1)
    torch.testing.assert_close(found.rewards(rollout), expected)


def test_the_conditions_of_the_judge_may_stand_in_another_order(world, make_reward, make_verifier):
    yardstick = Yardstick(world.task)
    rollout = yardstick.roll_out(world.generator, seed=0)
    # the first condition of the judge is the third of the task; its second cannot be judged
    judge = Judge(make_reward(make_verifier(), weight=[[1.0], [0.0], [1.0]]), torch.tensor([2, 1, 0]))
    found = Evidence.of(yardstick, judge)
    assert (found.place.tolist(), found.rows.tolist()) == ([0, 2], [2, 0])
    own = judge.reward(rollout.cells[0][[0, 2]], torch.tensor([2, 0])).reward.mean(1)
    torch.testing.assert_close(found.rewards(rollout), own)


def test_conditions_whose_cells_do_not_come_from_the_flow_are_no_evidence(world):
    moved = replace(world.task, conditions=replace(world.task.conditions, translated=torch.tensor([True, False, True])))
    assert Evidence.of(Yardstick(moved), Judge(world.reward, torch.arange(3))).place.tolist() == [1]


def many(world, make_reward, make_verifier, n):
    index = torch.arange(n) % 3
    real = world.task.real[index]
    reward = world.reward
    wide = replace(reward, reference=reward.reference.select(index), calibration=reward.calibration.select(index))
    return replace(world.task, conditions=world.task.conditions.select(index), real=real), wide


@pytest.mark.parametrize(
    ("n", "judged", "count"), [(3, 0, 0), (3, 1, 1), (6, 0, 2), (30, 0, 4), (30, 2, 4), (30, 3, 0), (2, 0, 0)]
)
def test_few_conditions_are_left_out_and_only_where_validation_does_not_suffice(
    world, make_reward, make_verifier, n, judged, count
):
    task, reward = many(world, make_reward, make_verifier, n)
    found = left_out(task, reward, judged, seed=0)
    assert len(found) == count
    assert found.tolist() == sorted(set(found.tolist()))
    assert torch.equal(found, left_out(task, reward, judged, seed=0))


def test_only_conditions_that_can_be_judged_and_measured_are_left_out(world, make_reward, make_verifier):
    task, reward = many(world, make_reward, make_verifier, 12)
    real, weight = task.real.clone(), reward.calibration.weight.clone()
    real[:3], weight[9:] = torch.nan, 0
    reward = replace(reward, calibration=replace(reward.calibration, weight=weight))
    found = [left_out(replace(task, real=real), reward, 0, seed=seed).tolist() for seed in range(20)]
    assert {row for one in found for row in one} <= set(range(3, 9))
    assert {len(one) for one in found} == {2}


def test_a_rise_beyond_real_cells_is_no_gain(world):
    yardstick = Yardstick(world.task)
    free = Evidence.of(yardstick, Judge(world.reward, torch.arange(3)))
    rollout = yardstick.roll_out(world.generator, seed=0)
    rewards = free.rewards(rollout)
    real = rewards + torch.tensor([-0.1, 0.1, torch.nan])
    capped = Evidence.of(yardstick, Judge(world.reward, torch.arange(3), real[:, None]))
    expected = rewards + torch.tensor([-0.1, 0.0, 0.0])
    torch.testing.assert_close(capped.rewards(rollout), expected)


def test_one_verifier_beyond_real_cells_does_not_make_up_for_another(world, make_reward, make_verifier):
    yardstick = Yardstick(world.task)
    rollout = yardstick.roll_out(world.generator, seed=0)
    reward = make_reward(make_verifier(), make_verifier(), weight=[[1.0, 1.0]] * 3)
    own = calibrate(reward(rollout.cells[0], yardstick.index).raw, reward.calibration).nanmean(1)
    real = own + torch.tensor([-0.2, 0.3])
    found = Evidence.of(yardstick, Judge(reward, torch.arange(3), real)).rewards(rollout)
    torch.testing.assert_close(found, own.mean(1) - 0.1)
