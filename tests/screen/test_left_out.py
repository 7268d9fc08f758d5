from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.screen.left_out import leave_out
from scperturbrl.screen.line import Line


def test_combinations_are_predicted_without_themselves(doubles):
    ground, measured, _ = doubles
    left = leave_out(ground, measured, "combination")
    assert sorted(left.index) == list(range(6, 15))
    for place, effect in zip(left.index, left.effects, strict=True):
        rest = measured.select(np.delete(np.arange(15), place))
        expected, _ = Line(ground, rest).predict(measured.conditions.select(np.array([place])))
        np.testing.assert_allclose(effect, expected[0], atol=1e-5)


def test_what_is_left_out_cannot_change_its_prediction(doubles, make_world):
    ground, measured, _ = doubles
    before = leave_out(ground, measured, "combination")
    effects = measured.effects
    effects[8] += 100
    _, changed = make_world(measured.conditions, effects, n_names=7, noise=0.01)
    after = leave_out(ground, changed, "combination")
    np.testing.assert_allclose(before.effects[before.index == 8], after.effects[after.index == 8], atol=1e-4)
    assert not np.allclose(before.effects[before.index == 9], after.effects[after.index == 9], atol=1e-2)


def test_a_context_goes_with_all_its_conditions(make_conditions, make_world):
    rng = np.random.default_rng(0)
    known = make_conditions([(p,) for _ in range(4) for p in range(3)], group=np.repeat(range(4), 3))
    controls = rng.normal(size=(4, 10)) + 2
    ground, measured = make_world(known, rng.normal(size=(12, 10)), n_names=3, n_groups=4, controls=controls)
    left = leave_out(ground, measured, "context")
    assert sorted(left.index) == list(range(12))
    assert left.n_units == 4


def test_a_perturbation_goes_with_its_combinations(make_conditions, make_world):
    rng = np.random.default_rng(0)
    parts = [(i,) for i in range(8)] + [(0, 1), (2, 3)]
    ground, measured = make_world(
        make_conditions(parts), rng.normal(size=(10, 12)), n_names=8, features=rng.normal(size=(8, 2))
    )
    singles, pairs = (leave_out(ground, measured, kind) for kind in ("perturbation", "unseen part"))
    assert sorted(singles.index) == list(range(8))
    assert sorted(pairs.index) == [8, 9]


@pytest.mark.parametrize("kind", ["context", "dose", "measured", "several"])
def test_where_nothing_can_be_left_out_there_are_no_predictions(doubles, kind):
    ground, measured, _ = doubles
    left = leave_out(ground, measured, kind)
    assert len(left.index) == left.n_units == len(left.effects) == 0


def test_another_rule_may_predict(doubles):
    ground, measured, _ = doubles
    rule = lambda line, rows: line.baseline("mean_response", measured.conditions.select(rows))[0]
    left = leave_out(ground, measured, "combination", rule)
    place = int(np.flatnonzero(left.index == 7)[0])
    others = [i for i in range(6, 15) if i != 7]
    np.testing.assert_allclose(left.effects[place], measured.effects[others].mean(0), atol=1e-5)
