from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.rl.rollout import ControlPool, roll_out


def run(world, index=(0, 2), **options):
    arguments = {"group_size": 5, "draws": 2, "rng": torch_rng(0)} | options
    return roll_out(world.generator, world.task.pool, world.task.conditions, torch.tensor(index), **arguments)


def test_control_cells_come_from_the_run_of_the_condition():
    pool = ControlPool(
        latent=torch.arange(10.0)[:, None],
        unit=torch.arange(10.0) / 10,
        start=torch.tensor([0, 3, 9]),
        count=torch.tensor([3, 6, 1]),
    ).to("cpu")
    latent, unit = pool.draw(torch.tensor([1, 2, 0]), 300, torch_rng(0))
    assert latent.shape == (900, 1)
    np.testing.assert_allclose(unit, latent[:, 0] / 10)
    groups = [set(part.long().flatten().tolist()) for part in latent.split(300)]
    assert groups == [set(range(3, 9)), {9}, {0, 1, 2}]


def test_shapes_and_rows(world):
    rollout = run(world)
    assert rollout.latent.shape == rollout.control.shape == (10, 2)
    assert rollout.cells.shape == (2, 2, 5, 8)
    assert rollout.rows.tolist() == [0] * 5 + [2] * 5
    assert not rollout.cells.requires_grad


def test_cells_are_of_their_condition(world):
    with torch.no_grad():
        rollout = run(world, index=(2, 0), group_size=400)
    shown = world.generator.space.encode(rollout.cells[0])
    np.testing.assert_allclose(shown.mean(1), [[-1.0, 0.5], [1.0, 0.0]], atol=0.2)
    np.testing.assert_allclose(shown.reshape(-1, 2), rollout.latent, atol=0.15)


def test_draws_are_fresh_counts_of_the_same_latent_cells(world):
    with torch.no_grad():
        rollout = run(world, draws=3)
    assert not torch.equal(rollout.cells[0], rollout.cells[1])
    encoded = world.generator.space.encode(rollout.cells)
    assert (encoded - rollout.latent.view(2, 5, 2)).abs().max() < 0.3


def test_the_sampler_is_the_generators_own(world):
    with torch.no_grad():
        rollout, rng = run(world), torch_rng(0)
        control, _ = world.task.pool.draw(torch.tensor([0, 2]), 5, rng)
        latent = world.generator.sample_latent(control, world.task.conditions, rollout.rows, rng)
    assert torch.equal(latent, rollout.latent)


@pytest.mark.parametrize("grad_steps", [1, 3])
def test_cells_carry_a_gradient_if_asked_to(world, grad_steps):
    world.generator.zero_grad()
    rollout = run(world, grad_steps=grad_steps)
    rollout.cells.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in world.generator.network_parameters())
    assert any(p.grad.abs().max() > 0 for p in world.generator.encoder.parameters())
