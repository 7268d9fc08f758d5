from __future__ import annotations

import pytest
import torch

from scperturbrl.flow.architecture import Architecture, described_space
from scperturbrl.flow.generator import Generator
from scperturbrl.flow.observation.scvi import ScviObservation
from scperturbrl.flow.space.scvi import ScviSpace, TwoLayers

N_GENES, N_HIDDEN, N_LATENT = 12, 7, 3


def layers(*sizes: int, seed: int) -> TwoLayers:
    rng = torch.Generator().manual_seed(seed)
    return TwoLayers(*(0.3 * torch.randn(part.shape, generator=rng) for part in TwoLayers.zeros(*sizes)))


@pytest.fixture
def space() -> ScviSpace:
    encoder, decoder = layers(N_GENES, N_HIDDEN, N_LATENT, seed=0), layers(N_LATENT, N_HIDDEN, N_GENES, seed=1)
    linear = torch.randn(4, N_LATENT, generator=torch.Generator().manual_seed(2))
    return ScviSpace(torch.zeros(N_GENES), torch.eye(N_GENES)[:, :4], linear, encoder, decoder, unit=2.0, level=500.0)


@pytest.fixture
def observation(space) -> ScviObservation:
    layer = ScviObservation(N_GENES, N_LATENT, N_HIDDEN, n_tokens=2, total=500.0)
    layer.start_from(space)
    return layer


def test_two_layers_are_a_perceptron():
    parts = layers(5, 4, 3, seed=0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    values = (part.T if part.ndim == 2 else part for part in parts)
    network.load_state_dict(dict(zip(names, values, strict=True)))
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(parts(x), network(x))


def test_cells_of_the_same_expression_have_the_same_coordinates_at_any_depth(space):
    counts = torch.tensor([[1.0, 0, 3, 2, 0, 5, 1, 1, 0, 2, 4, 1]])
    deep = counts * 4
    shallow, at_depth = (torch.log1p(500 * x / x.sum()) for x in (counts, deep))
    torch.testing.assert_close(space.encode(shallow), space.encode(at_depth))


def test_the_encoder_sees_counts_at_the_typical_depth(space):
    counts = torch.tensor([[1.0, 0, 3, 2, 0, 5, 1, 1, 0, 2, 4, 1]])
    encoder = space._layers("encoder")
    torch.testing.assert_close(space.encode(torch.log1p(2.0 * counts)), encoder(torch.log1p(counts)))


def test_decoded_expression_adds_up_to_the_level(space):
    latent = torch.randn(4, 5, N_LATENT, generator=torch.Generator().manual_seed(0))
    decoded = space.decode(latent)
    assert decoded.shape == (4, 5, N_GENES)
    torch.testing.assert_close(decoded.expm1().sum(-1), torch.full((4, 5), 500.0))


def test_changes_follow_a_straight_line_through_the_components(space):
    change = torch.randn(3, N_GENES, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(space.project(change), change @ space.loadings())
    torch.testing.assert_close(space.project(2 * change), 2 * space.project(change))
    assert space.loadings().shape == (N_GENES, N_LATENT)


def test_the_observation_layer_starts_with_the_rates_of_the_decoder(space, observation):
    latent = torch.randn(5, N_LATENT, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(observation.log_rate(latent).exp(), space.decode(latent).expm1())


def test_without_a_total_a_typical_cell_has_the_level(space):
    panel = ScviObservation(N_GENES, N_LATENT, N_HIDDEN, n_tokens=2)
    panel.start_from(space)
    assert panel.log_rate(torch.zeros(1, N_LATENT)).exp().sum().item() == pytest.approx(500, rel=1e-4)


def test_counts_have_a_gradient_with_respect_to_the_coordinates(observation):
    latent = torch.randn(8, N_LATENT, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rng = torch.Generator().manual_seed(1)
    cells, counts = observation.sample(observation.log_rate(latent), torch.full((8,), 2.0), rng, differentiable=True)
    cells.sum().backward()
    assert torch.equal(counts, counts.round())
    assert latent.grad.abs().sum() > 0


def test_a_generator_of_this_space_comes_back_from_arrays():
    sizes = {"n_genes": N_GENES, "n_latent": N_LATENT, "n_hidden": N_HIDDEN, "n_components": 4, "space": "scvi"}
    generator = Generator(
        Architecture(n_tokens=2, n_features=0, n_covariate_values=(), width=16, n_groups=1, total=500.0, **sizes)
    )
    again = Generator.from_arrays(generator.architecture_dict(), generator.to_arrays())
    assert isinstance(again.space, ScviSpace)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in generator.state_dict().items())
    assert described_space("scvi", 3, 12) == "3 scVI coordinates of 12 genes"
