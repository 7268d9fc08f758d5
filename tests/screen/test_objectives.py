from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cosine

from scperturbrl.screen.objectives import Alike, Along, Effects, Objective, OfCells, Size, Synergy


@pytest.fixture
def effects():
    rng = np.random.default_rng(0)
    return Effects(rng.normal(size=(5, 20)), 1, rng.gamma(2, size=20), rng.normal(size=(5, 20)))


def test_activity_is_the_slope_of_a_regression(effects):
    weights = np.random.default_rng(1).choice([-1.0, 0, 1], 20)
    found = Along.activity("pathway", weights).of_effects(effects)
    expected = [stats.linregress(weights, effect).slope for effect in effects.values]
    np.testing.assert_allclose(found, expected)


def test_a_signature_is_up_minus_down(effects):
    up, down = np.arange(20) < 3, np.arange(20) > 15
    found = Along.signature("signature", up, down).of_effects(effects)
    np.testing.assert_allclose(found, effects.values[:, :3].mean(1) - effects.values[:, 16:].mean(1))


def test_alike_is_a_cosine_with_what_is_wanted_in_the_context(effects):
    wanted = np.random.default_rng(2).normal(size=(2, 20))
    found = Alike("towards", wanted).of_effects(effects)
    np.testing.assert_allclose(found, [1 - cosine(effect, wanted[1]) for effect in effects.values])


def test_size_and_synergy(effects):
    np.testing.assert_allclose(Size().of_effects(effects), np.linalg.norm(effects.values, axis=1) / np.sqrt(20))
    gap = effects.values - effects.additive
    np.testing.assert_allclose(Synergy().of_effects(effects), np.linalg.norm(gap, axis=1) / np.sqrt(20))
    assert np.isnan(Synergy().of_effects(Effects(effects.values, 1, effects.control))).all()


def test_sizes_are_as_large_as_without_the_noise_of_measuring():
    rng = np.random.default_rng(0)
    true, n = np.full((4000, 50), 0.1), 4000
    measured = true + rng.normal(scale=0.5, size=true.shape)
    effects = Effects(measured, 0, np.ones(50), np.zeros_like(true), np.full(n, 0.25), np.full(n, 0.25))
    for term in (Size(), Synergy()):
        found = term.of_effects(effects)
        assert (found < 0).any()
        assert (np.sign(found) * found**2).mean() == pytest.approx(0.01, abs=0.003)


def test_a_function_sees_moved_control_cells_and_then_real_ones(effects):
    controls = [np.zeros((3, 20)), np.random.default_rng(3).gamma(2, size=(4, 20))]
    term = OfCells("first gene", lambda cells: cells[:, 0], controls)
    expected = [np.maximum(controls[1][:, 0] + effect[0], 0).mean() for effect in effects.values]
    np.testing.assert_allclose(term.of_effects(effects), expected)
    cells = np.arange(40.0).reshape(2, 20)
    np.testing.assert_allclose(term.of_cells(cells, effects), [0, 20])


def test_a_function_of_another_shape_is_refused(effects):
    term = OfCells("wrong", lambda cells: cells.sum(), [np.ones((3, 20))] * 2)
    with pytest.raises(ValueError, match="'wrong' gave values of shape"):
        term.of_effects(effects)


def test_several_terms_are_weighed_in_units_of_their_spread(effects):
    terms = [Size(), Along("a", np.eye(20)[0])]
    found = Objective(terms, np.array([1.0, -2.0]), np.array([0.5, 4.0])).of_effects(effects)
    np.testing.assert_allclose(found[:, 0], found[:, 1] / 0.5 - 2 * found[:, 2] / 4)


def test_a_population_has_the_value_of_its_mean_effect(effects):
    cells = np.random.default_rng(4).gamma(2, size=(50, 20))
    objective = Objective([Size(), Along("a", np.eye(20)[0])], np.ones(2), np.ones(2))
    effects = Effects(effects.values[:1], 1, effects.control, effects.additive[:1])
    found = objective.of_population(cells, effects)
    np.testing.assert_allclose(found[2], cells[:, 0].mean() - effects.control[0])
    square = np.square(cells.mean(0) - effects.control).mean() - cells.var(0, ddof=1).mean() / 50
    np.testing.assert_allclose(found[1], np.sqrt(square))
    each = objective.of_cells(cells, effects)
    np.testing.assert_allclose(each[:, 2], cells[:, 0] - effects.control[0])


@pytest.mark.parametrize(
    ("terms", "weights", "scales", "expected"),
    [
        ([Size()], [1.0], [1.0], (0, np.inf)),
        ([Size()], [-1.0], [1.0], (-np.inf, 0)),
        ([Synergy()], [2.0], [1.0], (0, np.inf)),
        ([Alike("towards", np.ones((1, 3)))], [1.0], [1.0], (-1, 1)),
        ([Alike("towards", np.ones((1, 3))), Size()], [1.0, 3.0], [0.5, 1.0], (-2, np.inf)),
        ([Alike("towards", np.ones((1, 3))), Size()], [-1.0, 0.0], [1.0, 1.0], (-1, 1)),
        ([Along("a", np.ones(3)), Size()], [1.0, 1.0], [1.0, 1.0], (-np.inf, np.inf)),
    ],
)
def test_no_value_lies_beyond_the_bounds(terms, weights, scales, expected):
    objective = Objective(terms, np.array(weights), np.array(scales))
    assert objective.bounds == expected
    rng = np.random.default_rng(0)
    values = objective.of_effects(Effects(rng.normal(size=(9, 3)), 0, np.ones(3), rng.normal(size=(9, 3))))[:, 0]
    assert (values >= expected[0]).all()
    assert (values <= expected[1]).all()
