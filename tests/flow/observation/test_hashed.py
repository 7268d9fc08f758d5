from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import stats

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.observation.carry import ControlCounts, carried_alone, carry_counts
from scperturbrl.flow.observation.hashed import further, mixed, uniform

N = 30_000


def drawn(count, expected, mean, theta, *, n=N, seed=0, sampler=carried_alone):
    """Counts of `n` cells that all were measured with `count`."""
    control = ControlCounts(torch.full((n, 1), float(count)), torch.full((n, 1), float(np.log(expected))))
    found = sampler(control, torch.full((n, 1), float(mean)), torch.tensor([float(theta)]), torch_rng(seed, "test"))
    return (found if sampler is carried_alone else found.counts).numpy()[:, 0]


def assert_law(counts, law):
    # equally likely classes, as far as counts allow
    edges = law.ppf(np.linspace(0, 1, 21)[1:-1])
    edges = np.unique(np.maximum(np.concatenate([edges, edges[:1] - 1]), 0))
    share = np.diff(np.concatenate([[0], law.cdf(edges), [1]]))
    found = np.bincount(np.searchsorted(edges, counts), minlength=len(share))
    kept = share * len(counts) > 1e-6
    assert not found[~kept].any()
    assert stats.chisquare(found[kept], share[kept] * found.sum() / share[kept].sum()).pvalue > 1e-4
    assert counts.mean() == pytest.approx(law.mean(), abs=5 * law.std() / np.sqrt(len(counts)))
    # also beyond the last of the classes
    far = law.isf(1e-3)
    assert abs((counts > far).mean() - law.sf(far)) < 5 * np.sqrt(law.sf(far) / len(counts)) + 1e-9


@pytest.mark.parametrize("theta", [0.05, 0.7, 3.0, 1e4])
@pytest.mark.parametrize("count", [0, 1, 6, 200])
@pytest.mark.parametrize(("expected", "mean"), [(0.01, 0.02), (0.3, 0.5), (0.3, 4.0), (2.0, 30.0), (50.0, 400.0)])
def test_what_is_added_is_negative_binomial(count, expected, mean, theta):
    counts = drawn(count, expected, mean, theta)
    assert (counts >= count).all()
    shape = theta + count
    extra = shape * (mean - expected) / (theta + expected)
    assert_law(counts - count, stats.nbinom(shape, shape / (shape + extra)))


@pytest.mark.parametrize("count", [1, 2, 9, 100, 700, 3000])
@pytest.mark.parametrize("share", [1e-3, 0.2, 0.5, 0.7, 0.98])
def test_what_is_left_is_binomial(count, share):
    assert_law(drawn(count, 5.0, 5.0 * share, 2.0, n=10_000), stats.binom(count, np.float64(np.float32(share))))


@pytest.mark.parametrize("theta", [0.4, 5.0])
@pytest.mark.parametrize(("before", "after"), [(0.05, 0.08), (0.6, 1.4), (1.4, 0.6), (3.0, 60.0), (90.0, 20.0)])
def test_both_ways_give_cells_of_the_model_its_new_law(before, after, theta):
    law = lambda mean: stats.nbinom(theta, theta / (theta + mean))
    counts = torch.tensor(law(before).rvs((N, 1), random_state=0)).float()
    control = ControlCounts(counts, torch.full((N, 1), float(np.log(before))))
    wanted, theta_of = torch.full((N, 1), after), torch.tensor([theta])
    ours = carried_alone(control, wanted, theta_of, torch_rng(1, "test")).numpy()[:, 0]
    other = carry_counts(control, wanted, theta_of, torch_rng(2, "test")).counts.numpy()[:, 0]
    assert_law(ours, law(after))
    # the same joint law with the control cell, too
    edges = np.unique(
        np.quantile(np.concatenate([ours - counts[:, 0].numpy(), other - counts[:, 0].numpy()]), np.linspace(0, 1, 15))
    )
    tables = [
        np.bincount(np.searchsorted(edges, own - counts[:, 0].numpy()), minlength=len(edges)) for own in (ours, other)
    ]
    table = np.array(tables)[:, np.sum(tables, axis=0) > 10]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def many(n=300, n_genes=40):
    rng = np.random.default_rng(1)
    expected, mean = (torch.as_tensor(rng.gamma(0.5, 10.0, (n, n_genes)), dtype=torch.float32) for _ in range(2))
    theta = torch.as_tensor(rng.gamma(2.0, size=n_genes), dtype=torch.float32)
    return ControlCounts(torch.poisson(expected, generator=torch_rng(0, "counts")), expected.log()), mean, theta


def test_a_cell_does_not_depend_on_the_others_nor_on_threads():
    control, mean, theta = many()
    whole = carried_alone(control, mean, theta, torch_rng(5, "test"))
    assert (whole > 40).any()
    first = ControlCounts(control.counts[:70], control.log_mean[:70])
    assert torch.equal(carried_alone(first, mean[:70], theta, torch_rng(5, "test")), whole[:70])
    later = ControlCounts(control.counts[70:], control.log_mean[70:], 70)
    assert torch.equal(carried_alone(later, mean[70:], theta, torch_rng(5, "test")), whole[70:])
    with ThreadPoolExecutor(3) as pool:
        again = list(pool.map(lambda _: carried_alone(control, mean, theta, torch_rng(5, "test")), range(6)))
    assert all(torch.equal(own, whole) for own in again)
    assert not torch.equal(carried_alone(control, mean, theta, torch_rng(6, "test")), whole)


def test_cells_genes_and_keys_are_independent():
    control = ControlCounts(torch.full((4000, 6), 2.0), torch.full((4000, 6), float(np.log(2.0))))
    draw = lambda seed, mean: carried_alone(
        control, torch.full((4000, 6), mean), torch.full((6,), 2.0), torch_rng(seed, "test")
    )
    columns = torch.cat([draw(0, 4.0), draw(1, 4.0), draw(2, 1.0)], 1).numpy()
    assert np.abs(np.corrcoef(columns.T) - np.eye(18)).max() < 0.08
    assert np.abs(np.corrcoef(columns[1:, 0], columns[:-1, 0])[0, 1]) < 0.08


def test_a_cell_whose_rates_stay_or_are_none_is_its_control_cell():
    control, _, theta = many()
    assert torch.equal(carried_alone(control, control.log_mean.exp(), theta, torch_rng(0, "test")), control.counts)
    nothing = ControlCounts(torch.zeros(3, 2), torch.full((3, 2), -torch.inf))
    assert (carried_alone(nothing, torch.zeros(3, 2), torch.ones(2), torch_rng(0, "test")) == 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rates_that_are_no_numbers_show(bad):
    control = ControlCounts(torch.ones(2, 2), torch.zeros(2, 2))
    mean = torch.tensor([[1.0, bad], [1.0, 1.0]])
    found = carried_alone(control, mean, torch.ones(2), torch_rng(0, "test"))
    assert not torch.isfinite(found[0, 1])
    assert torch.isfinite(found).sum() == 3


def test_hashed_numbers_are_uniform_and_independent():
    bits = [np.uint64(mixed(np.uint64(place * 0x9E3779B97F4A7C15 % 2**64))) for place in range(1, 20_001)]
    values = np.array([[uniform(own), uniform(np.uint64(further(own, 1)))] for own in bits])
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.03
    assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 0.03
