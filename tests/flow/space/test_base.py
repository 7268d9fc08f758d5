from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from scperturbrl.flow.architecture import described_space
from scperturbrl.flow.space.base import GeneSpace, PCASpace


@pytest.fixture
def fitted():
    cells = np.random.default_rng(0).gamma(2, size=(60, 12)).astype(np.float32)
    pca = PCA(4).fit(cells)
    space = PCASpace(torch.tensor(pca.mean_), torch.tensor(pca.components_.T.copy()), 1.7)
    return cells, pca, space


def test_encode_is_the_scaled_pca(fitted):
    cells, pca, space = fitted
    np.testing.assert_allclose(space.encode(torch.tensor(cells)), pca.transform(cells) / 1.7, atol=1e-5)
    assert space.dim == 4


def test_decode_is_the_inverse_of_the_pca(fitted):
    cells, pca, space = fitted
    latent = pca.transform(cells)
    decoded = space.decode(torch.tensor(latent / 1.7).float())
    np.testing.assert_allclose(decoded, pca.inverse_transform(latent), atol=1e-5)


def test_leading_dimensions_are_kept(fitted):
    cells, _, space = fitted
    grouped = torch.tensor(cells).view(3, 20, 12)
    latent = space.encode(grouped)
    torch.testing.assert_close(latent.view(60, 4), space.encode(torch.tensor(cells)))
    torch.testing.assert_close(space.encode(space.decode(latent)), latent, atol=1e-5, rtol=1e-5)


def test_the_space_is_saved_but_not_trained(fitted):
    *_, space = fitted
    assert set(space.state_dict()) == {"mean", "components", "scale"}
    assert list(space.parameters()) == []


def test_changes_are_projected_without_the_mean(fitted):
    cells, _, space = fitted
    first, second = torch.tensor(cells[:30]), torch.tensor(cells[30:])
    change = space.project(first - second)
    torch.testing.assert_close(change, space.encode(first) - space.encode(second), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(change, (first - second) @ space.loadings(), atol=1e-5, rtol=1e-4)


def test_genes_are_coordinates_of_their_own(fitted):
    cells, pca, _ = fitted
    space = GeneSpace(torch.tensor(pca.mean_), torch.tensor(pca.components_.T.copy()), 0.6)
    cells = torch.tensor(cells)
    latent = space.encode(cells)
    assert space.dim == 12
    torch.testing.assert_close(latent * 0.6 + cells.mean(0), cells, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(space.decode(latent), cells, atol=1e-5, rtol=1e-5)
    change = space.project(cells[:30] - cells[30:])
    torch.testing.assert_close(change, latent[:30] - latent[30:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(change, (cells[:30] - cells[30:]) @ space.loadings(), atol=1e-5, rtol=1e-4)


def test_spaces_in_words():
    assert described_space("pca", 4, 12) == "4 principal components of 12 genes"
    assert described_space("genes", 12, 12) == "12 genes"
