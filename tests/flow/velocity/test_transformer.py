from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl.flow.velocity import transformer as velocity_transformer
from scperturbrl.flow.velocity.transformer import GeneEmbedding, VelocityTransformer, coexpressed


@pytest.fixture
def inputs():
    rng = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=rng)
    return draw(7, 9), torch.rand(7, generator=rng), draw(7, 9), draw(7, 16), draw(7, 16)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = VelocityTransformer(9, 16, 2)
    model.set_neighbours(torch.arange(9)[:, None].repeat(1, 9))
    with torch.no_grad():
        # the last layers start at zero
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_the_velocity_starts_at_zero(inputs, n_blocks):
    velocity = VelocityTransformer(9, 16, n_blocks)(*inputs)
    assert velocity.shape == (7, 9)
    assert (velocity == 0).all()


def test_every_input_matters_once_trained(inputs, model):
    with torch.no_grad():
        before = model(*inputs)
        for number in range(5):
            changed = [value + 0.3 if i == number else value for i, value in enumerate(inputs)]
            assert (model(*changed) - before).abs().max() > 1e-3


def test_the_sum_of_parts_enters_linearly(inputs, model):
    with torch.no_grad():
        x, t, control, code, total = inputs
        shift = model(x, t, control, code, 2 * total) - model(x, t, control, code, total)
        torch.testing.assert_close(shift, total @ model.shift.weight.T, atol=1e-5, rtol=1e-5)


def test_cells_do_not_see_each_other(inputs, model):
    with torch.no_grad():
        together = model(*inputs)
        alone = torch.cat([model(*(value[i : i + 1] for value in inputs)) for i in range(7)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_genes_attend_to_each_other(inputs, model):
    x, t, control, code, total = inputs
    other = x.clone()
    other[:, 0] += 1
    with torch.no_grad():
        change = (model(other, t, control, code, total) - model(x, t, control, code, total)).abs().amax(0)
    assert (change > 1e-6).all()


def test_some_genes_are_those_genes(inputs, model):
    # alone, so that it makes no difference what the left out ones say
    x, t, control, code, total = inputs
    with torch.no_grad():
        for gene in (0, 4):
            one = torch.tensor([gene])
            found = model(x[:, one], t, control[:, one], code, total, one)
            assert found.shape == (7, 1)
            other = model(x[:, one], t, control[:, one], code, total, torch.tensor([gene + 1]))
            assert (found - other).abs().max() > 1e-3
        everything = model(x, t, control, code, total, torch.arange(9))
    torch.testing.assert_close(everything, model(x, t, control, code, total))


def test_memory_is_bounded_without_gradients(inputs, model, monkeypatch):
    with torch.no_grad():
        together = model(*inputs)
        monkeypatch.setattr(velocity_transformer, "N_TOKENS", 18)
        sizes = []
        original = model._velocity
        monkeypatch.setattr(model, "_velocity", lambda x, *rest: sizes.append(len(x)) or original(x, *rest))
        torch.testing.assert_close(model(*inputs), together, atol=1e-5, rtol=1e-5)
    assert sizes == [2, 2, 2, 1]


def test_a_gene_sees_only_its_neighbours():
    torch.manual_seed(0)
    embedding = GeneEmbedding(5, 8, 2, n_neighbours=2)
    embedding.neighbours.copy_(torch.tensor([[0, 1], [1, 0], [2, 3], [3, 2], [4, 4]]))
    with torch.no_grad():
        before = embedding(None)
        embedding.embedding.weight[3] = torch.randn(8)
        change = (embedding(None) - before).abs().amax(1)
    assert (change[[0, 1, 4]] == 0).all()
    assert (change[[2, 3]] > 1e-4).all()


def test_drawn_genes_are_different_every_time(model):
    rng = torch.Generator().manual_seed(0)
    draws = [model.drawn_genes(4, rng) for _ in range(40)]
    assert all(len(set(genes.tolist())) == 4 for genes in draws)
    assert set(torch.cat(draws).tolist()) == set(range(9))
    assert model.drawn_genes(None, rng) is None
    assert model.drawn_genes(9, rng) is None


def test_heads_divide_the_width():
    for width in (16, 64, 100, 200, 512):
        layer = VelocityTransformer(3, width, 1).blocks[0].own
        assert width % layer.n_heads == 0
    assert layer.n_heads == 8


def test_coexpressed_is_the_largest_correlation():
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 8)) + rng.normal(size=(50, 8))
    cells[:, 5] = 1
    found = coexpressed(torch.tensor(cells), 3).numpy()
    with np.errstate(invalid="ignore"):
        correlation = np.nan_to_num(np.abs(np.corrcoef(cells.T)))
    np.fill_diagonal(correlation, 2)
    assert (found[:, 0] == np.arange(8)).all()
    for gene in (0, 3, 7):
        assert set(found[gene]) == set(np.argsort(-correlation[gene])[:3])
