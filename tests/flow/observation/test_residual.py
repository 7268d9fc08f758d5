from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from scperturbrl.flow.observation.fit import ConditionCounts
from scperturbrl.flow.observation.nb import NegativeBinomialObservation
from scperturbrl.flow.observation.residual import _penalty, fit_residual

SINGLES = [[1, 0], [2, 0], [3, 0], [4, 0]]
TOKENS = torch.tensor([*SINGLES, [1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4], [0, 0]])


def counts_with(residual, *, tokens=TOKENS, depth=400.0, seed=0, between=0.0):
    rng = np.random.default_rng(seed)
    expected = rng.uniform(0.5, 1.5, (1, residual.shape[1])) * depth * np.ones((len(tokens), 1))
    shift = np.vstack([np.zeros(residual.shape[1]), residual])[tokens.numpy()].sum(1)
    shift = shift + rng.normal(0, between, shift.shape) if between else shift
    seen = rng.poisson(expected * np.exp(shift))
    parts = seen, expected, expected * np.exp(shift), np.ones(len(tokens))
    return ConditionCounts(*(torch.tensor(part).float() for part in parts))


def fitted(counts, tokens=TOKENS, n_tokens=4):
    observation = NegativeBinomialObservation(counts.seen.shape[1], 1, n_tokens)
    fit_residual(observation, counts, tokens)
    return observation.residual


def rows(counts, chosen):
    return ConditionCounts(*(part[chosen] for part in counts))


def test_an_additive_residual_is_recovered():
    residual = np.random.default_rng(3).uniform(-0.7, 0.7, (4, 30)) * (np.arange(30) < 10)
    found = fitted(counts_with(residual))
    np.testing.assert_allclose(found[1:, :10], residual[:, :10], atol=0.12)
    assert found[1:, 10:].abs().mean() < 0.03
    assert (found[0] == 0).all()


def test_perturbations_that_were_only_measured_alone_keep_theirs():
    residual = np.random.default_rng(4).normal(0, 0.5, (4, 200))
    tokens = torch.tensor(SINGLES)
    found = fitted(counts_with(residual, tokens=tokens), tokens)[1:].numpy()
    assert np.corrcoef(found.ravel(), residual.ravel())[0, 1] > 0.98
    assert np.mean((found - residual) ** 2) < 0.05 * np.mean(residual**2)


def test_it_is_the_ridge_of_its_penalty():
    counts = counts_with(np.random.default_rng(5).normal(0, 0.3, (4, 1)))
    # one gene and equal depth
    seen, expected, deviations = (part[:-1, 0].double() for part in counts[:3])
    ratio = torch.log((seen + 1) / (expected + 1))
    noise = (deviations / (expected + 1).square()).mean()
    design = np.array([[token in pair for token in range(1, 5)] for pair in TOKENS[:-1].tolist()], dtype=float)
    penalty = _penalty(
        ratio.square().sum()[None] / noise, len(ratio), float(np.linalg.eigvalsh(design.T @ design).mean())
    )
    ridge = Ridge(float(penalty), fit_intercept=False).fit(design, ratio.numpy())
    np.testing.assert_allclose(fitted(counts)[1:, 0], ridge.coef_, rtol=1e-3)


def test_penalties_are_small_for_the_few_genes_with_a_residual():
    rng, n = np.random.default_rng(0), 6
    variance = np.where(np.arange(2000) < 100, 50.0, 0.0)
    squares = ((1 + variance) * rng.chisquare(n, 2000)).astype(np.float32)
    penalty = _penalty(torch.tensor(squares), n, 1.0)
    # the penalty of a known variance is its inverse
    assert penalty[:100].median() < 2 / 50
    assert penalty[100:].median() > 20


def carried_mean(counts, residual):
    """Mean counts of control cells that counts are carried over from, by expectation."""
    seen, expected = counts.seen[0].numpy(), counts.expected[0].numpy()
    wanted = counts.expected[1].numpy() * np.exp(residual)
    return np.where(wanted >= expected, seen + wanted - expected, seen * wanted / expected)


def test_counts_that_are_carried_over_reach_the_mean_of_the_condition():
    # the layer expects too much of the control cells of some genes, and too little of others
    expected = torch.tensor([[200.0, 200.0, 200.0, 200.0], [300.0, 100.0, 300.0, 100.0]])
    seen = torch.tensor([[100.0, 100.0, 400.0, 400.0], [500.0, 40.0, 900.0, 150.0]])
    counts = ConditionCounts(seen, expected, seen / 100, torch.ones(2))
    observation, tokens = NegativeBinomialObservation(4, 1, 1), torch.tensor([[0], [1]])
    fit_residual(observation, counts, tokens, torch.tensor([0, 0]))
    np.testing.assert_allclose(carried_mean(counts, observation.residual[1].numpy()), seen[1], rtol=0.05)
    fit_residual(observation, counts, tokens)
    assert np.abs(carried_mean(counts, observation.residual[1].numpy()) / seen[1].numpy() - 1).max() > 0.2


def test_noise_leaves_next_to_no_residual():
    counts = counts_with(np.zeros((4, 300)), depth=50.0)
    noise = torch.log((counts.seen + 1) / (counts.expected + 1)).std()
    assert fitted(counts).square().mean().sqrt() < 0.2 * noise


def test_what_differs_between_contexts_is_noise():
    tokens = torch.tensor([[1]] * 6)
    truth = np.full((1, 400), 0.2) * np.random.default_rng(6).choice([-1, 0, 1], 400)
    steady = fitted(counts_with(truth, tokens=tokens), tokens, 1)[1]
    varying = fitted(counts_with(truth, tokens=tokens, between=0.6), tokens, 1)[1]
    real = torch.tensor(truth[0]).float()
    assert (varying * real).sum() / real.square().sum() < 0.8 < (steady * real).sum() / real.square().sum()
    # the plain mean over contexts errs by their variance over their number
    assert (varying - real).square().mean() < 0.7 * 0.6**2 / 6


def test_a_perturbation_that_training_lacks_keeps_none():
    kept = (TOKENS != 4).all(1)
    found = fitted(rows(counts_with(np.full((4, 5), 0.8)), kept), TOKENS[kept])
    assert (found[4] == 0).all()
    np.testing.assert_allclose(found[1:4], 0.8, atol=0.2)


@pytest.mark.parametrize("chosen", [[10], [10, 10, 10]])
def test_control_conditions_alone_change_nothing(chosen):
    assert (fitted(rows(counts_with(np.full((4, 5), 0.8)), chosen), TOKENS[chosen]) == 0).all()


def test_genes_without_counts_have_no_residual():
    counts = counts_with(np.full((4, 5), 0.8))
    counts.seen[:, 2], counts.expected[:, 2], counts.deviations[:, 2] = 0, 0, 0
    assert (fitted(counts)[:, 2] == 0).all()
