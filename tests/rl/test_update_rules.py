"""Every rule on a mixture in two dimensions, whose reward-tilted population is known by importance weighting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.sampler import integrate
from scperturbrl.rl.rules.base import Batch, Fields
from scperturbrl.rl.rules.grpo import Grpo, noisy_step
from scperturbrl.rl.rules.registry import UPDATE_RULES, make_rule
from scperturbrl.rl.rules.value_gradient import ValueGradient

CENTRES = torch.tensor([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.5]])
WIDTH = 0.4
ANCHOR = 0.5


def reward(cells):
    return torch.tanh(cells[:, 0])


class Mixture(nn.Module):
    """Exact velocity of three Gaussians, plus a correction that starts at zero."""

    def __init__(self):
        super().__init__()
        self.correction = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
        nn.init.zeros_(self.correction[-1].weight)
        nn.init.zeros_(self.correction[-1].bias)

    def forward(self, x, t):
        time = t[:, None]
        variance = (1 - time) ** 2 + WIDTH**2 * time**2
        away = x[:, None] - time[:, :, None] * CENTRES
        share = torch.softmax(-away.square().sum(-1) / (2 * variance), dim=1)
        slope = ((WIDTH**2 * time - (1 - time)) / variance)[:, :, None]
        exact = (share[:, :, None] * (CENTRES + slope * away)).sum(1)
        return exact + self.correction(torch.cat([x, time], dim=1))


def draw(model, n, seed):
    with torch.no_grad():
        return integrate(model, torch.randn(n, 2, generator=torch_rng(seed, "test")), n_steps=10)


def exact_optimum(n=1500, seed=0):
    rng = np.random.default_rng(seed)
    cells = CENTRES.numpy()[rng.integers(0, 3, 40_000)] + WIDTH * rng.normal(size=(40_000, 2))
    weight = np.exp(np.tanh(cells[:, 0]) / (2 * ANCHOR))
    return cells[rng.choice(len(cells), n, p=weight / weight.sum())]


def energy(x, y):
    return 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()


def train(name, n_rounds, *, anchor=ANCHOR, learning_rate=2e-3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, old, pretrained = Mixture(), Mixture(), Mixture()
    for copy in (old, pretrained):
        copy.load_state_dict(model.state_dict())
        copy.requires_grad_(requires_grad=False)
    optimiser, rng = torch.optim.Adam(model.correction.parameters(), lr=learning_rate), torch_rng(1, "test")
    rule = make_rule(name, anchor=anchor)
    for _ in range(n_rounds):
        noise = torch.randn(512, 2, generator=rng)
        path = rule.sample(old, noise, rng) if isinstance(rule, Grpo) else None
        cells = integrate(old, noise, n_steps=5).detach() if path is None else path[-1]
        value = reward(cells)
        batch = Batch(cells, cells, value - value.mean(), path=path, reward=reward)
        for _ in range(4):
            loss, _ = rule(Fields(model, old, pretrained), batch, rng)
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()
        old.load_state_dict(model.state_dict())
    return model


START, GOAL = draw(Mixture(), 1500, 5).numpy(), exact_optimum()


def test_the_optimum_is_away_from_the_start():
    assert np.tanh(GOAL[:, 0]).mean() > np.tanh(START[:, 0]).mean() + 0.3
    assert energy(START, GOAL) > 0.1
    assert energy(exact_optimum(seed=1), GOAL) < 0.01


# Rounds, and the share of the energy distance to the optimum that may be left. Measured: reward gained .80, .59, 1.07 and .94 of
# the optimum's, distance left .05, .18, .03 and .01. The policy gradient is slow (.09 left after 400 rounds); the value gradient
# overshoots if it goes on (1.30 and .20 after 60), because it looks at smooth cells.
BUDGET = {"nft": (60, 0.15), "grpo": (60, 0.35), "value_gradient": (20, 0.15), "hybrid": (20, 0.08)}


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_a_rule_reaches_the_tilted_population(name):
    n_rounds, left = BUDGET[name]
    cells = draw(train(name, n_rounds), 1500, 5).numpy()
    gain = np.tanh(cells[:, 0]).mean() - np.tanh(START[:, 0]).mean()
    wanted = np.tanh(GOAL[:, 0]).mean() - np.tanh(START[:, 0]).mean()
    assert 0.45 < gain / wanted < 1.3
    assert energy(cells, GOAL) < left * energy(START, GOAL)


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_a_strong_anchor_holds_every_rule(name):
    cells = draw(train(name, 10, anchor=200.0), 1500, 5).numpy()
    assert energy(cells, START) < 0.02


def test_noisy_paths_end_in_the_same_population():
    noise = torch.randn(1500, 2, generator=torch_rng(3, "test"))
    path = Grpo(anchor=1.0, n_steps=25).sample(Mixture(), noise, torch_rng(4, "test"))
    assert path.shape == (26, 1500, 2)
    assert energy(path[-1].detach().numpy(), exact_start()) < 0.02


def exact_start():
    rng = np.random.default_rng(9)
    return CENTRES.numpy()[rng.integers(0, 3, 1500)] + WIDTH * rng.normal(size=(1500, 2))


def test_a_path_forgets_its_noise():
    x = torch.randn(5, 2, generator=torch_rng(0, "test"))
    step = noisy_step(torch.zeros(5, 2), x, torch.zeros(5), torch.full((5,), 0.25))
    # the cell that zero velocity points to is x itself, of which a quarter is gone along; none of it as noise
    torch.testing.assert_close(step.mean, 0.25 * x)
    torch.testing.assert_close(step.sd, torch.full((5, 1), 0.75))
    last = noisy_step(torch.ones(5, 2), x, torch.full((5,), 0.75), torch.ones(5))
    torch.testing.assert_close(last.mean, x + 0.25)
    assert (last.sd == 0).all()


def test_the_divergence_of_a_step_is_that_of_gaussians():
    rng = torch_rng(2, "test")
    path = torch.randn(3, 4, 2, generator=rng)
    shifted = lambda x, t: torch.ones_like(x)
    still = lambda x, t: torch.zeros_like(x)
    rule = Grpo(anchor=0.5, n_steps=2)
    batch = Batch(path[-1], path[-1], torch.zeros(4), path=path)
    loss, distance = rule(Fields(shifted, still, still), batch, rng)
    a = torch.distributions.Normal(0.5 * (path[0] + 1), 0.5)
    b = torch.distributions.Normal(0.5 * path[0], 0.5)
    torch.testing.assert_close(loss, torch.distributions.kl_divergence(a, b).sum(-1))
    torch.testing.assert_close(distance, torch.ones(4))


def test_rules_say_what_they_lack():
    batch = Batch(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2))
    fields = Fields(Mixture(), Mixture(), Mixture())
    with pytest.raises(ValueError, match="noisy paths"):
        Grpo(anchor=1.0)(fields, batch, torch_rng(0, "test"))
    with pytest.raises(ValueError, match="reward with gradients"):
        ValueGradient(anchor=1.0)(fields, batch, torch_rng(0, "test"))
    with pytest.raises(ValueError, match=r"`update_rule` is 'ppo'.*'grpo', 'hybrid'"):
        make_rule("ppo", anchor=1.0)
