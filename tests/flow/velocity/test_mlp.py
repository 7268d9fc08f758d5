from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl.flow.velocity.mlp import VelocityMLP, time_features


@pytest.fixture
def inputs():
    rng = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=rng)
    return draw(7, 3), torch.rand(7, generator=rng), draw(7, 3), draw(7, 16), draw(7, 16)


def test_time_features_are_sinusoids():
    t = torch.tensor([0.0, 0.25, 1.0])
    found = time_features(t, 8).numpy()
    angles = np.pi * t.numpy()[:, None] * np.geomspace(1, 200, 4)
    np.testing.assert_allclose(found, np.hstack([np.sin(angles), np.cos(angles)]), atol=1e-4)


def test_times_are_told_apart():
    features = time_features(torch.linspace(0, 1, 50), 16)
    distance = torch.cdist(features, features) + 9 * torch.eye(50)
    assert distance.min() > 0.05


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_the_velocity_starts_at_zero(inputs, n_blocks):
    velocity = VelocityMLP(3, 16, n_blocks)(*inputs)
    assert velocity.shape == (7, 3)
    assert (velocity == 0).all()


def test_blocks_start_as_the_identity(inputs):
    block = VelocityMLP(3, 16, 1).blocks[0]
    hidden, context = inputs[3], inputs[4]
    torch.testing.assert_close(block(hidden, context), hidden, rtol=0, atol=0)
    with torch.no_grad():
        block.modulation.bias.fill_(0.5)
    assert (block(hidden, context) - hidden).abs().max() > 1e-3


def test_every_input_matters_once_trained(inputs):
    torch.manual_seed(0)
    model = VelocityMLP(3, 16, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        before = model(*inputs)
        for number in range(5):
            changed = [value + 0.3 if i == number else value for i, value in enumerate(inputs)]
            assert (model(*changed) - before).abs().max() > 1e-3


def test_the_sum_of_parts_enters_linearly(inputs):
    model = VelocityMLP(3, 16, 1)
    with torch.no_grad():
        model.shift.weight.normal_()
        x, t, control, code, total = inputs
        shift = model(x, t, control, code, 2 * total) - model(x, t, control, code, total)
        torch.testing.assert_close(shift, total @ model.shift.weight.T, atol=1e-5, rtol=1e-5)


def test_cells_do_not_see_each_other(inputs):
    torch.manual_seed(1)
    model = VelocityMLP(3, 16, 2)
    with torch.no_grad():
        model.outlet.weight.normal_()
        together = model(*inputs)
        alone = torch.cat([model(*(value[i : i + 1] for value in inputs)) for i in range(7)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
