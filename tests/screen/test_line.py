from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scperturbrl.metrics import (
    additive_effect,
    combination_ridge_effect,
    denoised_effects,
    fit_context_line,
    ridge_effect,
)
from scperturbrl.metrics.baselines.context_transfer import transferred_effect
from scperturbrl.screen.line import Line


@pytest.fixture
def query(make_conditions):
    return make_conditions([(3, 5), (4, 5), (2,)])


def test_pairs_are_halfway_between_combination_ridge_and_sums_of_denoised_effects(doubles, query):
    ground, measured, _ = doubles
    line = Line(ground, measured)
    found, known = line.predict(query)
    design, wanted = (x.design(len(ground.names))[:, :6] for x in (measured.conditions, query))
    clean = denoised_effects(measured.effects, np.full(measured.effects.shape, 0.01))
    ridge = combination_ridge_effect(design, clean, design_query=wanted)
    share = np.array([ridge.additivity, ridge.additivity, 1.0])
    expected = (ridge.effect + share[:, None] * (wanted @ clean[:6])) / 2
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert known.all()
    sums = line.sums(query)
    np.testing.assert_allclose(sums[:2], wanted[:2] @ clean[:6], atol=1e-5)
    assert np.isnan(sums[2]).all()


def test_a_part_that_was_not_measured_alone_comes_from_the_ridge(make_conditions, make_world):
    known = make_conditions([(0,), (1,), (0, 2), (1, 2)])
    effects = np.array([[4.0, 0, 0], [0, 4.0, 0], [4.0, 0, 4.0], [0, 4.0, 4.0]])
    ground, measured = make_world(known, effects, n_names=3)
    found, told = Line(ground, measured).predict(make_conditions([(2,)]))
    expected = combination_ridge_effect(known.design(3), effects, design_query=[[0, 0, 1]]).effect
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert told.all()


def test_the_noise_of_a_departure_is_that_of_all_its_cells(make_conditions, make_world):
    rng = np.random.default_rng(0)
    known = make_conditions([(0,), (1,), (2,), (0, 1), (0, 1, 2)])
    own, control = np.array([0.1, 0.2, 0.3, 0.2, 0.4]), 0.5
    n_genes = 200_000
    noise = rng.normal(size=(5, n_genes)) * np.sqrt(own)[:, None] - rng.normal(size=n_genes) * np.sqrt(control)
    ground, measured = make_world(known, noise[:, :2], n_names=3, control_noise=control)
    measured = replace(measured, noise=own + control)
    asked = known.select(np.array([3, 4]))
    found = Line(ground, measured).noise_of_sums(asked) + own[3:]
    expected = [np.square(noise[3] - noise[:2].sum(0)).mean(), np.square(noise[4] - noise[:3].sum(0)).mean()]
    np.testing.assert_allclose(found, expected, rtol=0.02)


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


def test_new_contexts_get_the_transferred_effects_and_the_context_line_is_the_baseline(make_conditions, make_world):
    rng = np.random.default_rng(1)
    controls = rng.normal(size=(4, 12)) + 3
    table = rng.normal(size=(3, 2, 12))
    known = make_conditions([(p,) for _ in range(3) for p in range(2)], group=[0, 0, 1, 1, 2, 2])
    ground, measured = make_world(known, table.reshape(6, 12), n_names=2, n_groups=4, controls=controls)
    asked, line = make_conditions([(0,), (1,)], group=[3, 3]), fit_context_line(controls[:3], table)
    found, told = Line(ground, measured).predict(asked)
    # in this world measuring adds no noise
    expected = [transferred_effect(line, controls[:3], table[:, p], controls[3]) for p in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert told.all()
    along = [line.predict(controls[:3], table[:, p], control_query=controls[3]) for p in range(2)]
    np.testing.assert_allclose(Line(ground, measured).baseline("context_line", asked)[0], along, atol=1e-5)


def test_a_dose_is_a_share_of_the_effect(make_conditions, make_world):
    effects = np.outer([1.0, 0.5, 1.0, 0.5], np.arange(1, 9))
    known = make_conditions([(0,), (0,), (1,), (1,)], amount=[1, 0.5, 1, 0.5])
    ground, measured = make_world(known, effects, n_names=2)
    found, _ = Line(ground, measured).predict(make_conditions([(0,), (0,)], amount=[1.0, 0.25]))
    np.testing.assert_allclose(found[1], found[0] / 4, rtol=1e-5)
    np.testing.assert_allclose(found[0], effects[0], rtol=0.01)
