from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.screen.conformal import Errors, effect_errors, expected_error, interval_width, support, too_few
from scperturbrl.screen.left_out import LeftOut, leave_out


@pytest.mark.parametrize("n", [9, 20, 60])
def test_intervals_hold_as_many_new_values_as_they_say(n):
    rng = np.random.default_rng(n)
    inside = [abs(rng.standard_t(4)) <= interval_width(rng.standard_t(4, size=n), 0.8) for _ in range(4000)]
    assert np.mean(inside) == pytest.approx(0.8, abs=0.025)


def test_too_few_residuals_give_no_interval():
    assert np.isnan(interval_width([0.1, 0.2, 0.3], 0.8))
    assert np.isnan(interval_width([], 0.8))
    assert np.isfinite(interval_width([0.1, 0.2, 0.3, 0.4], 0.8))


def errors(n=10, r2=0.7, kind="combination", n_units=10):
    return Errors(kind, n_units, np.linspace(0.1, 0.2, n) if n else np.zeros(0), r2)


def test_one_word():
    assert support("measured", None) == "supported"
    assert [support("combination", errors(r2=r2)) for r2 in (0.5, 0.4, 0.05, -1)] == [
        "supported",
        "extrapolating",
        "unsupported",
        "unsupported",
    ]
    assert support("combination", errors(n=3)) == "extrapolating"
    assert support("perturbation", errors(n=3)) == "unsupported"
    assert support("several", None) == "unsupported"


def test_the_expected_error_is_the_middle_of_those_left_out():
    middle, low, high = expected_error(errors(n=11), 0.8)
    assert middle == pytest.approx(0.15)
    assert 0.1 <= low < middle < high <= 0.2
    assert np.isnan(expected_error(errors(n=3), 0.8)).all()


def test_contexts_count_and_not_their_conditions():
    assert not errors(n=40, kind="context", n_units=2).enough
    assert errors(n=40, kind="context", n_units=3).enough
    assert "40 conditions of 2 contexts" in too_few(errors(n=40, kind="context", n_units=2))


def test_noise_is_taken_off_what_is_to_be_explained(doubles):
    ground, measured, single = doubles
    found = effect_errors(measured, leave_out(ground, measured, "combination"), "combination")
    assert found.r2 > 0.8
    perfect = measured.conditions.design(7)[:, :6] @ single * np.where(measured.conditions.n_parts > 1, 0.8, 1)[:, None]
    places = np.arange(6, 15)
    exact = effect_errors(measured, LeftOut(places, perfect[places], places), "combination")
    # what is left is the noise of measuring, .01 a gene
    assert exact.r2 == pytest.approx(1, abs=0.005)
    np.testing.assert_allclose(exact.rmse, 0.1, atol=0.04)
