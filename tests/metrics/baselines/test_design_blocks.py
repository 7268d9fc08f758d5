from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from scperturbrl.metrics import ridge_effect
from scperturbrl.metrics.baselines import design_blocks as module
from scperturbrl.metrics.baselines.design_blocks import design_blocks


def screen(n_singles: int, n_doubles: int, n_genes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    pairs = np.zeros((n_doubles, n_singles))
    for row in pairs:
        row[rng.choice(n_singles // 2, 2, replace=False)] = rng.uniform(0.5, 1, 2)
    design = np.vstack([np.eye(n_singles), pairs])
    return design, design @ rng.normal(size=(n_singles, n_genes)) + rng.normal(size=(len(design), n_genes))


def whole(design: np.ndarray, effects: np.ndarray, alpha: float) -> np.ndarray:
    """Errors of conditions left out, by one decomposition of the whole design."""
    u, s, _ = np.linalg.svd(design, full_matrices=False)
    hat = (u * (s**2 / (s**2 + alpha))) @ u.T
    return (effects - hat @ effects) / (1 - np.diag(hat))[:, None]


@pytest.mark.parametrize("n_genes", [3, 200])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
def test_blocks_give_what_the_whole_design_gives(n_genes, alpha):
    design, effects = screen(100, 30, n_genes)
    blocks = design_blocks(design, effects)
    assert len(blocks) > 1
    found, coefficients = np.full_like(effects, np.nan), np.full((100, n_genes), np.nan)
    for block in blocks:
        found[block.rows] = block.left_out_error(alpha)
        coefficients[block.columns] = block.coefficients(alpha)
    expected = whole(design, effects, alpha)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    total = sum(block.squared_error(alpha) for block in blocks)
    assert total == pytest.approx(np.square(expected).sum(), rel=1e-9)
    fitted = Ridge(alpha=alpha, fit_intercept=False).fit(design, effects).coef_.T
    np.testing.assert_allclose(coefficients, fitted, atol=1e-8)


def test_conditions_with_a_common_part_share_a_block(monkeypatch):
    monkeypatch.setattr(module, "_TOGETHER", 1)
    # 0 and 2 share a part, 2 and 4 another one; 1 and 3 stand alone, and nothing is known of the last part
    design = np.array(
        [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0]], dtype=float
    )
    blocks = design_blocks(design, np.ones((5, 2)))
    assert sorted(block.rows.tolist() for block in blocks) == [[0, 2, 4], [1], [3]]


def test_a_wide_design_and_one_that_repeats_itself_are_solved():
    rng = np.random.default_rng(1)
    wide = rng.normal(size=(4, 9))
    for design in (wide, np.vstack([wide, wide]), wide.T, np.hstack([wide.T, wide.T])):
        effects = rng.normal(size=(len(design), 5))
        expected = Ridge(alpha=0.5, fit_intercept=False).fit(design, effects).coef_.T
        found = ridge_effect(design, effects, design_query=np.eye(design.shape[1]), alphas=[0.5]).effect
        np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_conditions_that_say_nothing_of_the_penalty_get_the_smallest(seed):
    rng = np.random.default_rng(seed)
    design = np.diag(rng.uniform(0.2, 1, 150))
    found = ridge_effect(design, rng.normal(size=(150, 40)), design_query=design)
    assert found.alpha == pytest.approx(1e-3)
    np.testing.assert_allclose(found.left_out, 0, atol=1e-9)
