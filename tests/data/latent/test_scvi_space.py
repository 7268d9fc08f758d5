from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy import sparse

from scperturbrl.data.cells.pca import Components
from scperturbrl.data.latent import scvi_training
from scperturbrl.data.latent.scvi_space import CountedCells, _layers, fit_scvi_space
from scperturbrl.data.latent.scvi_training import trained_scvi

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def counted() -> CountedCells:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 150)
    rate = rng.gamma(2.0, size=(2, 30)) * 4
    return CountedCells(sparse.csr_matrix(rng.poisson(rate[kind])), np.full(150, 3.0))


@pytest.fixture(scope="module")
def components(counted) -> Components:
    expression = np.log1p(counted.counts.toarray() * counted.unit[:, None]).astype(np.float32)
    mean = expression.mean(0)
    _, s, vt = np.linalg.svd(expression - mean, full_matrices=False)
    return Components(mean, vt[:4].T.astype(np.float32).copy(), (s[:4] ** 2 / 149).astype(np.float32))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(scvi_training, "N_STEPS", 20)


def test_encoder_and_decoder_are_those_of_scvi(counted):
    module = trained_scvi(counted.counts, 4, seed=0, device=CPU)
    encoder, decoder = _layers(module)
    counts = torch.tensor(counted.counts.toarray(), dtype=torch.float32)
    with torch.no_grad():
        posterior, _ = module.z_encoder(torch.log1p(counts))
        _, _, rate, _ = module.decoder("gene", posterior.loc, counts.sum(1, keepdim=True).log(), torch.zeros(150, 1))
    torch.testing.assert_close(encoder(torch.log1p(counts)), posterior.loc, rtol=1e-4, atol=1e-5)
    share = decoder(posterior.loc).softmax(1)
    torch.testing.assert_close(share * counts.sum(1, keepdim=True), rate, rtol=1e-4, atol=1e-5)


def test_coordinates_are_centred_with_one_common_scale(counted, components):
    space = fit_scvi_space(counted, components, 4, seed=0, device=CPU)
    latent = space.encode(torch.tensor(np.log1p(3.0 * counted.counts.toarray()), dtype=torch.float32))
    torch.testing.assert_close(latent.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    assert latent.var(0).mean().item() == pytest.approx(1, abs=1e-3)
    assert float(space.unit) == 3


def test_centre_and_scale_are_taken_out_again_by_the_decoder(counted, components):
    encoder, decoder = _layers(trained_scvi(counted.counts, 4, seed=0, device=CPU))
    space = fit_scvi_space(counted, components, 4, seed=0, device=CPU)
    counts = torch.tensor(counted.counts.toarray(), dtype=torch.float32)
    share = decoder(encoder(torch.log1p(counts))).softmax(1)
    decoded = space.decode(space.encode(torch.log1p(3.0 * counts))).expm1() / float(space.level)
    torch.testing.assert_close(decoded, share, rtol=1e-3, atol=1e-5)


def test_the_straight_line_predicts_coordinates_better_than_their_mean(counted, components):
    space = fit_scvi_space(counted, components, 4, seed=0, device=CPU)
    cells = torch.tensor(np.log1p(3.0 * counted.counts.toarray()), dtype=torch.float32)
    latent, line = space.encode(cells), space.project(cells - cells.mean(0))
    assert (latent - line).square().sum() < 0.8 * latent.square().sum()


def test_equal_seeds_give_equal_spaces_and_global_random_numbers_stay_as_they_were(counted, components):
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    first = fit_scvi_space(counted, components, 4, seed=0, device=CPU)
    drawn = random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert drawn == (random.random(), np.random.random(), torch.rand(1).item())  # noqa: NPY002
    second = fit_scvi_space(counted, components, 4, seed=0, device=CPU)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    other = fit_scvi_space(counted, components, 4, seed=1, device=CPU)
    assert not torch.equal(first.encoder_first, other.encoder_first)


def test_nothing_is_printed(counted, components, capfd):
    fit_scvi_space(counted, components, 4, seed=0, device=CPU, progress=False)
    assert capfd.readouterr() == ("", "")
