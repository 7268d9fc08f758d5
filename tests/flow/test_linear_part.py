from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scperturbrl.flow.linear_part import LinearPart, agreement_weight, effect_magnitude, recentring_weight


@pytest.fixture
def linear():
    part = LinearPart(n_groups=2, n_tokens=3, n_latent=2)
    part.coefficients[:, 1:] = torch.arange(18.0).view(3, 3, 2)
    part.covered[0, 1:] = 1
    part.covered[1, 1:3] = 1
    part.coefficients[1, 3] = part.coefficients[2] = 0
    return part


def test_effects_of_the_parts_add_up(linear, make_batch):
    batch = make_batch([[1, 2], [2], [3]])
    effect, known = linear(batch, torch.tensor([1, 1, 0]), batch.features)
    assert known.tolist() == [True] * 3
    own = linear.coefficients
    torch.testing.assert_close(effect, torch.stack([own[1, 1] + own[1, 2], own[1, 2], own[0, 3]]))


def test_a_group_that_does_not_know_all_parts_uses_the_pooled_effects(linear, make_batch):
    batch = make_batch([[1, 3], [1]])
    effect, _ = linear(batch, torch.tensor([1, 2]), batch.features)
    torch.testing.assert_close(
        effect, torch.stack([linear.coefficients[0, 1] + linear.coefficients[0, 3], linear.coefficients[0, 1]])
    )


def test_combinations_do_a_share_of_the_sum_of_their_parts_as_their_own_group_says(linear, make_batch):
    linear.additivity.copy_(torch.tensor([0.5, 0.75, 1.0]))
    batch = make_batch([[1, 2], [2], [1, 3]])
    effect, _ = linear(batch, torch.tensor([1, 1, 2]), batch.features)
    pooled, own = linear.coefficients[:2]
    torch.testing.assert_close(effect, torch.stack([0.75 * (own[1] + own[2]), own[2], 0.5 * (pooled[1] + pooled[3])]))


def test_without_a_map_a_perturbation_that_was_never_trained_on_has_no_linear_effect(linear, make_batch):
    batch = make_batch([[0], [1, 0], []])
    effect, known = linear(batch, torch.tensor([1, 1, 1]), batch.features)
    assert known.tolist() == [False] * 3
    assert (effect == 0).all()


def test_the_amount_of_a_dose_is_logarithmic(linear, make_batch):
    linear.full_dose.fill_(9.0)
    batch = make_batch([[1], [1], [1]], dose=[9.0, 2.0, 0.0])
    effect, _ = linear(batch, torch.tensor([1, 1, 1]), batch.features)
    one = linear.coefficients[1, 1]
    torch.testing.assert_close(effect, torch.stack([one, one * math.log(3) / math.log(10), one]))


def test_without_held_out_conditions_the_weight_is_the_prior():
    nothing = torch.zeros(0, 3)
    assert recentring_weight(nothing, nothing, nothing) == 0.25


@given(share=st.floats(-2, 3), n=st.integers(1, 20))
def test_the_weight_is_least_squares_shrunk_towards_the_prior_and_at_most_one_half(share, n):
    rng = torch.Generator().manual_seed(n)
    flow, linear = torch.randn(n, 4, generator=rng), torch.randn(n, 4, generator=rng)
    found = recentring_weight(flow, linear, flow + share * (linear - flow))
    expected = min((n * min(max(share, 0), 1) + 0.25) / (n + 1), 0.5)
    assert found == pytest.approx(expected, abs=1e-4)


@given(share=st.floats(-1, 2), n=st.integers(1, 20), evidence=st.floats(0, 8))
def test_the_magnitude_is_least_squares_shrunk_towards_one_and_at_most_one(share, n, evidence):
    rng = torch.Generator().manual_seed(n)
    predicted = torch.randn(n, 4, generator=rng)
    found = effect_magnitude(predicted, share * predicted, evidence=evidence)
    assert found == pytest.approx(min(max((n * share + evidence) / (n + evidence), 0), 1), abs=1e-5)


def test_without_conditions_the_magnitude_is_one():
    nothing = torch.zeros(0, 2)
    assert effect_magnitude(nothing, nothing) == 1


@pytest.fixture
def mapped(linear, make_batch):
    features = make_batch([[0]]).features.shape[2]
    part = LinearPart(n_groups=2, n_tokens=3, n_latent=2, n_features=features)
    part.load_state_dict(part.state_dict() | {name: linear.state_dict()[name] for name in ("coefficients", "covered")})
    part.from_features.normal_(generator=torch.Generator().manual_seed(0))
    part.mapped[:2] = 1
    return part


def told(part, group, features):
    return part.from_features[group, 0] + features @ part.from_features[group, 1:]


def test_parts_that_were_trained_on_keep_their_own_effect_and_others_get_that_of_their_features(mapped, make_batch):
    batch = make_batch([[1, 0], [0], [2]])
    effect, known = mapped(batch, torch.tensor([1, 1, 1]), batch.features)
    assert known.all()
    own = mapped.coefficients[1]
    torch.testing.assert_close(effect[0], own[1] + told(mapped, 1, batch.features[0, 1]))
    torch.testing.assert_close(effect[1], told(mapped, 1, batch.features[1, 0]))
    torch.testing.assert_close(effect[2], own[2])


def test_a_group_without_a_map_uses_that_of_all_groups(mapped, make_batch):
    batch = make_batch([[0], [1, 0]])
    effect, known = mapped(batch, torch.tensor([2, 2]), batch.features)
    assert known.all()
    torch.testing.assert_close(effect[0], told(mapped, 0, batch.features[0, 0]))
    torch.testing.assert_close(effect[1], mapped.coefficients[0, 1] + told(mapped, 0, batch.features[1, 1]))


def test_only_the_wanted_genes_change_and_by_the_amount_of_the_dose(mapped, make_batch):
    mapped.own_gene.fill_(-2.0)
    mapped.full_dose.fill_(9.0)
    batch = replace(make_batch([[0, 1], [1]], dose=[2.0, 9.0]), own_genes=torch.tensor([[3, 0], [0, 0]]))
    expected = torch.zeros(2, 4)
    expected[0, 2] = -2 * math.log(3) / math.log(10)
    torch.testing.assert_close(mapped.with_own_genes(torch.zeros(2, 4), batch), expected)


def test_weights_are_in_inverse_proportion_to_the_squared_errors():
    control = torch.zeros(3, 2)
    linear = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 2.0]])
    # a squared error of .1 * 25 = 2.5 beside squared distances of 2.5 and 22.5; of .1 * 4 beside 0
    flow = linear + torch.tensor([[0.0, 2.5**0.5], [22.5**0.5, 0.0], [0.0, 0.0]])
    weight = agreement_weight(flow, linear, control, 0.1)
    torch.testing.assert_close(weight, torch.tensor([0.5, 0.9, 0.0]))


def test_an_exact_linear_part_has_the_whole_weight():
    flow, linear = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(agreement_weight(flow, linear, torch.zeros(4, 3), 0.0), torch.ones(4))
