from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scperturbrl.metrics import interpolated_dose_effect, nearest_dose_effect

LABELS, DOSES = ["A", "A", "A", "B"], [1.0, 10.0, 1000.0, 5.0]
EFFECTS = np.array([[1.0, 0.0], [3.0, 2.0], [5.0, 8.0], [-1.0, -1.0]])


def both(label, dose, labels=LABELS, effects=EFFECTS, doses=DOSES):
    known = {"doses_train": doses, "labels_query": [label], "doses_query": [dose]}
    return [f(labels, effects, **known)[0].tolist() for f in (nearest_dose_effect, interpolated_dose_effect)]


@pytest.mark.parametrize(
    ("dose", "nearest", "line"),
    [
        (10, [3, 2], [3, 2]),
        (100, [4, 5], [4, 5]),
        (30, [3, 2], [3 + np.log10(3), 2 + 3 * np.log10(3)]),
        (0.1, [1, 0], [1, 0]),
        (1e6, [5, 8], [5, 8]),
        (0, [1, 0], [1, 0]),
    ],
)
def test_along_the_log_dose(dose, nearest, line):
    found = both("A", dose)
    np.testing.assert_allclose(found[0], nearest)
    np.testing.assert_allclose(found[1], line)


def test_an_unknown_perturbation_gets_the_mean_of_all():
    for found in both("C", 3):
        np.testing.assert_allclose(found, EFFECTS.mean(0))


def test_contexts_of_one_dose_are_averaged():
    for found in both("A", 10, labels=["A", "A", "A"], effects=EFFECTS[:3], doses=[10, 10, 90]):
        np.testing.assert_allclose(found, EFFECTS[:2].mean(0))


@given(st.floats(0.01, 1e5), st.floats(0.01, 100))
def test_the_unit_of_the_dose_does_not_matter(dose, unit):
    scaled = both("A", dose * unit, doses=[d * unit for d in DOSES])
    np.testing.assert_allclose(scaled[1], both("A", dose)[1], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"doses_train": [1, 2]}, "`doses_train` must be 4 finite doses"),
        ({"doses_train": [1, 2, 3, -1]}, "`doses_train` must be 4 finite doses"),
        ({"doses_query": [np.nan]}, "`doses_query` must be 1 finite doses"),
        ({"labels_train": ["A"]}, "`labels_train` names 1 conditions, `effects_train` has 4"),
    ],
)
@pytest.mark.parametrize("function", [nearest_dose_effect, interpolated_dose_effect])
def test_errors_name_what_does_not_fit(function, change, message):
    known = {"doses_train": DOSES, "labels_query": ["A"], "doses_query": [2.0]} | change
    with pytest.raises(ValueError, match=message):
        function(known.pop("labels_train", LABELS), EFFECTS, **known)
