from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import stats

from scperturbrl.flow.observation.hashed_counts import draw_counts

KEYS = np.random.default_rng(0).integers(2**64, size=20_000, dtype=np.uint64, endpoint=False)


@pytest.mark.parametrize("mean", [0.02, 0.6, 3.0, 39.0, 41.0, 400.0])
@pytest.mark.parametrize("theta", [0.2, 1.5, 1e4])
def test_counts_have_the_distribution_of_scipy(mean, theta):
    counts = draw_counts(torch.full((len(KEYS), 1), mean), torch.tensor([theta]), KEYS).numpy()[:, 0]
    law = stats.nbinom(theta, theta / (theta + mean))
    # equally likely classes, as far as counts allow
    edges = np.unique(law.ppf(np.linspace(0, 1, 21)[1:-1]))
    share = np.diff(np.concatenate([[0], law.cdf(edges), [1]]))
    found = np.bincount(np.searchsorted(edges, counts), minlength=len(share))
    assert stats.chisquare(found, share * len(KEYS)).pvalue > 1e-4
    assert counts.mean() == pytest.approx(mean, abs=5 * law.std() / np.sqrt(len(KEYS)))


def test_a_count_depends_on_its_cell_and_gene_alone():
    rng = np.random.default_rng(1)
    mean, theta = (
        torch.as_tensor(rng.gamma(0.5, 10.0, (300, 40)).astype(np.float32)),
        torch.as_tensor(rng.gamma(2.0, size=40)),
    )
    whole = draw_counts(mean, theta, KEYS[:300])
    assert (whole > 40).any()
    order = rng.permutation(300)
    torch.testing.assert_close(draw_counts(mean[order], theta, KEYS[order]), whole[order], rtol=0, atol=0)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda own: draw_counts(mean[own], theta, KEYS[own]), np.array_split(np.arange(300), 7)))
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)


def test_cells_and_genes_are_independent():
    counts = draw_counts(torch.full((4000, 6), 2.0), torch.full((6,), 2.0), np.arange(4000, dtype=np.uint64)).numpy()
    assert np.abs(np.corrcoef(counts.T) - np.eye(6)).max() < 0.07
    assert np.abs(np.corrcoef(counts[1:, 0], counts[:-1, 0])[0, 1]) < 0.07


def test_no_counts_are_expected_where_the_mean_is_zero():
    assert (draw_counts(torch.zeros(3, 2), torch.ones(2), KEYS[:3]) == 0).all()
