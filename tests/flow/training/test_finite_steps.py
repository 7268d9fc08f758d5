from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch
from torch import nn

from scperturbrl.flow.training.finite_steps import FiniteSteps, skipped_message

CODES = torch.tensor([0, 1, 2])


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(2, 1)


@pytest.fixture
def steps(layer):
    return FiniteSteps(dict(layer.named_parameters()), clip=1.0, conditions=["A", "B", "A+B"])


@pytest.fixture
def optimiser(layer):
    return torch.optim.Adam(layer.parameters(), lr=0.1)


def losses(layer, factor=1.0):
    return (layer(torch.eye(3)[:, :2]) * factor).square().sum(1)


def weights(layer):
    return [value.detach().clone() for value in layer.parameters()]


def same(one, other):
    return all(map(torch.equal, one, other))


def test_a_finite_step_is_that_of_the_optimiser(layer, steps, optimiser):
    twin = copy.deepcopy(layer)
    other = torch.optim.Adam(twin.parameters(), lr=0.1)
    loss = losses(twin).mean()
    loss.backward()
    nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
    other.step()
    assert steps.step(optimiser, losses(layer), CODES) == float(loss.detach())
    assert same(weights(layer), weights(twin))
    assert steps.skipped == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_left_out_and_its_condition_named(layer, steps, optimiser, bad):
    before = weights(layer)
    assert math.isnan(steps.step(optimiser, losses(layer) + torch.tensor([0.0, bad, 0.0]), CODES))
    assert same(weights(layer), before)
    assert (steps.skipped, steps.in_a_row) == (1, 1)
    assert steps.first == "the loss (conditions 'B')"
    assert not optimiser.state


def test_a_gradient_that_is_not_finite_is_left_out_and_its_tensor_named(layer, steps, optimiser):
    before = weights(layer)
    layer.bias.register_hook(lambda gradient: gradient * math.inf)
    steps.step(optimiser, losses(layer), CODES)
    assert same(weights(layer), before)
    assert steps.last.startswith("the gradient of bias (conditions '")


def test_a_weight_that_is_not_finite_asks_for_the_last_good_state_at_once(layer, steps):
    steps.step(torch.optim.SGD(layer.parameters(), lr=math.inf), losses(layer), CODES)
    assert steps.last.startswith("the weight weight")
    assert steps.must_go_back()


def test_three_failures_go_back_and_three_more_end_it(layer, steps, optimiser):
    told = []
    for _ in range(6):
        steps.step(optimiser, losses(layer, math.nan), CODES)
        told.append((steps.must_go_back(), steps.reason_to_end()))
    assert [back for back, _ in told] == [False, False, True, False, False, False]
    assert [bool(reason) for _, reason in told] == [False] * 5 + [True]
    assert told[-1][1] == "not finite: the loss (conditions 'A', 'B', 'A+B')"
    assert steps.skipped == 6


def test_a_good_step_forgives(layer, steps, optimiser):
    for factor in (math.nan, math.nan, 1.0, math.nan, math.nan, 1.0):
        steps.step(optimiser, losses(layer, factor), CODES)
        assert not steps.must_go_back()
    assert steps.skipped == 4


def test_only_a_good_state_makes_going_back_possible_again(layer, steps, optimiser):
    for factor in (math.nan, math.nan, math.nan):
        steps.step(optimiser, losses(layer, factor), CODES)
    assert not steps.good()
    assert steps.must_go_back()
    steps.step(optimiser, losses(layer), CODES)
    for factor in (math.nan, math.nan, math.nan):
        steps.step(optimiser, losses(layer, factor), CODES)
    assert not steps.must_go_back()
    assert steps.reason_to_end()
    steps.step(optimiser, losses(layer), CODES)
    assert steps.good()
    for factor in (math.nan, math.nan, math.nan):
        steps.step(optimiser, losses(layer, factor), CODES)
    assert steps.must_go_back()


def test_what_it_counted_can_be_taken_along(layer, steps, optimiser):
    steps.step(optimiser, losses(layer, math.nan), CODES)
    other = FiniteSteps(steps.parameters, clip=1.0)
    other.load(steps.state())
    assert vars(other) | {"conditions": 0} == vars(steps) | {"conditions": 0}


def test_many_conditions_are_not_all_listed_and_numbers_stand_for_missing_names(layer, optimiser):
    steps = FiniteSteps(dict(layer.named_parameters()), clip=1.0)
    steps.reject("the reward x", torch.arange(5))
    assert steps.last == "the reward x (conditions number 0, number 1, number 2 and 2 more)"


def test_huge_but_finite_gradients_are_clipped_and_used(layer, steps, optimiser):
    before = weights(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isfinite(steps.step(optimiser, losses(layer, 1e9), CODES))
    assert not same(weights(layer), before)


def test_the_message_says_how_many_and_what():
    assert skipped_message(3, "the loss", "steps") == (
        "3 steps were left out because they were not finite; the first time it was the loss."
    )
