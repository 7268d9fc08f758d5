from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.metrics import gene_modules, module_correlation_error


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    programs = rng.gamma(2.0, size=(200, 3))
    return programs[:, np.repeat(np.arange(3), 5)] + rng.gamma(1.0, 0.2, size=(200, 15))


def test_modules_are_the_programs(cells):
    weights = gene_modules(cells, n_modules=3)
    groups = weights.argmax(1)
    assert [len(set(groups[i : i + 5])) for i in (0, 5, 10)] == [1, 1, 1]
    assert len(set(groups)) == 3


def test_activity_is_the_mean_of_standardised_genes(cells):
    weights = gene_modules(cells, n_modules=3)
    standard = (cells - cells.mean(0)) / cells.std(0, ddof=1)
    for module in range(3):
        expected = standard[:, weights[:, module] > 0].mean(1)
        found = cells @ weights[:, module]
        np.testing.assert_allclose(found - found.mean(), expected, atol=1e-9)


def test_silent_genes_are_in_no_module(cells):
    silent = np.concatenate([cells, np.zeros((200, 1)), np.eye(1, 200).T], axis=1)
    weights = gene_modules(silent, n_modules=3)
    assert (weights[-2:] == 0).all()
    assert gene_modules(np.zeros((5, 4))).shape == (4, 0)


def test_error_matches_numpy(cells):
    rng = np.random.default_rng(1)
    other, modules = rng.gamma(2.0, size=(80, 15)), rng.random((15, 4))
    upper = np.triu_indices(4, 1)
    expected = np.abs(np.corrcoef((other @ modules).T) - np.corrcoef((cells @ modules).T))[upper].mean()
    assert module_correlation_error(other, cells, modules=modules) == pytest.approx(expected, rel=1e-9)


def test_shuffled_genes_are_noticed_although_every_gene_keeps_its_distribution(cells):
    rng = np.random.default_rng(2)
    cells = cells + 2 * rng.gamma(2.0, size=(200, 1))
    shuffled = np.stack([rng.permutation(column) for column in cells.T], axis=1)
    modules = gene_modules(cells, n_modules=3)
    half = module_correlation_error(cells[:100], cells[100:], modules=modules)
    assert module_correlation_error(shuffled, cells, modules=modules) > 5 * half


def test_a_flat_module_counts_only_against_the_prediction():
    rng = np.random.default_rng(0)
    cells, flat = rng.normal(size=(50, 2)), np.ones((50, 1))
    observed, predicted = np.c_[cells, flat], np.c_[cells[:, :1], flat, flat]
    modules = np.eye(3)
    expected = abs(np.corrcoef(cells.T)[0, 1])
    assert module_correlation_error(predicted, observed, modules=modules) == pytest.approx(expected)


def test_undefined_is_nan_and_misfits_are_refused(cells):
    assert np.isnan(module_correlation_error(cells[:2], cells, modules=np.eye(15)))
    assert np.isnan(module_correlation_error(cells, cells, modules=np.eye(15)[:, :1]))
    with pytest.raises(ValueError, match="a row for each of the 15 genes"):
        module_correlation_error(cells, cells, modules=np.eye(14))
