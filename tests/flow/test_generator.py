from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.generated_blocks import BLOCK
from scperturbrl.flow.generator import Architecture, Generator
from scperturbrl.flow.sampler import integrate


@pytest.fixture
def generate(make_generator, make_batch):
    generator, batch = make_generator(), make_batch([(1,), (2, 3)])
    rng = torch.Generator().manual_seed(0)
    control, unit = torch.rand(1400, 6, generator=rng), 0.5 + torch.rand(1400, generator=rng)
    index = torch.randint(2, (1400,), generator=rng)
    return lambda n, seed=0, model=generator: model.generate(control[:n], unit[:n], batch, index[:n], seed=seed)


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_same_seed_gives_the_same_cells(generate):
    assert equal(generate(40, seed=3), generate(40, seed=3))
    assert not torch.equal(generate(40, seed=3)[1], generate(40, seed=4)[1])


@pytest.mark.parametrize(("few", "many"), [(1, 2), (10, 40), (BLOCK - 1, BLOCK), (BLOCK, BLOCK + 7), (700, 1400)])
def test_cells_do_not_depend_on_those_after_them(generate, few, many):
    assert equal(generate(few), [values[:few] for values in generate(many)])


def test_blocks_have_streams_of_their_own(make_generator, make_batch):
    ones = torch.ones(2 * BLOCK)
    cells, _ = make_generator().generate(torch.zeros(2 * BLOCK, 6), ones, make_batch([(1,)]), ones.long() - 1, seed=0)
    assert not torch.equal(cells[:BLOCK], cells[BLOCK:])


def test_cells_fit_their_counts(generate):
    cells, counts = generate(50)
    assert cells.shape == counts.shape == (50, 6)
    # one of six genes may have no counts at all
    some = counts.sum(1) > 0
    cells, counts = cells[some], counts[some]
    unit = np.expm1(cells.numpy()) / np.where(counts > 0, counts, np.nan)
    np.testing.assert_allclose(np.nanmax(unit, 1), np.nanmin(unit, 1), rtol=1e-4)


def test_arrays_round_trip(make_generator, generate):
    generator = make_generator(seed=5)
    arrays = generator.to_arrays()
    assert all(isinstance(value, np.ndarray) and value.dtype == np.float32 for value in arrays.values())
    again = Generator.from_arrays(generator.architecture_dict(), arrays)
    assert again.architecture == generator.architecture
    assert not again.training
    assert equal(generate(30, model=generator), generate(30, model=again))


def test_arrays_are_copies(make_generator):
    generator = make_generator()
    arrays = generator.to_arrays()
    arrays["space.mean"][:] = 9
    assert (generator.space.mean < 9).all()


def test_an_architecture_read_from_a_file_is_understood(make_generator):
    generator = make_generator()
    read = {
        name: np.array(value) if name == "n_covariate_values" else value
        for name, value in generator.architecture_dict().items()
    }
    read |= {name: np.int64(read[name]) for name in ("n_genes", "width", "solver_steps")}
    assert Generator.from_arrays(read, generator.to_arrays()).architecture == generator.architecture


def drop(name):
    return lambda arrays: {key: value for key, value in arrays.items() if key != name}


def replace(name, change):
    return lambda arrays: {**arrays, name: change(arrays[name].copy())}


def poke(value):
    def change(array):
        array.flat[0] = value
        return array

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop("space.mean"), r"'space\.mean' is missing"),
        (lambda arrays: {**arrays, "extra": np.zeros(1)}, r"Unknown weights \['extra'\]"),
        (replace("space.mean", lambda a: a[:-1]), r"'space\.mean' has shape \(5,\); expected \(6,\)"),
        (replace("observation.loading", poke(np.nan)), r"'observation\.loading' holds values that are not finite"),
        (replace("observation.loading", poke(np.inf)), r"'observation\.loading' holds values that are not finite"),
        (replace("observation.max_log_rate", poke(np.nan)), r"'observation\.max_log_rate' holds values"),
    ],
)
def test_wrong_weights_are_named(make_generator, spoil, message):
    generator = make_generator()
    with pytest.raises(ValueError, match=message):
        Generator.from_arrays(generator.architecture_dict(), spoil(generator.to_arrays()))


def test_the_sampler_is_the_one_of_the_architecture(make_generator, make_batch):
    generator, batch = make_generator(solver_steps=3, solver="rk4"), make_batch([(1,), (2, 3)])
    control, index = torch.randn(5, 3), torch.tensor([1, 0, 1, 1, 0])
    with torch.no_grad():
        found = generator.sample_latent(control, batch, index, torch_rng(1, "test"))
        code, total = generator.encoder(batch)
        noise = torch.randn(5, 3, generator=torch_rng(1, "test"))
        field = lambda x, t: generator.velocity(x, t, control, code[index], total[index])
        torch.testing.assert_close(found, integrate(field, noise, n_steps=3, solver="rk4"))


def test_few_conditions_are_looked_at_once_each(make_generator, make_batch):
    generator, batch = make_generator(), make_batch([(1,), (2, 3)])
    torch.nn.init.normal_(generator.velocity.outlet.weight)
    torch.nn.init.normal_(generator.velocity.blocks[0].modulation.weight)
    index = torch.tensor([0, 1, 1, 0, 1, 0])
    control = torch.randn(6, generator.space.dim, generator=torch_rng(1, "test"))
    # as many conditions as cells
    ways = [(batch, index), (batch.select(index), torch.arange(6))]
    few, many = (generator.sample_latent(control, *way, torch_rng(0, "test")) for way in ways)
    torch.testing.assert_close(few, many, rtol=1e-4, atol=1e-4)
    approach = generator.approach(control, batch, index, torch_rng(0, "test"))
    ends = [generator.last_step(approach, control, *way) for way in ways]
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-4)
    slopes = [torch.autograd.grad(x.square().sum(), generator.velocity.outlet.weight)[0] for x in ends]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_steps", [1, 5])
def test_the_last_step_ends_where_the_sampler_does(make_generator, make_batch, n_steps):
    generator, batch = make_generator(solver_steps=n_steps), make_batch([(1,), (2, 3)])
    torch.nn.init.normal_(generator.velocity.outlet.weight)
    control, index = torch.randn(4, generator.space.dim), torch.tensor([0, 1, 1, 0])
    approach = generator.approach(control, batch, index, torch_rng(2, "test"))
    end = generator.last_step(approach, control, batch, index)
    assert torch.equal(end.detach(), generator.sample_latent(control, batch, index, torch_rng(2, "test")))
    assert not torch.equal(end.detach(), approach)


def test_only_the_last_step_carries_a_gradient(make_generator, make_batch):
    generator, batch = make_generator(), make_batch([(1,)])
    control, index = torch.zeros(4, 3), torch.zeros(4).long()
    assert not generator.sample_latent(control, batch, index, torch_rng(0, "test")).requires_grad
    approach = generator.approach(control, batch, index, torch_rng(0, "test"))
    assert not approach.requires_grad
    generator.last_step(approach, control, batch, index).sum().backward()
    assert all(p.grad is not None for p in generator.network_parameters())
    assert all(not name.startswith(("space", "observation")) for name, _ in generator.named_parameters())


def test_the_rate_has_the_residual_of_the_condition(make_generator, make_batch):
    generator, batch = make_generator(), make_batch([(1,), (2, 3)])
    latent, index = torch.randn(3, 3), torch.tensor([1, 0, 1])
    residual = generator.observation.residual[batch.tokens].sum(1)
    expected = generator.observation.log_rate(latent) + residual[index]
    torch.testing.assert_close(generator.log_rate(latent, batch, index), expected)


def test_it_shows_sizes_instead_of_layers():
    generator = Generator(Architecture(n_genes=5, n_latent=2, n_tokens=3, n_features=0, n_covariate_values=(4,)))
    text, html = repr(generator), generator._repr_html_()
    assert "2 principal components of 5 genes" in text
    assert "4 values" in html
    assert f"{sum(value.numel() for value in generator.state_dict().values()):,}" in text
    assert "Linear" not in text


@pytest.mark.parametrize("wrong", [-1.0, 6.0])
def test_genes_that_do_not_exist_are_refused(make_generator, wrong):
    generator = make_generator(n_latent=6, space="genes", n_components=2, backbone="transformer")
    arrays = generator.to_arrays()
    Generator.from_arrays(generator.architecture_dict(), arrays)
    arrays["velocity.genes.neighbours"][2, 1] = wrong
    with pytest.raises(ValueError, match=r"'velocity\.genes\.neighbours'.*do not exist"):
        Generator.from_arrays(generator.architecture_dict(), arrays)


@pytest.mark.parametrize(("name", "value"), [("space", "umap"), ("backbone", "cnn"), ("precision", "float8")])
def test_unknown_kinds_are_refused(make_generator, name, value):
    generator = make_generator()
    with pytest.raises(ValueError, match=f"`{name}` is '{value}'"):
        Generator.from_arrays(generator.architecture_dict() | {name: value}, generator.to_arrays())
