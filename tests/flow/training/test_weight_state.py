from __future__ import annotations

import numpy as np
import torch
from torch import nn

from scperturbrl.flow.training.weight_state import WeightAverage, restore, snapshot


def test_the_average_is_the_recursion_with_a_growing_decay():
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    average, expected = WeightAverage([parameter], 0.9), np.array([1.0, -2.0])
    rng = np.random.default_rng(0)
    for step in range(1, 200):
        value = rng.normal(size=2)
        parameter.data = torch.tensor(value).float()
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(average.values[0], expected, atol=1e-5)


def test_the_start_is_soon_forgotten():
    parameter = nn.Parameter(torch.tensor([1000.0]))
    average = WeightAverage([parameter], 0.999)
    parameter.data.fill_(0.0)
    for _ in range(30):
        average.update()
    assert average.values[0].item() < 1


def test_swapping_twice_changes_nothing():
    model = nn.Linear(3, 2)
    parameters = list(model.parameters())
    average = WeightAverage(parameters, 0.5)
    with torch.no_grad():
        model.weight.add_(1)
    present, averaged = snapshot(parameters), [value.clone() for value in average.values]
    average.swap()
    assert all(torch.equal(p, v) for p, v in zip(parameters, averaged, strict=True))
    average.swap()
    assert all(torch.equal(p, v) for p, v in zip(parameters, present, strict=True))
    assert all(torch.equal(a, v) for a, v in zip(average.values, averaged, strict=True))


def test_a_snapshot_is_a_copy_that_can_be_restored():
    model = nn.Linear(3, 2)
    parameters = list(model.parameters())
    kept = snapshot(parameters)
    with torch.no_grad():
        model.weight.zero_()
    assert (kept[0] != 0).any()
    restore(parameters, kept)
    assert all(torch.equal(p, v) for p, v in zip(parameters, kept, strict=True))
    assert all(p.requires_grad and not v.requires_grad for p, v in zip(parameters, kept, strict=True))
