from __future__ import annotations

import numpy as np


def test_the_design_holds_amounts(make_conditions):
    design = make_conditions([(0,), (0, 2)], amount=[0.5, 1.0]).design(3)
    np.testing.assert_allclose(design, [[0.5, 0, 0], [1, 0, 1]])


def test_labels_and_parts(make_conditions):
    found = make_conditions([(0,), (2, 0)])
    assert found.labels() == [(0,), (0, 2)]
    assert found.n_parts.tolist() == [1, 2]
    assert found.select(np.array([1])).labels() == [(0, 2)]


def test_effects_are_kept_whole(make_conditions, make_world):
    effects = np.random.default_rng(0).normal(size=(5, 12))
    _, measured = make_world(make_conditions([(i,) for i in range(5)]), effects, n_names=5)
    np.testing.assert_allclose(measured.effects, effects, atol=1e-12)
    np.testing.assert_allclose(measured.select(np.array([3, 1])).effects, effects[[3, 1]], atol=1e-12)


def test_own_genes_change_as_elsewhere(make_conditions, make_world):
    effects = np.array([[9.0, 1.0], [2.0, 8.0], [4.0, 3.0]])
    _, measured = make_world(make_conditions([(0,), (1,), (2,)]), effects, n_names=3, genes=[0, 1, -1])
    np.testing.assert_allclose(measured.masked @ measured.masked_directions, [[3, 1], [2, 2], [4, 3]], atol=1e-12)


def test_what_is_described(make_conditions, make_world):
    known = make_conditions([(0,)])
    ground, _ = make_world(known, [[1.0]], n_names=2, genes=[0, -1])
    assert ground.described().tolist() == [True, False]
    ground, _ = make_world(known, [[1.0]], n_names=2, features=np.array([[np.nan], [1.0]]))
    assert ground.described().tolist() == [False, True]
