from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.observation.fit import _slope, fit_dispersion, fit_log_rate
from scperturbrl.flow.observation.nb import NegativeBinomialObservation

N, G, D, C = 4000, 25, 2, 5


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    latent, unit = rng.normal(size=(N, D)), rng.lognormal(sigma=0.3, size=N)
    truth = {
        "intercept": rng.normal(1, 0.7, G),
        "loading": rng.normal(0, 0.4, (D, G)),
        "theta": np.exp(rng.uniform(0, 3, G)),
    }
    mean = np.exp(truth["intercept"] + latent @ truth["loading"]) / unit[:, None]
    counts = torch.tensor(rng.poisson(mean * rng.gamma(truth["theta"], 1 / truth["theta"], mean.shape))).float()
    codes = torch.tensor(rng.integers(C, size=N))
    observation = NegativeBinomialObservation(G, D, 1)
    latent, unit = torch.tensor(latent).float(), torch.tensor(unit).float()
    block = lambda index: counts[index]
    fit_log_rate(observation, block, unit, latent, n_steps=800, rng=torch_rng(0, "test"))
    totals = fit_dispersion(observation, block, unit, latent, codes)
    return truth, observation, counts, codes, totals


def test_intercept_and_loadings_are_recovered(fitted):
    truth, observation, *_ = fitted
    np.testing.assert_allclose(observation.intercept, truth["intercept"], atol=0.08)
    np.testing.assert_allclose(observation.loading, truth["loading"], atol=0.1)
    assert np.corrcoef(observation.loading.ravel(), truth["loading"].ravel())[0, 1] > 0.99


def test_dispersion_is_recovered(fitted):
    truth, observation, *_ = fitted
    error = observation.log_theta.numpy() - np.log(truth["theta"])
    assert np.abs(error).max() < 0.6
    assert np.corrcoef(observation.log_theta, np.log(truth["theta"]))[0, 1] > 0.95


def test_seen_and_expected_totals_agree(fitted):
    _, _, counts, codes, totals = fitted
    for condition in range(C):
        np.testing.assert_allclose(totals.seen[condition], counts[codes == condition].sum(0), rtol=1e-5)
    np.testing.assert_allclose(totals.expected.sum(0), totals.seen.sum(0), rtol=1e-3)
    np.testing.assert_allclose(totals.expected, totals.seen, rtol=0.2)


def test_deviations_are_those_of_the_negative_binomial(fitted):
    truth, observation, _, _, totals = fitted
    # a common rate has the variance m + m^2 / theta; here rates differ between cells, which only adds to it
    mean = totals.expected / N * C
    assert (totals.deviations / N * C > 0.9 * (mean + mean.square() / observation.log_theta.exp())).all()


def test_a_second_fit_goes_on_from_the_first():
    rng = np.random.default_rng(1)
    counts = torch.tensor(rng.poisson(3.0, (300, 4))).float()
    observation = NegativeBinomialObservation(4, 1, 1)
    observation.intercept.fill_(float(np.log(3.0)))
    arguments = (lambda index: counts[index], torch.ones(300), torch.zeros(300, 1))
    fit_log_rate(observation, *arguments, n_steps=1, rng=torch_rng(0, "test"), learning_rate=1e-4)
    np.testing.assert_allclose(observation.intercept, np.log(3.0), atol=1e-3)


def test_genes_without_counts_get_the_dispersion_of_the_others():
    rng = np.random.default_rng(2)
    rates = np.array([4.0, 4.0, 4.0, 1e-5])
    counts = torch.tensor(rng.poisson(rates * rng.gamma(2.0, 0.5, (3000, 4)))).float()
    observation = NegativeBinomialObservation(4, 1, 1)
    observation.intercept.copy_(torch.tensor(rates).log())
    codes = torch.zeros(3000, dtype=torch.long)
    fit_dispersion(observation, lambda index: counts[index], torch.ones(3000), torch.zeros(3000, 1), codes)
    np.testing.assert_allclose(observation.log_theta.exp(), 2.0, rtol=0.2)


@pytest.mark.parametrize("total", [0.0, 1e4])
def test_the_slope_is_that_of_automatic_differentiation(total):
    rng = torch_rng(4, "test")
    observation = NegativeBinomialObservation(7, 3, 1, total)
    observation.intercept.normal_(generator=rng), observation.loading.normal_(generator=rng)
    latent, unit = torch.randn(40, 3, generator=rng), 1 + torch.rand(40, generator=rng)
    counts = torch.poisson(2 * torch.ones(40, 7), generator=rng)
    log_rate = torch.addmm(observation.intercept, latent, observation.loading).requires_grad_()
    log_mean = observation.scaled(log_rate) - unit.log()[:, None]
    torch.nn.functional.poisson_nll_loss(log_mean, counts).backward()
    torch.testing.assert_close(_slope(observation, latent, unit, counts), log_rate.grad)
