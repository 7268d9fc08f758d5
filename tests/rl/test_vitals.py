from __future__ import annotations

import copy
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.stats import sem

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.path import GAUSSIAN, sample_path
from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.rl.evidence import Judge
from scperturbrl.rl.vitals import VitalSigns


@pytest.fixture
def signs(world):
    pretrained = copy.deepcopy(world.generator).requires_grad_(requires_grad=False)
    return VitalSigns(pretrained, world.task, world.validation, world.reward, seed=0)


def test_the_pretrained_generator_is_the_standard(world, signs):
    vitals = signs.measure(world.generator)
    assert vitals.spread == 1
    assert vitals.drift == 0
    assert vitals.energy == Yardstick(world.task).measure(world.generator, seed=0)
    assert vitals.validation_energy == Yardstick(world.validation).measure(world.generator, seed=0)


def test_the_same_generator_is_measured_the_same(world, signs):
    found, again = (asdict(signs.measure(one)) for one in (world.generator, copy.deepcopy(world.generator)))
    # equal also where both are NaN
    np.testing.assert_equal(found, again)


def test_reward_is_the_mean_calibrated_one(world, signs):
    rollout = signs.train.roll_out(world.generator, seed=0)
    coordinate = world.generator.space.encode(rollout.cells[0])[..., 0].numpy()
    expected = np.clip(coordinate / 2, -1, 1).mean()
    assert signs.measure(world.generator).reward == pytest.approx(expected, abs=1e-4)


def test_a_constant_shift_of_the_velocity_is_its_drift(world, signs):
    rollout = signs.train.roll_out(world.generator, seed=0)
    with torch.no_grad():
        world.generator.velocity.outlet.bias.add_(torch.tensor([0.3, 0.0]))
    moved = signs.measure(world.generator)
    # the drift is measured at points of the moved generator's own cells
    own = signs.train.roll_out(world.generator, seed=0)
    scale = sample_path(own.latent, own.control.latent, GAUSSIAN, torch_rng(0, "drift")).velocity.square().mean().item()
    assert moved.drift == pytest.approx(0.3**2 / 2 / scale, rel=1e-4)
    assert (own.latent - rollout.latent)[:, 0].mean().item() == pytest.approx(0.3, abs=0.1)
    assert moved.spread == pytest.approx(1, abs=0.1)
    assert moved.energy > signs.measure(signs.pretrained).energy


def test_spread_is_relative_to_the_pretrained_one(world, signs):
    rollout = [signs.train.roll_out(signs.pretrained, seed=0)]
    with torch.no_grad():
        world.generator.velocity.outlet.weight.mul_(1.15)
    rollout.append(signs.train.roll_out(world.generator, seed=0))
    spread = [
        np.sqrt(world.generator.space.encode(each.cells[0]).numpy().var(1, ddof=1).sum(-1)).mean() for each in rollout
    ]
    assert signs.measure(world.generator).spread == pytest.approx(spread[1] / spread[0], rel=1e-4)
    assert spread[1] != pytest.approx(spread[0], rel=0.02)


def test_without_validation_conditions_their_distance_is_unknown(world):
    signs = VitalSigns(world.generator, world.task, None, world.reward, seed=0)
    vitals = signs.measure(world.generator)
    assert math.isnan(vitals.validation_energy)
    assert math.isfinite(vitals.energy)


def test_the_error_is_that_of_the_mean_change_over_conditions(world, signs):
    before = signs.train.energies(signs.pretrained, signs.train.roll_out(signs.pretrained, seed=0))
    with torch.no_grad():
        world.generator.velocity.outlet.bias.add_(torch.tensor([0.3, 0.0]))
    change = (signs.train.energies(world.generator, signs.train.roll_out(world.generator, seed=0)) - before).numpy()
    vitals = signs.measure(world.generator)
    assert vitals.energy_error == pytest.approx(sem(change), rel=1e-4)
    assert vitals.energy_error > 0
    assert signs.measure(signs.pretrained).energy_error == 0


def test_one_condition_has_no_error(world):
    one = replace(world.task, conditions=world.task.conditions, real=world.task.real.clone())
    one.real[1:] = torch.nan
    signs = VitalSigns(copy.deepcopy(world.generator), one, None, world.reward, seed=0)
    with torch.no_grad():
        world.generator.velocity.outlet.bias.add_(torch.tensor([0.3, 0.0]))
    vitals = signs.measure(world.generator)
    assert (vitals.energy_error, vitals.validation_error) == (0, 0)
    assert vitals.energy > signs.measure(signs.pretrained).energy


def test_gain_and_rise_are_those_of_conditions_that_are_not_rewarded(world):
    apart = torch.tensor([0, 2])
    signs = VitalSigns(copy.deepcopy(world.generator), world.task, None, world.reward, seed=0, left_out=apart)
    assert signs.train.index.tolist() == [1]
    assert signs.judged == "2 left-out conditions that were not rewarded"
    start = signs.measure(world.generator)
    assert (start.gain, start.rise) == (0, 0)
    own = Yardstick(world.task, apart)
    made = [own.roll_out(world.generator, seed=0)]
    with torch.no_grad():
        world.generator.velocity.outlet.bias.add_(torch.tensor([0.3, 0.0]))
    made.append(own.roll_out(world.generator, seed=0))
    rewards = [world.reward(one.cells[0], apart).reward.mean(1) for one in made]
    energies = [own.energies(world.generator, one) for one in made]
    vitals, gains = signs.measure(world.generator), (rewards[1] - rewards[0]).numpy()
    assert vitals.unrewarded == pytest.approx(float(rewards[1].mean()), rel=1e-4)
    assert vitals.gain == pytest.approx(gains.mean(), rel=1e-4)
    assert vitals.gain_error == pytest.approx(sem(gains) * 1.8373, rel=1e-3)
    assert vitals.rise == pytest.approx(float((energies[1] - energies[0]).mean()), rel=1e-4)
    assert vitals.rise_error == pytest.approx(sem((energies[1] - energies[0]).numpy()), rel=1e-4)


def test_validation_and_left_out_conditions_are_pooled(world):
    judge = Judge(world.reward, torch.tensor([0]))
    signs = VitalSigns(
        copy.deepcopy(world.generator),
        world.task,
        world.validation,
        world.reward,
        seed=0,
        judge=judge,
        left_out=torch.tensor([1]),
    )
    assert signs.judged == "1 validation and 1 left-out conditions that were not rewarded"
    assert np.isfinite(signs.measure(world.generator).gain)


def test_one_condition_cannot_tell(world):
    signs = VitalSigns(
        copy.deepcopy(world.generator), world.task, None, world.reward, seed=0, left_out=torch.tensor([1])
    )
    assert signs.judged == ""
    assert math.isnan(signs.measure(world.generator).gain)
