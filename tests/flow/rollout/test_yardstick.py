from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.metrics import energy_distance


def real_cells(task, i):
    return task.real[i][torch.isfinite(task.real[i]).all(1)].numpy()


def test_the_effect_is_the_distance_of_real_and_control_cells(world):
    expected = [energy_distance(world.task.pool.latent.numpy(), real_cells(world.task, i)) for i in range(3)]
    assert Yardstick(world.task).effect == pytest.approx(np.mean(expected), rel=1e-4)


def test_energy_is_a_share_of_the_effect(world):
    yardstick = Yardstick(world.task)
    rollout = yardstick.roll_out(world.generator, seed=3)
    cells = world.generator.space.encode(rollout.cells[0]).numpy()
    expected = np.mean([energy_distance(cells[i], real_cells(world.task, i)) for i in range(3)]) / yardstick.effect
    assert float(yardstick.energies(world.generator, rollout).mean()) == pytest.approx(expected, abs=1e-4)
    assert yardstick.measure(world.generator, seed=3) == pytest.approx(expected, abs=1e-4)
    assert expected < 0.1


def test_the_same_seed_gives_the_same_cells(world):
    yardstick = Yardstick(world.task)
    cells = [yardstick.roll_out(world.generator, seed=seed).cells for seed in (1, 1, 2)]
    assert torch.equal(cells[0], cells[1])
    assert not torch.equal(cells[0], cells[2])


def test_a_condition_without_effect_does_not_divide_by_zero(world):
    rng = torch_rng(0, "test")
    real = 0.5 * torch.randn(3, 200, 2, generator=rng)
    pool = replace(world.task.pool, latent=0.5 * torch.randn(200, 2, generator=rng))
    assert 1e-3 <= Yardstick(replace(world.task, real=real, pool=pool)).effect < 0.02


@pytest.mark.parametrize("count", [1, 24, 25, 100])
def test_at_most_24_conditions_from_first_to_last_are_looked_at(world, count):
    conditions = world.task.conditions.select(torch.zeros(count, dtype=torch.long))
    runs = {"start": torch.zeros(count).long(), "count": torch.full((count,), 200), "depth": torch.ones(count)}
    pool = replace(world.task.pool, **runs)
    index = Yardstick(
        replace(world.task, conditions=conditions, pool=pool, real=world.task.real[:1].expand(count, -1, -1))
    ).index
    assert len(index) == min(count, 24)
    assert (index[0], index[-1]) == (0, count - 1)
    assert (index.diff() > 0).all()


def test_only_some_conditions_may_be_chosen_from(world):
    assert Yardstick(world.task, torch.tensor([0, 2])).index.tolist() == [0, 2]


def test_a_held_mean_moves_only_as_far_as_the_linear_part_lets_it(world):
    # of what the flow moves the linear part takes back nothing, half and all
    held = replace(world.task, held=torch.tensor([0.0, 0.5, 1.0]))
    sides = [Yardstick(world.task), Yardstick(held)]
    sides[1].hold(world.generator, seed=0)
    means = lambda: [
        world.generator.space.encode(side.roll_out(world.generator, seed=0).cells[0]).mean(1).numpy() for side in sides
    ]
    before = means()
    np.testing.assert_allclose(before[0], before[1], atol=1e-6)
    with torch.no_grad():
        world.generator.velocity.outlet.bias.add_(torch.tensor([1.0, 0.0]))
    free, own = (after - start for after, start in zip(means(), before, strict=True))
    assert (free[:, 0] > 0.5).all()
    np.testing.assert_allclose(own, free * np.array([[1.0], [0.5], [0.0]]), atol=0.03)
