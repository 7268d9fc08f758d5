from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from scperturbrl.flow.space import PCASpace


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
