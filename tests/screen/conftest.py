from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.screen.conditions import Conditions, Ground, Measured


def conditions(parts, amount=None, group=None):
    codes = np.full((len(parts), max(map(len, parts))), -1)
    for row, own in enumerate(parts):
        codes[row, : len(own)] = sorted(own)
    n = len(parts)
    return Conditions(
        codes,
        np.ones(n) if amount is None else np.array(amount, dtype=float),
        np.zeros(n, dtype=int) if group is None else np.array(group),
    )


def world(
    known, effects, *, n_names, n_groups=1, features=None, genes=None, controls=None, noise=0.0, control_noise=0.0
):
    effects = np.asarray(effects, dtype=float)
    ground = Ground(
        tuple(f"P{i}" for i in range(n_names)),
        tuple(f"context{i}" for i in range(n_groups)),
        np.ones((n_groups, effects.shape[1])) if controls is None else np.asarray(controls, dtype=float),
        np.full(n_groups, control_noise),
        np.full(n_names, -1) if genes is None else np.asarray(genes),
        features,
    )
    names = np.array([f"condition{i}" for i in range(len(effects))])
    return ground, Measured.of(ground, known, names, effects, np.full(effects.shape, noise))


@pytest.fixture
def make_conditions():
    return conditions


@pytest.fixture
def make_world():
    return world


@pytest.fixture
def doubles():
    """Six singles and nine doubles whose effects are eight tenths of the sum, with noise; and the effects of the parts."""
    rng = np.random.default_rng(0)
    parts = [(i,) for i in range(6)] + [(i, j) for i in range(6) for j in range(i + 1, 6)][:9]
    single = rng.normal(size=(6, 30))
    clean = np.stack([single[list(own)].sum(0) * (0.8 if len(own) > 1 else 1.0) for own in parts])
    effects = clean + rng.normal(scale=0.1, size=clean.shape)
    known = conditions(parts)
    return (*world(known, effects, n_names=7, noise=0.01), single)
