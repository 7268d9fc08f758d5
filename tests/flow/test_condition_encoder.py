from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from scperturbrl.flow.condition_encoder import ConditionEncoder

FEATURES = torch.linspace(-1, 1, 24).view(6, 4)


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ConditionEncoder(5, 4, (2, 3), 16).eval()


@pytest.fixture
def encode(encoder, make_batch):
    def run(parts, *, covariates=(0, 0), **options):
        batch = make_batch(parts, features=FEATURES, covariates=[list(covariates)] * len(parts), **options)
        with torch.no_grad():
            return encoder(batch)

    return run


def test_the_order_of_parts_does_not_matter(encode):
    one, other = encode([(1, 2, 5)]), encode([(5, 1, 2)])
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_padding_does_not_matter(encode):
    for a, b in zip(encode([(1, 2)]), encode([(1, 2)], length=6), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_a_control_is_the_empty_set(encode):
    code, total = encode([(), (3,)])
    assert (total[0] == 0).all()
    assert (total[1] != 0).any()
    torch.testing.assert_close(code[0], encode([()], length=4)[0][0])
    assert (code[0] - code[1]).abs().max() > 1e-3


def test_the_dose_of_a_control_does_not_matter(encode):
    torch.testing.assert_close(encode([()], dose=[0.0]), encode([()], dose=[7.0]))


def test_a_combination_is_the_sum_of_its_parts(encode):
    _, total = encode([(1, 4), (1,), (4,)])
    torch.testing.assert_close(total[0], total[1] + total[2], atol=1e-6, rtol=0)


def test_dose_matters(encode):
    codes, totals = encode([(1,), (1,), (1,)], dose=[0.0, 1.0, 10.0])
    for values in (codes, totals):
        assert (values[0] - values[1]).abs().max() > 1e-3
        assert (values[1] - values[2]).abs().max() > 1e-3


def test_covariate_0_adds_nothing_and_others_do(encode, encoder):
    assert all((table.weight[0] == 0).all() for table in encoder.covariates)
    codes = {value: encode([(1,)], covariates=value) for value in [(0, 0), (1, 0), (0, 2)]}
    torch.testing.assert_close(codes[1, 0][1], codes[0, 0][1])
    for value in [(1, 0), (0, 2)]:
        assert (codes[value][0] - codes[0, 0][0]).abs().max() > 1e-2
    without = ConditionEncoder(5, 4, (), 16)
    without.load_state_dict({k: v for k, v in encoder.state_dict().items() if not k.startswith("covariates")})


def test_token_0_is_never_learnt(encoder, make_batch):
    code, _ = encoder(make_batch([(1,), ()], features=FEATURES, covariates=[[0, 0], [1, 1]]))
    code.sum().backward()
    assert (encoder.embedding.weight.grad[0] == 0).all()
    assert (encoder.embedding.weight.grad[1] != 0).any()
    assert all((table.weight.grad[0] == 0).all() for table in encoder.covariates)
    encoder.zero_grad()


def test_a_forgotten_token_leaves_the_features(encode, encoder, make_batch):
    batch = make_batch([(1,), (2,)], features=FEATURES, covariates=[[0, 0]] * 2)
    forgotten = batch.forgetting(torch.tensor([[False], [True]]), torch.ones_like(batch.covariates))
    assert forgotten.tokens.tolist() == [[0], [2]]
    torch.testing.assert_close(forgotten.features, batch.features)
    with torch.no_grad():
        code, _ = encoder(forgotten)
    assert (code[0] - encode([(1,)])[0][0]).abs().max() > 1e-4
    torch.testing.assert_close(code[1], encode([(2,)])[0][0], atol=1e-6, rtol=0)


def test_select_and_to(make_batch):
    batch = make_batch([(1,), (2, 3), ()], features=FEATURES, dose=[1.0, 2.0, 0.0], covariates=[[1, 0], [2, 3], [0, 0]])
    picked = batch.select(torch.tensor([1, 1, 0])).to("cpu")
    assert len(batch) == len(picked) == 3
    assert picked.tokens.tolist() == [[2, 3], [2, 3], [1, 0]]
    assert picked.dose.tolist() == [2, 2, 1]
    assert picked.covariates.tolist() == [[2, 3], [2, 3], [1, 0]]


def test_cells_of_translated_conditions_can_come_from_the_flow(make_batch):
    batch = make_batch([(1,), (2,)], features=FEATURES)
    assert batch.of_flow() is batch
    shift = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    moved = replace(batch, shift=shift, translated=torch.tensor([True, False]), gene_shift=torch.ones(2, 5)).of_flow()
    assert moved.translated is None
    assert moved.gene_shift is None
    torch.testing.assert_close(moved.shift, torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
