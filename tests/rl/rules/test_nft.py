from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import nn

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.path import GAUSSIAN, sample_path
from scperturbrl.flow.sampler import integrate
from scperturbrl.rl.rules.nft import anchor_loss, nft_loss, optimality

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed, n=5, d=3):
    rng = torch.Generator().manual_seed(seed)
    points = [torch.randn(n, d, generator=rng, dtype=torch.float64) for _ in range(3)]
    return *points, torch.rand(n, generator=rng, dtype=torch.float64)


def test_optimality_is_a_clipped_line():
    found = optimality(torch.tensor([-9.0, -2.0, -1.0, 0.0, 1.0, 2.0, 9.0]))
    np.testing.assert_allclose(found, [0, 0, 0.25, 0.5, 0.75, 1, 1])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, beta=st.floats(0.05, 3))
def test_the_gradient_is_that_of_a_regression(seed, beta):
    velocity, old, target, weight = draw(seed)
    velocity.requires_grad_()
    (found,) = torch.autograd.grad(nft_loss(velocity, old, target, weight, beta=beta).sum(), velocity)
    goal = old + (2 * weight - 1)[:, None] / beta * (target - old)
    (expected,) = torch.autograd.grad((velocity - goal).square().mean(-1).sum(), velocity)
    torch.testing.assert_close(found, beta**2 * expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_its_minimum_moves_by_the_covariance_of_weight_and_velocity(beta):
    rng = np.random.default_rng(0)
    target = rng.normal(size=(400, 2)) + [1.0, -2.0]
    weight = np.clip(0.5 + 0.2 * (target[:, 0] - 1) + 0.1 * rng.normal(size=400), 0, 1)
    weight += 0.5 - weight.mean()
    old = target.mean(0)
    tensors = torch.tensor(old).expand(400, 2), torch.tensor(target), torch.tensor(weight)
    loss = lambda v: nft_loss(torch.tensor(v).expand(400, 2), *tensors, beta=beta).mean().item()
    covariance = ((weight - 0.5)[:, None] * (target - old)).mean(0)
    np.testing.assert_allclose(minimize(loss, np.zeros(2)).x, old + 2 / beta * covariance, atol=1e-4)
    assert covariance[0] > 0.1


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, beta=st.floats(0.1, 2))
def test_without_a_preference_the_old_velocity_is_best(seed, beta):
    _, old, target, _ = draw(seed)
    even = torch.full((5,), 0.5, dtype=torch.float64)
    velocity = old.clone().requires_grad_()
    (at_old,) = torch.autograd.grad(nft_loss(velocity, old, target, even, beta=beta).sum(), velocity)
    assert at_old.abs().max() < 1e-9
    away = (old + 0.3).requires_grad_()
    (gradient,) = torch.autograd.grad(nft_loss(away, old, target, even, beta=beta).sum(), away)
    assert (gradient > 0).all()


def test_a_strong_anchor_holds_the_pretrained_velocity():
    velocity, pretrained, target, weight = draw(3)
    np.testing.assert_allclose(anchor_loss(velocity, pretrained), ((velocity - pretrained) ** 2).mean(-1))
    np.testing.assert_array_equal(anchor_loss(pretrained, pretrained), 0)

    def best(anchor):
        loss = lambda v: (nft_loss(v, pretrained, target, weight) + anchor * anchor_loss(v, pretrained)).sum()
        objective = lambda v: loss(torch.tensor(v).view(5, 3)).item()
        return minimize(objective, pretrained.numpy().ravel(), tol=1e-12).x - pretrained.numpy().ravel()

    free, held = np.linalg.norm(best(0.0)), np.linalg.norm(best(1e3))
    assert free > 0.5
    assert held < free / 500


class Mixture(nn.Module):
    """Exact velocity of an even mixture of N(-2, 0.25) and N(2, 0.25), plus a correction that starts at zero."""

    def __init__(self):
        super().__init__()
        self.correction = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
        nn.init.zeros_(self.correction[-1].weight)
        nn.init.zeros_(self.correction[-1].bias)

    def exact(self, x, t):
        t = t[:, None]
        centres, variance = torch.tensor([[-2.0, 2.0]]), (1 - t) ** 2 + 0.25 * t**2
        share = torch.softmax(-((x - t * centres) ** 2) / (2 * variance), dim=1)
        slope = (0.25 * t - (1 - t)) / variance
        return (share * (centres + slope * (x - t * centres))).sum(1, keepdim=True)

    def forward(self, x, t):
        return self.exact(x, t) + self.correction(torch.cat([x, t[:, None]], dim=1))


def sample(model, n, seed):
    with torch.no_grad():
        return integrate(model, torch.randn(n, 1, generator=torch_rng(seed, "test")), n_steps=20)


def test_the_exact_velocity_gives_the_mixture():
    with torch.random.fork_rng(devices=[]):
        cells = sample(Mixture(), 4000, 0).flatten().numpy()
    assert (cells > 0).mean() == pytest.approx(0.5, abs=0.03)
    assert np.abs(np.abs(cells).mean() - 2) < 0.05


@pytest.mark.parametrize(("wanted", "lowest", "highest"), [(1, 0.8, 1.0), (-1, 0.0, 0.2), (0, 0.4, 0.6)])
def test_updates_move_mass_to_where_the_reward_is(wanted, lowest, highest):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, old = Mixture(), Mixture()
    old.load_state_dict(model.state_dict())
    optimiser, rng = torch.optim.Adam(model.correction.parameters(), lr=3e-3), torch_rng(1, "test")
    for number in range(15):
        cells = sample(old, 256, 100 + number)
        advantage = wanted * (cells[:, 0] > 0).float()
        weight = optimality(2 * (advantage - advantage.mean()))
        for _ in range(8):
            t, x_t, target = sample_path(cells, cells, GAUSSIAN, rng)
            with torch.no_grad():
                before = old(x_t, t)
            loss = nft_loss(model(x_t, t), before, target, weight).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        old.load_state_dict(model.state_dict())
    assert lowest <= (sample(model, 2000, 7) > 0).float().mean() <= highest
