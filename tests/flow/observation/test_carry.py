from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.observation.carry import ControlCounts, carried_alone, carry_counts, draw_counts
from scperturbrl.flow.observation.carry import carried as carried_with_factor
from scperturbrl.flow.observation.nb import NegativeBinomialObservation

N = 60_000


def nbinom(mean, theta):
    return stats.nbinom(theta, theta / (theta + mean))


def controls(mean, theta, n=N, seed=0):
    counts = nbinom(mean, theta).rvs((n, 1), random_state=seed)
    return ControlCounts(torch.tensor(counts).float(), torch.full((n, 1), float(np.log(mean))))


def carried(before, after, theta, seed=1):
    return carry_counts(
        controls(before, theta), torch.full((N, 1), after), torch.tensor([theta]), torch_rng(seed, "test")
    )


@pytest.mark.parametrize("theta", [0.5, 4.0, 1e4])
@pytest.mark.parametrize(("before", "after"), [(2.0, 0.3), (0.3, 2.0), (5.0, 5.0), (0.05, 6.0), (12.0, 0.1)])
def test_counts_of_a_model_cell_are_negative_binomial_with_the_new_mean(before, after, theta):
    drawn = carried(before, after, theta).counts[:, 0].numpy()
    truth = nbinom(after, theta)
    assert drawn.mean() == pytest.approx(truth.mean(), abs=5 * truth.std() / np.sqrt(N))
    edges = np.unique(truth.ppf([0.3, 0.6, 0.8, 0.9, 0.97, 0.99]))
    bins = np.concatenate([[-1], edges, [np.inf]])
    seen = np.histogram(drawn, bins + 0.5)[0]
    expected = N * np.diff(truth.cdf(bins))
    kept = expected > 5
    assert stats.chisquare(seen[kept], expected[kept] * seen[kept].sum() / expected[kept].sum()).pvalue > 1e-4


def test_a_cell_whose_rates_stay_is_the_control_cell():
    control = controls(3.0, 2.0)
    found = carry_counts(control, control.log_mean.exp(), torch.tensor([2.0]), torch_rng(0, "test"))
    assert torch.equal(found.counts, control.counts)


def test_falling_rates_only_take_counts_away_and_rising_ones_only_add():
    control = controls(3.0, 2.0)
    for after, sign in ((1.0, -1), (7.0, 1)):
        found = carry_counts(control, torch.full((N, 1), after), torch.tensor([2.0]), torch_rng(0, "test"))
        assert ((found.counts - control.counts) * sign >= 0).all()


def test_the_factor_has_the_posterior_of_the_measured_count():
    theta, mean, count = 3.0, 2.0, 7.0
    control = ControlCounts(torch.full((N, 1), count), torch.full((N, 1), float(np.log(mean))))
    factor = carry_counts(control, torch.full((N, 1), 4.0), torch.tensor([theta]), torch_rng(0, "test")).factor
    posterior = stats.gamma(theta + count, scale=1 / (theta + mean))
    assert stats.kstest(factor[:, 0].numpy(), posterior.cdf).pvalue > 1e-4


@pytest.mark.parametrize(("before", "after"), [(2.0, 0.4), (0.4, 2.0), (2.0, 2.0)])
def test_the_expected_factor_is_the_mean_of_those_that_are_drawn_with_the_same_counts(before, after):
    theta = torch.tensor([1.5])
    control, mean = controls(before, 1.5), torch.full((N, 1), after)
    drawn = carry_counts(control, mean, theta, torch_rng(0, "test"))
    found = carried_with_factor(control, mean, theta, torch_rng(0, "test"))
    assert torch.equal(found.counts, carried_alone(control, mean, theta, torch_rng(0, "test")))
    # the mean of drawn factors over all cells that have the same counts, before and after
    told = {}
    for pair, value in zip(
        zip(control.counts[:, 0].tolist(), found.counts[:, 0].tolist(), strict=True),
        found.factor[:, 0].tolist(),
        strict=True,
    ):
        assert told.setdefault(pair, value) == value
    pairs = list(zip(control.counts[:, 0].tolist(), drawn.counts[:, 0].tolist(), strict=True))
    factors = drawn.factor[:, 0].numpy()
    common = [pair for pair in set(pairs) if pairs.count(pair) > 2000]
    assert len(common) > 3
    for pair in common:
        same = factors[[other == pair for other in pairs]]
        assert told[pair] == pytest.approx(same.mean(), abs=5 * same.std() / np.sqrt(len(same)))


def test_without_a_control_cell_counts_are_drawn_afresh():
    drawn = draw_counts(torch.full((N, 1), 4.0), torch.tensor([3.0]), torch_rng(0, "test"))
    assert drawn.counts.mean().item() == pytest.approx(4.0, abs=5 * nbinom(4.0, 3.0).std() / np.sqrt(N))
    assert stats.kstest(drawn.factor[:, 0].numpy(), stats.gamma(3.0, scale=1 / 3.0).cdf).pvalue > 1e-4


@pytest.mark.parametrize(("before", "after"), [(2.0, 0.4), (0.4, 2.0)])
@pytest.mark.parametrize("theta", [0.7, 5.0])
def test_the_gradient_is_that_of_the_expected_cell(before, after, theta):
    layer, unit = NegativeBinomialObservation(1, 1, 1), 1.5
    layer.log_theta.fill_(float(np.log(theta)))
    log_rate = torch.full((N, 1), float(np.log(after * unit)), requires_grad=True)
    options = {"control": controls(before, theta), "differentiable": True}
    cells, _ = layer.sample(log_rate, torch.full((N,), unit), torch_rng(3, "test"), **options)
    cells.sum().backward()
    counts, step = np.arange(2000), 1e-4
    expected = lambda mean: np.log1p(unit * counts) @ nbinom(mean, theta).pmf(counts)
    truth = (expected(after * np.exp(step)) - expected(after * np.exp(-step))) / (2 * step)
    each = log_rate.grad[:, 0].double().numpy()
    assert each.mean() == pytest.approx(truth, abs=5 * each.std() / np.sqrt(N))
    assert truth > 20 * each.std() / np.sqrt(N)
