from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.screen.line import Line
from scperturbrl.screen.objectives import Along, Objective
from scperturbrl.screen.stream import predict_all, values_of
from scperturbrl.screen.trust import Trust


@pytest.fixture
def objective():
    return Objective([Along("first gene", np.eye(30)[0])], np.ones(1), np.ones(1))


def test_residuals_are_measured_minus_predicted(doubles, make_conditions, objective):
    ground, measured, _ = doubles
    trust = Trust(ground, measured, make_conditions([(0,), (3, 5), (4, 5)]))
    assert trust.kind.tolist() == ["measured", "combination", "combination"]
    left = trust.left["combination"]
    found = trust.residuals(objective, Line(ground, measured), measured.effects[:, 0])
    np.testing.assert_allclose(found["combination"], measured.effects[left.index, 0] - left.effects[:, 0], atol=1e-5)
    widths = trust.widths(found, 0.8)
    assert np.isnan(widths[0])
    assert widths[1] == widths[2] > 0


def test_effects_of_one_kind_share_their_error(doubles, make_conditions):
    ground, measured, _ = doubles
    found = Trust(ground, measured, make_conditions([(0,), (3, 5), (4, 5), (6,)])).of_effects(0.8)
    assert found["support"].tolist() == ["supported", "supported", "supported", "unsupported"]
    assert found["expected_error"][0] == pytest.approx(np.sqrt(0.01))
    assert found["expected_error"][1] == found["expected_error"][2]
    assert (found["error_low"] <= found["expected_error"])[1:3].all()
    assert np.isnan(found["expected_error"][3])


def test_streaming_in_pieces_changes_nothing(doubles, make_conditions, objective, monkeypatch):
    ground, measured, _ = doubles
    line = Line(ground, measured)
    asked = make_conditions([(i, j) for i in range(6) for j in range(i + 1, 6)])
    whole = predict_all(line, asked, objective)
    monkeypatch.setattr("scperturbrl.screen.stream._VALUES", 60)
    monkeypatch.setattr("scperturbrl.screen.part_effects._MOST_VALUES", 0)
    pieces = predict_all(Line(ground, measured), asked, objective)
    np.testing.assert_allclose(whole.values, pieces.values, atol=1e-6)
    np.testing.assert_array_equal(whole.nearest, pieces.nearest)
    effects, _ = line.predict(asked)
    np.testing.assert_allclose(whole.values, values_of(objective, line, asked, effects), atol=1e-6)
    np.testing.assert_allclose(whole.baselines["additive"], line.baseline("additive", asked)[0][:, 0], atol=1e-6)
