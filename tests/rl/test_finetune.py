from __future__ import annotations

import copy
import os
import signal
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.rollout.rollout import roll_out
from scperturbrl.flow.rollout.task import Task
from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.flow.training.weight_state import snapshot
from scperturbrl.rl.adaptive_anchor import SETBACK
from scperturbrl.rl.evidence import left_out
from scperturbrl.rl.finetune import finetune
from scperturbrl.rl.finetuner import Finetuner, FinetuneSettings
from scperturbrl.rl.guard import Guard, GuardLimits
from scperturbrl.rl.vitals import VitalSigns

FREE = FinetuneSettings(
    update_rule="nft",
    n_iterations=30,
    n_conditions=3,
    group_size=24,
    draws=1,
    learning_rate=3e-3,
    anchor=0.0,
    energy_steps=0,
    check_every=10,
    guard=False,
    progress=False,
)


def coordinate(model, world):
    with torch.no_grad():
        index, pool = torch.arange(3), world.task.pool
        rollout = roll_out(
            model, pool, world.task.conditions, index, group_size=300, draws=1, rng=torch_rng(77, "test")
        )
    return model.space.encode(rollout.cells[0])[..., 0].mean(1).numpy()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_cells_move_to_where_the_reward_is(world):
    before = coordinate(world.generator, world)
    result = finetune(world.generator, world.task, world.reward, FREE)
    assert (coordinate(world.generator, world) > before + 0.2).all()
    rewards = [row["check_reward"] for row in result.history]
    assert rewards[-1] > rewards[0] + 0.1
    assert result.stopped == "all iterations done"
    assert result.kept_iteration == 30


def test_the_history_has_a_row_a_check(world):
    result = finetune(world.generator, world.task, world.reward, replace(FREE, n_iterations=25), world.validation)
    assert [row["iteration"] for row in result.history] == [0, 10, 20, 25]
    names = ["iteration", "reward", "reward_sd", "distance", "coordinate_0"]
    vitals = [f"check_{name}" for name in ("energy", "validation_energy", "spread", "drift", "reward")]
    vitals += ["check_energy_error", "check_validation_error"]
    # nothing is chosen without a guard, so nothing is left out to choose by
    unknown = [f"check_{name}" for name in ("unrewarded", "gain", "gain_error", "rise", "rise_error")]
    assert all(list(row) == [*names, *vitals, *unknown, "anchor"] for row in result.history)
    assert all(np.isnan(row[name]) for row in result.history for name in unknown)
    assert all(np.isfinite([row[name] for name in [*names, *vitals]]).all() for row in result.history)
    start = result.history[0]
    assert start["distance"] == start["check_drift"] == 0
    assert start["check_spread"] == 1
    assert result.history[-1]["distance"] > 0
    assert result.seconds > 0


def test_the_same_seed_gives_the_same_weights(world):
    fits = []
    for seed in (0, 0, 1):
        generator = copy.deepcopy(world.generator)
        settings = replace(FREE, n_iterations=4, energy_steps=1, seed=seed)
        finetune(generator, world.task, world.reward, settings)
        fits.append(snapshot(generator.network_parameters()))
    assert same(fits[0], fits[1])
    assert not same(fits[0], fits[2])


def test_without_differences_in_reward_nothing_changes(world, make_reward, make_verifier):
    flat = make_reward(make_verifier(score=lambda cells, reference: torch.ones(cells.shape[:2])))
    before = snapshot(world.generator.network_parameters())
    finetune(world.generator, world.task, flat, replace(FREE, n_iterations=5))
    for value, parameter in zip(before, world.generator.network_parameters(), strict=True):
        torch.testing.assert_close(parameter.detach(), value, atol=1e-5, rtol=1e-4)


def test_the_anchor_holds_the_generator(world):
    drift = {}
    for anchor in (0.0, 1.0, 1e4):
        generator = copy.deepcopy(world.generator)
        result = finetune(generator, world.task, world.reward, replace(FREE, anchor=anchor))
        drift[anchor] = result.history[-1]["check_drift"]
    assert drift[0.0] > 3 * drift[1.0]
    assert drift[0.0] > 50 * drift[1e4]


def test_an_infinite_anchor_leaves_the_pretrained_generator(world):
    before = snapshot(world.generator.parameters())
    held = replace(FREE, n_iterations=12, anchor=float("inf"), energy_steps=2)
    result = finetune(world.generator, world.task, world.reward, held)
    assert same(snapshot(world.generator.parameters()), before)
    assert [row["check_drift"] for row in result.history] == [0, 0, 0]


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31 - 1))
def test_at_step_0_the_distance_to_the_pretrained_generator_is_zero(world, seed):
    tuner = Finetuner(world.generator, world.task, world.reward, replace(FREE, seed=seed))
    signs = VitalSigns(tuner.pretrained, world.task, None, world.reward, seed=seed)
    assert signs.measure(world.generator).drift == 0
    rollout, scores = tuner._round(3)
    assert tuner._reward_step(rollout, tuner._batch(rollout, scores)) == 0


def test_the_energy_distance_repairs_a_generator(world, make_reward, make_verifier):
    with torch.no_grad():
        world.generator.velocity.outlet.bias.add_(0.5)
    flat = make_reward(make_verifier(score=lambda cells, reference: torch.ones(cells.shape[:2])))
    before = Yardstick(world.task).measure(world.generator, seed=5)
    settings = replace(FREE, energy_steps=4, energy_learning_rate=3e-3, energy_anchor=0.0)
    finetune(world.generator, world.task, flat, settings)
    assert Yardstick(world.task).measure(world.generator, seed=5) < 0.3 * before
    assert before > 0.2


def test_space_and_observation_stay(world):
    before = world.generator.to_arrays()
    finetune(world.generator, world.task, world.reward, replace(FREE, n_iterations=3))
    for name, value in world.generator.to_arrays().items():
        if name.startswith(("space", "observation")):
            np.testing.assert_array_equal(value, before[name])
    assert not np.array_equal(world.generator.to_arrays()["velocity.outlet.weight"], before["velocity.outlet.weight"])


def test_conditions_that_cannot_be_judged_are_left_out(world, make_reward, make_verifier):
    reward = make_reward(make_verifier(), weight=[[1.0], [0.0], [1.0]])
    tuner = Finetuner(world.generator, world.task, reward, FREE)
    assert tuner.usable.tolist() == [0, 2]
    scores, _ = tuner.iterate(1)
    assert scores.reward.shape == (2, 24)


def test_scores_are_averaged_over_draws_of_counts(world):
    tuner = Finetuner(world.generator, world.task, world.reward, replace(FREE, draws=3, group_size=20))
    rollout = tuner.n_conditions(partial(tuner._roll_out, tuner.usable, draws=3))
    assert len(rollout.cells) == 3
    assert not torch.equal(rollout.cells[0], rollout.cells[1])
    each = [tuner.reward(cells, rollout.index).reward for cells in rollout.cells]
    torch.testing.assert_close(tuner._score(rollout).reward, torch.stack(each).mean(0))


def test_first_scores_leave_the_random_numbers_alone(world):
    tuner = Finetuner(world.generator, world.task, world.reward, FREE)
    assert same(tuner.first_scores(), tuner.first_scores())


HACK = replace(FREE, learning_rate=5e-4, n_iterations=100, check_every=2)


def test_the_guard_stops_and_goes_back(world):
    limits = GuardLimits(energy=0.4, spread=0.9, drift=9.0)
    start = Yardstick(world.task).measure(world.generator, seed=0)
    free = copy.deepcopy(world.generator)
    unguarded = finetune(free, world.task, world.reward, replace(HACK, limits=limits))
    assert unguarded.stopped == "all iterations done"
    assert Yardstick(world.task).measure(free, seed=0) > start + 0.6
    result = finetune(world.generator, world.task, world.reward, replace(HACK, limits=limits, guard=True))
    assert result.stopped.startswith("guard: iteration")
    assert "energy rose" in result.stopped
    last = result.history[-1]["iteration"]
    assert result.kept_iteration < last < 40
    # the state that was kept is the one that the guard accepted
    energy = Yardstick(world.task).measure(world.generator, seed=0)
    kept = next(row for row in result.history if row["iteration"] == result.kept_iteration)
    assert energy == pytest.approx(kept["check_energy"], abs=1e-6)
    # far within what raises an alarm: a distance beyond its error is no better state, whatever the reward
    assert energy <= start + kept["check_energy_error"]
    assert kept["check_reward"] >= result.history[0]["check_reward"]


def test_after_an_alarm_it_goes_back_and_on_with_a_tighter_anchor(world):
    limits = GuardLimits(energy=0.4, spread=0.9, drift=9.0)
    settings = replace(HACK, limits=limits, guard=True, anchor=0.02, check_every=5, n_iterations=60)
    fixed = finetune(copy.deepcopy(world.generator), world.task, world.reward, replace(settings, anchor=0.0))
    assert fixed.stopped.startswith("guard: iteration")
    result = finetune(world.generator, world.task, world.reward, settings)
    assert result.stopped == "all iterations done"
    assert len(result.history) > len(fixed.history)
    alarmed = {int(text.split()[1].rstrip(":")) for text in result.alarms}
    assert alarmed
    for before, row, after in zip(result.history, result.history[1:], result.history[2:], strict=False):
        if row["iteration"] in alarmed:
            assert row["anchor"] == pytest.approx(SETBACK * before["anchor"])
            assert after["check_energy"] < row["check_energy"]
    energy = Yardstick(world.task).measure(world.generator, seed=0)
    assert energy == pytest.approx(
        min(row["check_energy"] for row in result.history if row["iteration"] == result.kept_iteration)
    )


def wide(world):
    """The three conditions twice, so that two can be left out of the rewards."""
    index = torch.arange(6) % 3
    pool = {name: getattr(world.task.pool, name)[index] for name in ("start", "count", "depth")}
    task = Task(world.task.conditions.select(index), replace(world.task.pool, **pool), world.task.real[index])
    reward = world.reward
    return task, replace(reward, reference=reward.reference.select(index), calibration=reward.calibration.select(index))


def test_a_state_is_kept_for_its_gain_on_conditions_that_are_not_rewarded(world, monkeypatch):
    task, reward = wide(world)
    apart, learnt, limits = left_out(task, reward, 0, seed=0), [], GuardLimits(energy=9.0, spread=0.9, drift=9.0)
    roll = Finetuner._roll_out
    monkeypatch.setattr(
        Finetuner, "_roll_out", lambda self, among, *a, **k: learnt.append(among) or roll(self, among, *a, **k)
    )
    monkeypatch.setattr(Guard, "_objection", lambda self, vitals: "" if vitals.gain > vitals.gain_error else "no gain")
    result = finetune(world.generator, task, reward, replace(FREE, guard=True, limits=limits))
    assert len(apart) == 2
    assert not any(torch.isin(apart, among).any() for among in learnt)
    kept = next(row for row in result.history if row["iteration"] == result.kept_iteration)
    assert kept["check_gain"] > kept["check_gain_error"]
    later = [row for row in result.history if row["iteration"] > result.kept_iteration and row["check_rise"] <= 0]
    assert not any(row["check_gain"] - kept["check_gain"] > row["check_gain_error"] for row in later)
    assert result.outcome.startswith("Post-training helped: on 2 left-out conditions that were not rewarded")


def test_a_distance_of_unrewarded_conditions_that_rises_undoes_the_gain(world):
    task, reward = wide(world)
    before = snapshot(world.generator.velocity.parameters())
    limits = GuardLimits(energy=0.03, spread=9.0, drift=9.0)
    settings = replace(FREE, guard=True, limits=limits, n_iterations=20, learning_rate=5e-4)
    result = finetune(world.generator, task, reward, settings)
    gained = [row for row in result.history if row["check_gain"] > row["check_gain_error"]]
    assert gained
    for row in gained:
        if row["check_rise"] > min(row["check_rise_error"], limits.energy):
            assert row["iteration"] != result.kept_iteration
    if result.kept_iteration == 0:
        assert same(before, world.generator.velocity.parameters())


def test_without_a_guard_the_averaged_last_state_is_kept(world):
    settings = replace(FREE, n_iterations=10)
    result = finetune(world.generator, world.task, world.reward, settings)
    assert Yardstick(world.task).measure(world.generator, seed=0) == result.history[-1]["check_energy"]


@pytest.mark.parametrize("guard", [True, False])
def test_an_interrupt_ends_after_the_iteration(world, monkeypatch, guard):
    handler, done = signal.getsignal(signal.SIGINT), []
    timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))
    iterate = Finetuner.iterate

    def watched(self, iteration):
        done.append(iteration)
        if iteration == 3:
            timer.start()
            timer.join()
        return iterate(self, iteration)

    monkeypatch.setattr(Finetuner, "iterate", watched)
    settings = replace(FREE, learning_rate=1e-4, guard=guard, limits=GuardLimits(9, 9, 9))
    result = finetune(world.generator, world.task, world.reward, settings)
    assert result.stopped == "interrupted"
    assert done == [1, 2, 3]
    assert result.history[-1]["iteration"] == 3
    # a guard that cannot tell whether it helped keeps the pretrained generator
    assert result.kept_iteration == (0 if guard else 3)
    assert signal.getsignal(signal.SIGINT) is handler


def test_progress_goes_to_the_error_stream(world, capsys):
    finetune(world.generator, world.task, world.reward, replace(FREE, n_iterations=2, progress=True))
    shown = capsys.readouterr()
    assert "post-training" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("nft", {}),
        ("grpo", {"n_iterations": 40, "anchor": 0.1}),
        ("value_gradient", {"anchor": 0.1}),
    ],
)
def test_every_update_rule_raises_the_reward(world, rule, options):
    settings = FinetuneSettings(
        update_rule=rule,
        **{"n_iterations": 20, "energy_steps": 0, "guard": False, "progress": False, "anchor": 0.3} | options,
    )
    result = finetune(world.generator, world.task, world.reward, settings)
    assert result.history[-1]["check_reward"] > result.history[0]["check_reward"] + 0.05
    assert result.history[-1]["check_spread"] > 0.5


def test_the_energy_step_makes_do_with_fewer_conditions(world):
    tuner = Finetuner(world.generator, world.task, world.reward, replace(FREE, n_conditions=3, energy_steps=1))
    rollout, _ = tuner._round(3)
    before = snapshot(tuner.parameters)
    tuner._energy_step(rollout, 1)
    assert not same(snapshot(tuner.parameters), before)
    assert tuner.finite.skipped == 0
