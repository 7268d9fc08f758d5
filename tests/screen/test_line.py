from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.metrics import additive_effect, combination_ridge_effect, fit_context_line, ridge_effect
from scperturbrl.screen.line import Line


@pytest.fixture
def query(make_conditions):
    return make_conditions([(3, 5), (4, 5), (2,)])


def test_pairs_are_those_of_the_combination_ridge(doubles, query):
    ground, measured, _ = doubles
    found, known = Line(ground, measured).predict(query)
    design, wanted = (x.design(len(ground.names))[:, :6] for x in (measured.conditions, query))
    expected = combination_ridge_effect(design, measured.effects, design_query=wanted).effect
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert known.all()


def test_baselines_are_those_of_metrics(doubles, query):
    ground, measured, _ = doubles
    line = Line(ground, measured)
    design, wanted = (x.design(len(ground.names))[:, :6] for x in (measured.conditions, query))
    additive, _ = line.baseline("additive", query)
    np.testing.assert_allclose(
        additive, additive_effect(design, measured.effects, design_query=wanted).effect, atol=1e-5
    )
    ridge, _ = line.baseline("ridge", query)
    np.testing.assert_allclose(ridge, ridge_effect(design, measured.effects, design_query=wanted).effect, atol=1e-5)
    mean, _ = line.baseline("mean_response", query)
    np.testing.assert_allclose(mean[0], measured.effects[6:].mean(0), atol=1e-5)
    np.testing.assert_allclose(mean[2], measured.effects[:6].mean(0), atol=1e-5)


def test_nothing_is_known_of_a_perturbation_without_features(doubles, make_conditions):
    ground, measured, _ = doubles
    found, known = Line(ground, measured).predict(make_conditions([(6,), (0, 6), (0,)]))
    assert known.tolist() == [False, False, True]
    assert not found[:2].any()


def test_features_tell_unseen_perturbations_apart(make_conditions, make_world):
    rng = np.random.default_rng(0)
    features, map_ = rng.normal(size=(21, 2)), rng.normal(size=(2, 15))
    effects = features @ map_ + rng.normal(scale=0.05, size=(21, 15))
    known = make_conditions([(i,) for i in range(20)])
    ground, measured = make_world(known, effects[:20], n_names=21, features=features)
    found, told = Line(ground, measured).predict(make_conditions([(20,)]))
    assert told.all()
    assert np.square(found[0] - effects[20]).sum() < 0.1 * np.square(effects[20]).sum()


def test_nothing_is_predicted_that_features_do_not_tell(make_conditions, make_world):
    rng = np.random.default_rng(0)
    known = make_conditions([(i,) for i in range(20)])
    ground, measured = make_world(known, rng.normal(size=(20, 15)), n_names=21, features=rng.normal(size=(21, 2)))
    found, told = Line(ground, measured).predict(make_conditions([(20,)]))
    assert told.all()
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_new_contexts_get_the_context_line(make_conditions, make_world):
    rng = np.random.default_rng(1)
    controls = rng.normal(size=(4, 12)) + 3
    table = rng.normal(size=(3, 2, 12))
    known = make_conditions([(p,) for _ in range(3) for p in range(2)], group=[0, 0, 1, 1, 2, 2])
    ground, measured = make_world(known, table.reshape(6, 12), n_names=2, n_groups=4, controls=controls)
    found, told = Line(ground, measured).predict(make_conditions([(0,), (1,)], group=[3, 3]))
    line = fit_context_line(controls[:3], table)
    expected = [line.predict(controls[:3], table[:, p], control_query=controls[3]) for p in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert told.all()


def test_a_dose_is_a_share_of_the_effect(make_conditions, make_world):
    effects = np.outer([1.0, 0.5, 1.0, 0.5], np.arange(1, 9))
    known = make_conditions([(0,), (0,), (1,), (1,)], amount=[1, 0.5, 1, 0.5])
    ground, measured = make_world(known, effects, n_names=2)
    found, _ = Line(ground, measured).predict(make_conditions([(0,), (0,)], amount=[1.0, 0.25]))
    np.testing.assert_allclose(found[1], found[0] / 4, rtol=1e-5)
    np.testing.assert_allclose(found[0], effects[0], rtol=0.01)
