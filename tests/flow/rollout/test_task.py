from __future__ import annotations

import torch


def test_everything_moves_to_the_device(world):
    moved = world.task.to("meta")
    assert {moved.real.device.type, moved.pool.latent.device.type, moved.conditions.tokens.device.type} == {"meta"}
    assert moved.real.shape == world.task.real.shape
    assert torch.equal(world.task.to("cpu").pool.unit, world.task.pool.unit)
