from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from scperturbrl.flow.rollout.energy import energy_distance, mean_distance, own_distance, padded_own_distance
from scperturbrl.metrics import energy_distance as energy_of_arrays


def populations(seed=0, *, C=3, n=12, m=20, d=4):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(C, n, d))), torch.tensor(rng.normal(0.5, 1, size=(C, m, d)))


def test_distances_are_those_of_scipy():
    x, y = populations()
    np.testing.assert_allclose(mean_distance(x, y), [cdist(a, b).mean() for a, b in zip(x, y, strict=True)])
    np.testing.assert_allclose(own_distance(x), [pdist(a).mean() for a in x])


def test_padding_is_ignored():
    x, y = populations()
    padded = torch.cat([y, torch.full((3, 5, 4), torch.nan, dtype=y.dtype)], dim=1)
    padded[1, 15:] = torch.nan
    kept = [y[0], y[1, :15], y[2]]
    np.testing.assert_allclose(mean_distance(x, padded), [cdist(a, b).mean() for a, b in zip(x, kept, strict=True)])
    np.testing.assert_allclose(padded_own_distance(padded), [pdist(b).mean() for b in kept])
    x.requires_grad_()
    energy_distance(x, padded).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_it_is_the_unbiased_energy_distance():
    x, y = populations()
    expected = [2 * cdist(a, b).mean() - pdist(a).mean() - pdist(b).mean() for a, b in zip(x, y, strict=True)]
    found = energy_distance(x, y, padded_own_distance(y))
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found, [energy_of_arrays(a.numpy(), b.numpy()) for a, b in zip(x, y, strict=True)])
    np.testing.assert_allclose(energy_distance(x, y) - found, padded_own_distance(y))


def test_equal_distributions_have_none_on_average():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(2000, 8, 3, generator=rng), torch.randn(2000, 11, 3, generator=rng)
    values = energy_distance(x, y, padded_own_distance(y)).numpy()
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    assert values.min() < 0 < values.max()


def test_its_gradient_is_right():
    x, y = populations(C=2, n=4, m=5, d=2)
    assert torch.autograd.gradcheck(lambda z: energy_distance(z, y), (x.requires_grad_(),))


def test_coinciding_points_have_a_finite_gradient():
    x = torch.zeros(1, 6, 3, requires_grad=True)
    value = energy_distance(x, torch.zeros(1, 4, 3), torch.zeros(1))
    value.sum().backward()
    assert abs(value.item()) < 0.01
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_descending_it_brings_populations_together(shift):
    rng = torch.Generator().manual_seed(1)
    x = (torch.randn(1, 60, 2, generator=rng) + shift).requires_grad_()
    y = torch.randn(1, 200, 2, generator=rng)
    optimiser = torch.optim.Adam([x], lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        energy_distance(x, y).sum().backward()
        optimiser.step()
    np.testing.assert_allclose(x.detach().mean(1), y.mean(1), atol=0.2)
