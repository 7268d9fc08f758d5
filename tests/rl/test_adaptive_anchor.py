from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scperturbrl.rl.adaptive_anchor import FACTOR, LOOSEST, SETBACK, TIGHTEST, AdaptiveAnchor
from scperturbrl.rl.guard import Vitals

FIRST = Vitals(energy=0.1, validation_energy=0.5, spread=1.0, drift=0.0, reward=0.5)
CHOICE = AdaptiveAnchor(0.5)


@pytest.mark.parametrize(
    ("validation", "expected"), [(0.56, 0.5 * FACTOR), (0.53, 0.5), (0.51, 0.5 / FACTOR), (0.3, 0.5 / FACTOR)]
)
def test_it_tightens_over_the_budget_and_loosens_well_below_it(validation, expected):
    assert CHOICE.next(0.5, FIRST, replace(FIRST, validation_energy=validation)) == pytest.approx(expected)


def test_training_conditions_decide_where_there_is_no_validation():
    first = replace(FIRST, validation_energy=math.nan)
    assert CHOICE.next(0.5, first, replace(first, energy=0.12)) > 0.5
    assert CHOICE.next(0.5, first, replace(first, energy=0.1)) < 0.5


def test_a_distance_that_is_not_finite_tightens():
    assert CHOICE.next(0.5, FIRST, replace(FIRST, validation_energy=math.nan)) > 0.5


def test_a_generator_that_is_almost_right_has_some_room():
    first = replace(FIRST, validation_energy=-0.01)
    assert CHOICE.next(0.5, first, replace(first, validation_energy=-0.004)) == 0.5


@pytest.mark.parametrize("weight", [0.0, math.inf])
def test_no_anchor_and_an_infinite_one_stay(weight):
    assert AdaptiveAnchor(weight).next(weight, FIRST, replace(FIRST, validation_energy=9.0)) == weight


def test_a_fixed_one_stays():
    assert AdaptiveAnchor(0.5, fixed=True).next(0.5, FIRST, replace(FIRST, validation_energy=9.0)) == 0.5


def test_a_setback_tightens_by_its_own_factor_within_the_bounds():
    assert CHOICE.after_setback(0.5) == pytest.approx(0.5 * SETBACK)
    assert CHOICE.after_setback(0.9 * TIGHTEST * 0.5) == TIGHTEST * 0.5


@pytest.mark.parametrize("choice", [AdaptiveAnchor(0.5, fixed=True), AdaptiveAnchor(0.0), AdaptiveAnchor(math.inf)])
def test_what_does_not_adapt_stays_after_a_setback(choice):
    assert not choice.adapts
    assert choice.after_setback(choice.start) == choice.start


@given(energies=st.lists(st.floats(-1, 5), min_size=1, max_size=30))
def test_it_stays_within_its_bounds(energies):
    weight = 0.5
    for energy in energies:
        weight = CHOICE.next(weight, FIRST, replace(FIRST, validation_energy=energy))
        assert LOOSEST * 0.5 <= weight <= TIGHTEST * 0.5
