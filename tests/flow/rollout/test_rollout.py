from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.rollout.rollout import finish, roll_out


def run(world, index=(0, 2), **options):
    arguments = {"group_size": 5, "draws": 2, "rng": torch_rng(0, "test")} | options
    return roll_out(world.generator, world.task.pool, world.task.conditions, torch.tensor(index), **arguments)


def test_shapes_and_rows(world):
    rollout = run(world)
    assert rollout.latent.shape == rollout.control.latent.shape == (10, 2)
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
        rollout, rng = run(world), torch_rng(0, "test")
        control, _ = world.task.pool.draw(torch.tensor([0, 2]), 5, rng)
        latent = world.generator.sample_latent(control.latent, world.task.conditions, rollout.rows, rng)
    torch.testing.assert_close(latent, rollout.latent)


def test_the_last_step_can_be_taken_again_with_other_weights(world):
    world.generator.zero_grad()
    rollout = run(world)
    latent, cells = finish(world.generator, rollout, world.task.conditions, torch_rng(1, "test"))
    assert torch.equal(latent.detach(), rollout.latent)
    assert cells.shape == rollout.cells[0].shape
    # fresh counts of the same cells
    assert not torch.equal(cells.detach(), rollout.cells[0])
    cells.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in world.generator.network_parameters())
    assert any(p.grad.abs().max() > 0 for p in world.generator.encoder.parameters())
    with torch.no_grad():
        world.generator.velocity.outlet.bias.add_(0.5)
    moved, _ = finish(world.generator, rollout, world.task.conditions, torch_rng(1, "test"))
    n_steps = world.generator.architecture.solver_steps
    torch.testing.assert_close(moved, rollout.latent + 0.5 / n_steps, rtol=1e-2, atol=2e-2)


def test_the_first_conditions_of_a_rollout(world):
    rollout = run(world, index=(2, 0, 1))
    part = rollout.first(2)
    assert part.index.tolist() == [2, 0]
    assert part.group_size == rollout.group_size == 5
    for name in ("unit", "latent", "approach"):
        assert torch.equal(getattr(part, name), getattr(rollout, name)[:10])
    assert all(torch.equal(own, whole[:10]) for own, whole in zip(part.control, rollout.control, strict=True))
    assert torch.equal(part.cells, rollout.cells[:, :2])
    latent, _ = finish(world.generator, part, world.task.conditions, torch_rng(1, "test"))
    torch.testing.assert_close(latent.detach(), rollout.latent[:10])


def test_another_sampler_leaves_no_last_step(world):
    path = torch.randn(3, 10, 2)
    rollout = run(world, sampler=lambda control, rows: path)
    assert torch.equal(rollout.latent, path[-1])
    assert rollout.path is path
    with pytest.raises(ValueError, match="no last step"):
        finish(world.generator, rollout, world.task.conditions, torch_rng(1, "test"))
