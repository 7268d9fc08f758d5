from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.decomposition import PCA

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.latent import space as module
from scperturbrl.data.latent.space import MOST, fit_space, signal_share, with_signal


@pytest.mark.parametrize("most", [0, 4000])
def test_components_are_those_of_pca_from_the_covariance_and_from_the_cells(ready_toy, monkeypatch, most):
    monkeypatch.setattr(module, "MOST_IN_COVARIANCE", most)
    cells = Cells.of(ready_toy)
    rows = np.flatnonzero(cells.is_training())
    found = fit_space("pca", 10, cells, rows, seed=0, device="cpu")
    expected = PCA(10, svd_solver="full").fit(cells.block(rows).astype(float))
    overlap = np.linalg.svd(found.components.numpy().T @ expected.components_.T, compute_uv=False)
    np.testing.assert_allclose(overlap, 1, atol=1e-5)
    np.testing.assert_allclose(np.abs((found.components.numpy() * expected.components_.T).sum(0)), 1, atol=1e-4)
    assert found.scale == pytest.approx(np.sqrt(expected.explained_variance_.mean()), rel=1e-4)


N, G, N_RARE = 400, 60, 10


def counted(depth, *, rank=1, spread=0.6, seed=0):
    """Poisson counts whose log rates vary along `rank` orthonormal directions ``(G, rank)``, and these."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(G, rank)))[0]
    score = rng.normal(size=(N, rank)) * spread * np.sqrt(G) / 5
    rate = np.exp(np.log(rng.gamma(3, size=G)) + score @ directions.T)
    mean = depth * rate / rate.sum(1, keepdims=True)
    # of a deep cell too some gene has a single count, by which counts are known from normalised values
    mean[:, -N_RARE:] = 1
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)))
    adata.obs["perturbation"] = ["control", "a"] * (N // 2)
    adata.obs_names = [f"c{i}" for i in range(N)]
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obs["split"] = "train"
    spr.pp.setup_anndata(adata)
    return Cells.of(adata), directions


def components(cells, n):
    block = cells.block(np.arange(N))
    return np.linalg.svd(block - block.mean(0), full_matrices=False)[2][:n].T


def test_one_direction_of_deep_counts_is_signal_and_the_others_are_noise():
    cells, directions = counted(200_000)
    loadings = components(cells, 8)
    assert abs(loadings[:, 0] @ directions[:, 0]) > 0.7
    share = signal_share(cells, np.arange(N), loadings, seed=0)
    assert share[0] > 0.99
    noise = signal_share(cells, np.arange(N), np.linalg.qr(np.random.default_rng(1).normal(size=(G, 8)))[0], seed=0)
    assert (noise <= 1).all()


def test_counts_around_one_profile_are_noise():
    cells, _ = counted(1_000, spread=0.0)
    share = signal_share(cells, np.arange(N), components(cells, 10), seed=0)
    # even of the directions in which these very cells vary most
    assert share.max() < 0.3
    assert share.mean() < 0.15


def test_the_share_is_that_of_the_variance_of_rates():
    cells, _ = counted(3_000)
    deep, _ = counted(300_000)
    loadings = components(deep, 1)
    shallow, signal = (one.block(np.arange(N)) @ loadings for one in (cells, deep))
    # the same rates were drawn from: what the shallow cells share with the deep ones is signal
    expected = float(np.corrcoef(shallow[:, 0], signal[:, 0])[0, 1] ** 2)
    assert 0.3 < expected < 0.97
    assert signal_share(cells, np.arange(N), loadings, seed=0)[0] == pytest.approx(expected, abs=0.08)


def test_the_order_of_blocks_and_the_seed_hardly_matter():
    cells, _ = counted(3_000)
    loadings = components(cells, 3)
    one, other = (signal_share(cells, np.arange(N), loadings, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, atol=0.15)
    np.testing.assert_array_equal(one, signal_share(cells, np.arange(N), loadings, seed=0))


def test_components_with_a_quarter_of_signal_are_kept_and_three_at_least():
    assert with_signal(np.array([0.9, 0.1, 0.3, 0.25, 0.2])).tolist() == [0, 2, 3]
    assert with_signal(np.array([0.9, 0.1, 0.1, 0.0])).tolist() == [0, 1, 2]
    assert with_signal(np.array([0.1, 0.1])).tolist() == [0, 1]


@pytest.mark.parametrize(("depth", "low", "high"), [(400, 3, 8), (40_000, 4, 25)])
def test_a_shallow_panel_has_fewer_components(depth, low, high):
    cells, _ = counted(depth, rank=4, spread=0.9)
    space = fit_space("pca", None, cells, np.arange(N), seed=0, device="cpu")
    assert low <= space.dim <= high
    assert fit_space("pca", 20, cells, np.arange(N), seed=0, device="cpu").dim == 20
    assert fit_space("genes", None, cells, np.arange(N), seed=0, device="cpu").components.shape[1] == min(MOST, G - 1)
