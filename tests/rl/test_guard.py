from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from scperturbrl.rl.guard import Guard, GuardLimits, Vitals

NOTHING = {"unrewarded": 0.5, "gain": 0.0, "gain_error": 0.0, "rise": 0.0, "rise_error": 0.0}
START = Vitals(energy=0.2, validation_energy=0.4, spread=1.0, drift=0.0, reward=0.5, **NOTHING)
LIMITS = GuardLimits(energy=0.03, spread=0.1, drift=0.1)


@pytest.fixture
def parameter():
    return nn.Parameter(torch.zeros(2))


@pytest.fixture
def guard(parameter):
    guard = Guard(LIMITS, judged="5 validation conditions that were not rewarded")
    assert guard.check(0, START, [parameter])
    return guard


def gained(gain, **change):
    """Vitals after a gain that is ten times its error."""
    return replace(START, **{"gain": gain, "gain_error": abs(gain) / 10, "unrewarded": 0.5 + gain} | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # a tenth of the own distance is allowed on top: 0.03 + 0.02 and 0.03 + 0.04
        ({"energy": 0.26}, "energy rose by 0.060 +- 0.000 of the effect's own distance (limit 0.050)"),
        (
            {"validation_energy": 0.48},
            "validation_energy rose by 0.080 +- 0.000 of the effect's own distance (limit 0.070)",
        ),
        ({"energy": 0.26, "energy_error": 0.009}, "energy rose by 0.060 +- 0.009"),
        # each distance has an error of its own
        ({"validation_energy": 0.48, "energy_error": 0.05}, "validation_energy rose by 0.080 +- 0.000"),
        ({"spread": 1.2}, "spread is 1.20"),
        ({"spread": 0.8}, "spread is 0.80"),
        ({"drift": 0.2}, "velocity drifted by 0.200 (limit 0.1)"),
    ],
)
def test_alarms_name_what_is_wrong(guard, parameter, change, words):
    guard.check(7, replace(START, **change), [parameter])
    assert len(guard.alarms) == 1
    assert guard.alarms[0].startswith("iteration 7: ")
    assert words in guard.alarms[0]


@pytest.mark.parametrize(
    "change",
    [
        {"energy": 0.24},
        {"energy": 0.26, "energy_error": 0.011},
        {"validation_energy": 0.48, "validation_error": 0.011},
        {"validation_energy": 0.46},
        {"energy": -1.0},
        {"spread": 1.09},
        {"spread": 0.91},
        {"drift": 0.09},
        {"reward": -1.0},
    ],
)
def test_what_is_within_the_limits_raises_none(guard, parameter, change):
    assert guard.check(1, replace(START, **change), [parameter])
    assert guard.alarms == []


def test_without_validation_conditions_there_is_no_distance_to_watch(parameter):
    guard = Guard(LIMITS)
    for iteration in range(2):
        assert guard.check(iteration, replace(START, validation_energy=float("nan")), [parameter])
    assert guard.alarms == []


@pytest.mark.parametrize("name", ["energy", "validation_energy", "spread", "drift"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("error", [0.0, float("nan")])
def test_what_is_not_finite_is_alarming(guard, parameter, name, value, error):
    errors = {"energy_error": error} if name == "energy" else {"validation_error": error}
    vitals = replace(START, **{name: value}, **(errors if "energy" in name else {}))
    guard.check(1, vitals, [parameter])
    assert len(guard.alarms) == 1
    assert guard.good_iteration == 0


def test_a_negative_distance_at_the_start_gives_no_extra_room(parameter):
    guard = Guard(LIMITS)
    guard.check(0, replace(START, energy=-0.5), [parameter])
    guard.check(1, replace(START, energy=-0.46), [parameter])
    assert "limit 0.030" in guard.alarms[0]


def test_patience_counts_checks_in_a_row(guard, parameter):
    guard.patience = 2
    bad = replace(START, energy=1.0, drift=1.0)
    assert guard.check(1, bad, [parameter])
    assert guard.check(2, gained(0.1), [parameter])
    assert guard.check(3, bad, [parameter])
    assert not guard.check(4, bad, [parameter])
    assert len(guard.alarms) == 6
    assert guard.good_iteration == 2


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_can_be_set(parameter, patience):
    guard, bad = Guard(LIMITS, patience=patience), replace(START, drift=1.0)
    guard.check(0, START, [parameter])
    assert [guard.check(i, bad, [parameter]) for i in range(1, patience + 1)] == [True] * (patience - 1) + [False]


def test_the_last_good_weights_are_kept_as_a_copy(guard, parameter):
    with torch.no_grad():
        parameter.fill_(1.0)
        guard.check(1, gained(0.1), [parameter])
        parameter.fill_(2.0)
        guard.check(2, replace(START, drift=1.0), [parameter])
    assert guard.good[0].tolist() == [1, 1]
    assert guard.good_iteration == 1


def test_the_best_state_is_kept_not_the_last_and_the_pretrained_generator_wins_ties(guard, parameter):
    guard.check(1, START, [parameter])
    assert guard.good_iteration == 0
    assert guard.outcome() == (
        "Post-training changed nothing, because on 5 validation conditions that were not rewarded the reward changed by +0.000 +- 0.000."
    )
    for iteration, gain in ((2, 0.1), (3, 0.05), (4, 0.1)):
        guard.check(iteration, gained(gain), [parameter])
    assert guard.good_iteration == 2
    assert guard.outcome() == (
        "Post-training helped: on 5 validation conditions that were not rewarded the reward went from 0.500 to 0.600 (+0.100 +- 0.010), the "
        "energy distance changed by +0.000 +- 0.000 of the effect's own (iteration 2)."
    )


@pytest.mark.parametrize("change", [{"gain_error": 0.1}, {"gain_error": 0.3}, {"gain_error": float("nan")}])
def test_a_gain_within_its_error_is_no_evidence(guard, parameter, change):
    assert guard.check(1, gained(0.1, **change), [parameter])
    assert guard.good_iteration == 0
    guard.check(2, gained(0.1, gain_error=0.099), [parameter])
    assert guard.good_iteration == 2


def test_reward_of_rewarded_conditions_is_no_evidence(guard, parameter):
    guard.check(1, replace(START, reward=1.0, energy=START.energy - 0.1), [parameter])
    assert guard.good_iteration == 0


def test_more_reward_does_not_pay_for_a_distance_that_rose_beyond_its_error(guard, parameter):
    assert guard.check(1, gained(0.2, rise=0.02, rise_error=0.01), [parameter])
    assert guard.good_iteration == 0
    assert guard.outcome().endswith("the energy distance rose by 0.020 +- 0.010 of the effect's own.")
    # an error as large as the limit excuses no more than the limit
    guard.check(2, gained(0.2, rise=LIMITS.energy + 0.005, rise_error=1.0), [parameter])
    assert guard.good_iteration == 0
    guard.check(3, gained(0.2, rise=0.005, rise_error=0.01), [parameter])
    assert guard.good_iteration == 3


@pytest.mark.parametrize(("from_flow", "reason"), [(True, "`guard=False`"), (False, "shifted control cells")])
def test_where_nothing_can_tell_the_pretrained_generator_stays(parameter, from_flow, reason):
    guard = Guard(LIMITS, from_flow=from_flow)
    blind = dict.fromkeys(NOTHING, float("nan"))
    for iteration in range(2):
        assert guard.check(iteration, replace(START, reward=0.5 + iteration, **blind), [parameter])
    assert guard.good_iteration == 0
    assert "cannot be assessed" in guard.outcome()
    assert reason in guard.outcome()


def test_without_rewards_the_smallest_distance_is_kept(parameter):
    guard = Guard(LIMITS, by_reward=False)
    closer = replace(START, energy=START.energy - 0.1, reward=START.reward - 0.1)
    for iteration, vitals in enumerate((START, closer, START)):
        guard.check(iteration, vitals, [parameter])
    assert guard.good_iteration == 1
    assert guard.outcome() == (
        "Post-training helped: on training conditions the energy distance went from 0.200 to 0.100 of the effect's own (iteration 1)."
    )


def test_what_was_undone_says_why(guard, parameter):
    guard.check(1, replace(START, drift=1.0), [parameter])
    assert guard.outcome().startswith("Post-training was undone, because iteration 1: velocity drifted")


def test_an_inactive_guard_reports_but_never_stops(parameter):
    guard = Guard(LIMITS, active=False)
    guard.check(0, START, [parameter])
    assert all(guard.check(i, replace(START, drift=1.0), [parameter]) for i in range(1, 6))
    assert len(guard.alarms) == 5


def test_a_later_state_has_to_be_clearly_better(guard, parameter):
    guard.check(1, gained(0.1, gain_error=0.03), [parameter])
    assert guard.good_iteration == 1
    # larger, but not by more than its error
    guard.check(2, gained(0.14, gain_error=0.05), [parameter])
    assert guard.good_iteration == 1
    guard.check(3, gained(0.16, gain_error=0.05), [parameter])
    assert guard.good_iteration == 3


def test_conditions_that_reach_real_cells_leave_nothing_to_gain(guard, parameter):
    guard.judged = "3 validation conditions"
    guard.check(5, replace(START, gain=0.0, gain_error=0.0), [parameter])
    assert guard.good_iteration == 0
    assert "already reaches that of real cells" in guard.outcome()
