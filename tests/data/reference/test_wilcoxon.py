from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scperturbrl.data.reference.wilcoxon import _scores


def scores(groups):
    """z scores of all groups against the first, as from the non-zero values of a sparse column."""
    values = np.concatenate(groups)
    codes = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    kept = values != 0
    return _scores(values[kept], codes[kept], np.bincount(codes, minlength=len(groups)))


@pytest.mark.parametrize("draw", ["counts", "continuous", "negative"])
def test_p_values_are_those_of_scipy(draw):
    rng = np.random.default_rng(0)
    draws = {
        "counts": lambda n: rng.poisson(0.8, n).astype(float),
        "continuous": lambda n: rng.gamma(2, size=n),
        "negative": lambda n: rng.integers(-2, 3, n).astype(float),
    }
    groups = [draws[draw](n) for n in (40, 7, 25, 60)]
    groups[3] += 1
    for score, group in zip(scores(groups), groups[1:], strict=True):
        theirs = stats.mannwhitneyu(group, groups[0], method="asymptotic", use_continuity=False)
        assert 2 * stats.norm.sf(abs(score)) == pytest.approx(theirs.pvalue, rel=1e-9)
        assert np.sign(score) == np.sign(theirs.statistic - len(group) * 20)


def test_other_conditions_change_nothing():
    rng = np.random.default_rng(1)
    groups = [rng.poisson(1, n).astype(float) for n in (30, 9, 12)]
    assert scores(groups)[0] == pytest.approx(scores(groups[:2])[0], rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_a_gene_with_one_value_has_no_rank(value):
    assert scores([np.full(6, value), np.full(4, value)]).tolist() == [0.0]
    # all cells of one condition equal, those of the other not
    found = scores([np.full(6, value), np.full(4, value), np.arange(5.0)])
    assert found[0] == 0
    assert found[1] != 0
