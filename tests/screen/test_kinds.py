from __future__ import annotations

from scperturbrl.screen.kinds import KINDS, kinds_of


def test_every_kind_is_told(make_conditions):
    measured = make_conditions([(0,), (1,), (2,), (0, 1), (3,)], amount=[1, 1, 1, 1, 0.5], group=[0, 0, 0, 0, 1])
    asked = {
        "measured": ((0, 1), 1.0, 0),
        "dose": ((0,), 0.5, 0),
        "transfer": ((3,), 0.5, 0),
        "combination": ((0, 2), 1.0, 0),
        "perturbation": ((4,), 1.0, 0),
        "unseen part": ((0, 4), 1.0, 0),
        "context": ((0,), 1.0, 2),
        "several": ((4,), 1.0, 2),
    }
    parts, amount, group = zip(*asked.values(), strict=True)
    assert kinds_of(make_conditions(parts, amount, group), measured).tolist() == list(asked)
    assert set(asked) == set(KINDS)


def test_a_new_pair_in_a_new_context_is_new_in_two_ways(make_conditions):
    measured = make_conditions([(0,), (1,)], group=[0, 0])
    assert kinds_of(make_conditions([(0, 1)], group=[1]), measured).tolist() == ["several"]
