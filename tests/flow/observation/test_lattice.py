from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl.flow.observation.lattice import LatticeObservation


@pytest.fixture
def real():
    rng = np.random.default_rng(0)
    counts = torch.as_tensor(rng.negative_binomial(1, 0.4, (30, 8)), dtype=torch.float32)
    counts[:, 0] += 1
    unit = torch.as_tensor(rng.uniform(0.2, 3, 30), dtype=torch.float32)
    return torch.log1p(unit[:, None] * counts), counts, unit


def sampled(layer, latent, unit, **options):
    return layer.sample(layer.log_rate(latent), unit, torch.Generator().manual_seed(0), **options)


def test_real_cells_are_left_as_they_are(real):
    cells, counts, unit = real
    found, again = sampled(LatticeObservation(8), cells, unit)
    torch.testing.assert_close(found, cells)
    torch.testing.assert_close(again, counts)


def test_real_cells_with_a_common_total_are_left_as_they_are(real):
    counts = real[1]
    unit = 100 / counts.sum(1)
    cells = torch.log1p(unit[:, None] * counts)
    found, again = sampled(LatticeObservation(8, total=100.0), cells, unit)
    torch.testing.assert_close(found, cells)
    torch.testing.assert_close(again, counts)


def test_what_is_left_of_half_a_count_is_zero():
    unit = torch.tensor([2.0])
    values = torch.tensor([[-3.0, 0.0, 0.9, 1.1, 2.9, 3.1]])
    _, counts = sampled(LatticeObservation(6), torch.where(values > 0, torch.log1p(values), values), unit)
    assert counts.tolist() == [[0, 0, 0, 1, 1, 2]]


def test_the_scale_of_the_space_is_taken_back(real):
    cells, counts, unit = real
    layer = LatticeObservation(8)
    layer.intercept.copy_(cells.mean(0))
    layer.slope.fill_(0.7)
    _, again = sampled(layer, (cells - cells.mean(0)) / 0.7, unit)
    torch.testing.assert_close(again, counts)


def test_rates_stay_below_what_was_seen():
    layer = LatticeObservation(2)
    layer.max_log_rate.copy_(torch.tensor([1.0, torch.inf]))
    assert layer.log_rate(torch.tensor([[9.0, 9.0]])).round(decimals=2).tolist() == [[1.0, 9.0]]


def test_the_gradient_is_that_before_rounding(real):
    latent, unit = real[0].clone().requires_grad_(), real[2]
    layer = LatticeObservation(8)
    cells, _ = sampled(layer, latent, unit, differentiable=True)
    torch.testing.assert_close(cells, real[0])
    cells.sum().backward()
    torch.testing.assert_close(latent.grad, (real[0] > 0).float(), atol=1e-4, rtol=1e-4)


def test_residuals_of_conditions_are_zero():
    found = LatticeObservation(4).condition_residual(torch.zeros(3, 2, dtype=torch.long))
    assert found.shape == (3, 4)
    assert (found == 0).all()
