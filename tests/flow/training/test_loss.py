from __future__ import annotations

import numpy as np
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.path import GAUSSIAN, sample_path
from scperturbrl.flow.training.loss import flow_matching_loss


def test_at_the_start_it_is_the_mean_squared_velocity(make_generator, make_batch):
    generator, batch = make_generator(trained=False), make_batch([(1,), (2,)])
    cells = torch.randn(9, 3)
    loss = flow_matching_loss(generator, cells, cells, batch, torch.tensor([0, 1, 0] * 3), torch_rng(1, "test"))
    velocity = sample_path(cells, cells, GAUSSIAN, torch_rng(1, "test")).velocity
    np.testing.assert_allclose(loss.detach(), velocity.square().mean(1), rtol=1e-6)


def test_it_is_the_error_of_the_velocity_of_each_cells_own_condition(make_generator, make_batch):
    generator, batch = make_generator(), make_batch([(1,), (2, 3)])
    cells, control, index = torch.randn(6, 3), torch.randn(6, 3), torch.tensor([0, 1, 1, 0, 0, 1])
    with torch.no_grad():
        loss = flow_matching_loss(generator, cells, control, batch, index, torch_rng(2, "test"))
        t, x_t, velocity = sample_path(cells, control, GAUSSIAN, torch_rng(2, "test"))
        for i in range(6):
            code, total = generator.encoder(batch.select(index[i : i + 1]))
            own = generator.velocity(x_t[i : i + 1], t[i : i + 1], control[i : i + 1], code, total)
            np.testing.assert_allclose(loss[i], (own[0] - velocity[i]).square().mean(), rtol=1e-4)
