from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.observation.nb import MAX_DISPERSION, NegativeBinomialObservation

THETA = [0.5, 3.0, 20.0, MAX_DISPERSION]


def layer(theta=THETA, *, n_latent=2, n_tokens=2):
    observation = NegativeBinomialObservation(len(theta), n_latent, n_tokens)
    observation.log_theta.copy_(torch.tensor(theta).log())
    return observation


def nbinom(mean, theta):
    return stats.nbinom(theta, theta / (theta + mean))


@pytest.mark.parametrize("mean", [0.1, 2.0, 30.0])
def test_counts_are_negative_binomial(mean):
    n, unit = 40_000, 2.5
    log_rate = torch.full((n, len(THETA)), float(np.log(mean * unit)))
    _, counts = layer().sample(log_rate, torch.full((n,), unit), torch_rng(1, "test"))
    for gene, theta in enumerate(THETA):
        truth, drawn = nbinom(mean, theta), counts[:, gene].numpy()
        assert drawn.mean() == pytest.approx(truth.mean(), abs=5 * truth.std() / np.sqrt(n))
        kurtosis = truth.stats("k") + 2
        assert drawn.var() == pytest.approx(truth.var(), rel=5 * float(np.sqrt(kurtosis / n)))
        zeros = truth.pmf(0)
        assert (drawn == 0).mean() == pytest.approx(zeros, abs=5 * np.sqrt(zeros * (1 - zeros) / n) + 1e-9)


def test_counts_pass_a_goodness_of_fit_test():
    n = 20_000
    _, counts = layer([3.0]).sample(torch.full((n, 1), np.log(4.0)), torch.ones(n), torch_rng(2, "test"))
    edges = np.arange(15)
    seen = np.array([(counts == k).sum().item() for k in edges] + [(counts > edges[-1]).sum().item()])
    expected = n * np.append(nbinom(4.0, 3.0).pmf(edges), nbinom(4.0, 3.0).sf(edges[-1]))
    assert stats.chisquare(seen, expected).pvalue > 1e-3


def test_cells_are_logs_of_scaled_counts():
    unit = torch.tensor([0.7, 4.0, 11.0])
    cells, counts = layer().sample(torch.ones(3, 4), unit, torch_rng(0, "test"))
    assert (counts == counts.round()).all()
    assert counts.sum() > 0
    np.testing.assert_allclose(cells, np.log1p(unit.numpy()[:, None] * counts.numpy()), rtol=1e-6)


def test_a_differentiable_sample_is_the_same_sample():
    log_rate, unit = torch.randn(50, 4, requires_grad=True), torch.full((50,), 1.5)
    plain = layer().sample(log_rate, unit, torch_rng(3, "test"))
    carrying = layer().sample(log_rate, unit, torch_rng(3, "test"), differentiable=True)
    assert not plain[0].requires_grad
    assert carrying[0].requires_grad
    torch.testing.assert_close(carrying[0].detach(), plain[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(carrying[1], plain[1], rtol=0, atol=0)


def expected_cell(log_rate, theta, unit):
    counts = np.arange(4000)
    return np.log1p(unit * counts) @ nbinom(np.exp(log_rate) / unit, theta).pmf(counts)


@pytest.mark.parametrize("rate", [0.2, 3.0, 40.0])
@pytest.mark.parametrize("unit", [0.5, 6.0])
def test_its_gradient_is_unbiased(rate, unit):
    n, log_rate, weight = 60_000, float(np.log(rate)), torch.tensor([1.0, -2.0, 0.5, 3.0])
    rates = torch.full((n, len(THETA)), log_rate, requires_grad=True)
    cells, _ = layer().sample(rates, torch.full((n,), unit), torch_rng(4, "test"), differentiable=True)
    (cells * weight).sum().backward()
    step = 1e-4
    for gene, theta in enumerate(THETA):
        change = expected_cell(log_rate + step, theta, unit) - expected_cell(log_rate - step, theta, unit)
        truth = float(weight[gene]) * change / (2 * step)
        each = rates.grad[:, gene].double().numpy()
        assert each.mean() == pytest.approx(truth, abs=5 * each.std() / np.sqrt(n))
        assert abs(truth) > 20 * each.std() / np.sqrt(n)


def test_the_rate_is_log_linear_up_to_its_bound():
    observation = layer()
    observation.intercept.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    observation.loading.copy_(torch.arange(8.0).view(2, 4))
    latent, residual = torch.tensor([[1.0, 0.0], [0.5, -1.0]]), torch.tensor([[0.1] * 4, [0.0] * 4])
    expected = observation.intercept.numpy() + latent.numpy() @ observation.loading.numpy() + residual.numpy()
    np.testing.assert_allclose(observation.log_rate(latent, residual), expected, rtol=1e-6)
    observation.max_log_rate.fill_(0.6)
    np.testing.assert_allclose(observation.log_rate(latent, residual), np.minimum(expected, 0.6), rtol=1e-6)
    assert (observation.log_rate(latent + 100) <= 0.6).all()


def test_residuals_of_parts_add_and_token_0_has_none():
    observation = layer(n_tokens=3)
    observation.residual[1:] = torch.randn(3, 4, generator=torch_rng(0, "test"))
    found = observation.condition_residual(torch.tensor([[0, 0], [2, 0], [1, 3]]))
    expected = [torch.zeros(4), observation.residual[2], observation.residual[1] + observation.residual[3]]
    torch.testing.assert_close(found, torch.stack(expected))


def test_cells_with_a_total_have_it_and_rates_add_up_to_it():
    observation = NegativeBinomialObservation(4, 2, 1, total=100.0)
    observation.log_theta.copy_(torch.tensor(THETA).log())
    observation.intercept.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    log_rate = observation.log_rate(torch.zeros(50, 2))
    torch.testing.assert_close(log_rate.exp().sum(1), torch.full((50,), 100.0))
    cells, counts = observation.sample(log_rate, torch.full((50,), 0.5), torch_rng(0, "test"))
    drawn = counts.sum(1) > 0
    torch.testing.assert_close(torch.expm1(cells).sum(1)[drawn], torch.full((int(drawn.sum()),), 100.0))
    assert counts.sum(1).mean() == pytest.approx(200, rel=0.2)


def test_the_gradient_with_a_total_is_that_of_the_expected_cell():
    n, unit, weight = 200_000, 0.1, torch.tensor([1.0, -1.0, 0.5, 0.2])
    observation = NegativeBinomialObservation(4, 2, 1, total=100.0)
    observation.log_theta.fill_(1.0)
    start, direction = torch.tensor([1.0, 1.5, 2.0, 2.2]), torch.tensor([1.0, -0.5, 0.3, 0.0])

    def value(shift, *, differentiable=False):
        log_rate = observation.scaled((start + shift * direction).expand(n, -1))
        sample = observation.sample(
            log_rate, torch.full((n,), unit), torch_rng(1, "test"), differentiable=differentiable
        )
        return (sample[0] @ weight).mean()

    shift = torch.tensor(0.0, requires_grad=True)
    value(shift, differentiable=True).backward()
    slope = (value(0.1) - value(-0.1)) / 0.2
    assert shift.grad.item() == pytest.approx(slope.item(), rel=0.1)
