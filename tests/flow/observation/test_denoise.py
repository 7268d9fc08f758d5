from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.architecture import Architecture
from scperturbrl.flow.generator import Generator
from scperturbrl.flow.observation.denoise import condition_means, fit_observation, shrink
from scperturbrl.flow.space.base import PCASpace

N, G, D, C = 2500, 200, 3, 4
STRENGTH = np.array([0.25, 0.22, 0.2])


@pytest.fixture(scope="module")
def noisy():
    rng = np.random.default_rng(0)
    codes = rng.integers(C, size=N)
    loading = rng.normal(0, 0.5, (D, G)) * STRENGTH[:, None]
    state = rng.normal(size=(N, D)) + rng.normal(0, 1.5, (C, D))[codes]
    rate, unit = np.exp(rng.normal(3, 0.8, G) + state @ loading), rng.uniform(60, 90, N)
    # two experiments on the same cells, so that what they share is known
    counts, again = (rng.poisson(rate / unit[:, None] * rng.gamma(4, 1 / 4, rate.shape)) for _ in range(2))
    cells, repeated = (np.log1p(unit[:, None] * drawn).astype(np.float32) for drawn in (counts, again))
    pca = PCA(D).fit(cells)
    scale = pca.explained_variance_.mean() ** 0.5
    space = PCASpace(torch.tensor(pca.mean_), torch.tensor(pca.components_.T.copy()), scale)
    counts, unit = torch.tensor(counts).float(), torch.tensor(unit).float()
    latent = [space.encode(torch.tensor(drawn)) for drawn in (cells, repeated)]
    return space, counts, unit, latent[0], torch.tensor(codes), latent[1]


def fit(noisy, n_rounds):
    space, counts, unit, latent, codes, _ = noisy
    generator = Generator(Architecture(G, D, C, 0, (), width=8, n_blocks=1))
    generator.space = space
    factor = fit_observation(
        generator,
        lambda index: counts[index],
        unit,
        latent,
        codes,
        torch.arange(1, C + 1)[:, None],
        n_steps=400,
        n_rounds=n_rounds,
        seed=0,
    )
    return generator, factor


def variance_ratio(noisy, generator, factor):
    space, _, unit, latent, codes, _ = noisy
    rate = generator.observation.log_rate(shrink(latent, codes, factor))
    cells, _ = generator.observation.sample(rate, unit, torch_rng(9, "test"))
    within = [
        np.mean([values[codes.numpy() == c].var(0) for c in range(C)], axis=0)
        for values in (space.encode(cells).numpy(), latent.numpy())
    ]
    return within[0] / within[1]


def test_redrawn_cells_have_the_variance_of_real_ones(noisy):
    doubled = variance_ratio(noisy, *fit(noisy, 0))
    right = variance_ratio(noisy, *fit(noisy, 3))
    assert (doubled > 1.2).all()
    assert (right > 0.8).all()
    assert (right < 1.15).all()


def test_the_factor_is_the_share_of_spread_that_a_second_experiment_repeats(noisy):
    *_, latent, codes, repeated = noisy
    _, factor = fit(noisy, 3)
    inside = [latent[codes == c].numpy() for c in range(C)], [repeated[codes == c].numpy() for c in range(C)]
    shared = [[np.corrcoef(a[:, d], b[:, d])[0, 1] for d in range(D)] for a, b in zip(*inside, strict=True)]
    np.testing.assert_allclose(factor, np.sqrt(np.mean(shared, axis=0)), atol=0.12)


def test_the_same_seed_gives_the_same_fit(noisy):
    once, again = fit(noisy, 1), fit(noisy, 1)
    torch.testing.assert_close(once[1], again[1], rtol=0, atol=0)
    torch.testing.assert_close(once[0].observation.loading, again[0].observation.loading, rtol=0, atol=0)


def test_shrinking_keeps_means_and_scales_deviations(noisy):
    *_, latent, codes, _ = noisy
    factor = torch.linspace(0, 1, D)
    found = shrink(latent, codes, factor)
    for c in range(C):
        own = codes == c
        np.testing.assert_allclose(condition_means(latent, codes)[c], latent[own].mean(0), atol=1e-4)
        np.testing.assert_allclose(found[own].mean(0), latent[own].mean(0), atol=1e-4)
        np.testing.assert_allclose(found[own].std(0), factor * latent[own].std(0), atol=1e-4)
