from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scperturbrl.metrics import direction_fidelity, direction_reach


def tables(seed, n=60):
    rng = np.random.default_rng(seed)
    observed = rng.normal(size=n)
    predicted = 0.7 * observed + 0.7 * rng.normal(size=n)
    observed[:3], predicted[2:6] = (0.0, np.nan, 1.0), (0.0, np.nan, 0.5, -0.5)
    padj = rng.choice([0.001, 0.01, 0.01, 0.2, 0.9], (2, n))
    return predicted, observed, padj, rng.uniform(0, 0.05, n)


def test_counts_by_hand():
    predicted, observed = [1, -1, 1, 1, -1], [1, 1, 1, -1, -1]
    p, q = [0.01, 0.01, 0.01, 0.9, 0.01], [0.01, 0.01, 0.9, 0.01, 0.9]
    # four genes are called, three of them in the right direction; the observation calls three
    assert direction_fidelity(predicted, observed, predicted_padj=p, observed_padj=q) == 3 / 4
    # ranked 0, 1, 3 of which only the first is right
    assert direction_reach(predicted, observed, predicted_padj=p, observed_padj=q) == 1 / 3


def test_a_longer_prefix_may_recover():
    observed = np.ones(20)
    predicted = np.array([-1.0] + [1.0] * 19)
    p = np.linspace(0.001, 0.04, 20)
    reach = lambda floor: direction_reach(
        predicted, observed, predicted_padj=p, observed_padj=np.full(20, 0.01), purity=floor
    )
    assert reach(0.9) == 1.0
    assert reach(0.96) == 0.0


def test_calling_too_many_and_too_few_genes_costs():
    observed, q = np.ones(10), np.repeat([0.01, 0.9], 5)
    fidelity = lambda p: direction_fidelity(observed, observed, predicted_padj=p, observed_padj=q)
    assert fidelity(q) == 1
    assert fidelity(np.full(10, 0.01)) == 1.0  # right in all ten, more than the observation tells
    assert fidelity(np.array([0.01] + [0.9] * 9)) == 0.2
    assert np.isnan(direction_fidelity(observed, observed, predicted_padj=np.ones(10), observed_padj=np.ones(10)))


def test_targets_and_silent_genes_do_not_count():
    predicted, observed = np.array([1.0, 1.0, -1.0]), np.array([1.0, 0.0, -1.0])
    padj = {"predicted_padj": np.full(3, 0.01), "observed_padj": np.full(3, 0.01)}
    assert direction_fidelity(predicted, observed, **padj) == 2 / 3
    assert direction_reach(predicted, observed, **padj) == 2 / 3
    assert direction_fidelity(predicted, observed, **padj, exclude=[1]) == 1
    assert np.isnan(direction_reach(predicted, observed, **padj, exclude=[0, 1, 2]))


@given(st.integers(0, 10_000))
def test_both_are_shares_and_the_observation_itself_is_perfect(seed):
    predicted, observed, (p, q), raw = tables(seed)
    padj = {"predicted_padj": p, "observed_padj": q}
    for value in (
        direction_fidelity(predicted, observed, **padj),
        direction_reach(predicted, observed, **padj, predicted_p=raw),
    ):
        assert 0 <= value <= 1
    whole = {"predicted_padj": q, "observed_padj": q, "exclude": [0, 1]}
    assert direction_fidelity(observed, observed, **whole) == direction_reach(observed, observed, **whole) == 1


@pytest.mark.parametrize("seed", range(8))
def test_cell_eval2_gives_the_same(seed):
    pl, de = pytest.importorskip("polars"), pytest.importorskip("cell_eval2.metrics.direction")
    predicted, observed, (p, q), raw = tables(seed)
    genes = [f"G{i:03}" for i in range(len(p))]
    frame = lambda lfc, padj: pl.DataFrame(
        {"target": ["G010"] * len(p), "feature": genes, "log2_fold_change": lfc, "p_adj": padj, "p_value": raw}
    )
    options = {"de_pred": frame(predicted, p), "de_real": frame(observed, q), "nan_lfc_policy": "keep"}
    padj = {"predicted_padj": p, "observed_padj": q, "exclude": [10]}
    fidelity = de.de_direction_fidelity_yield_raw(**options)["G010"]
    assert direction_fidelity(predicted, observed, **padj) == pytest.approx(fidelity)
    reach = de.de_direction_reach(**options, corrected=False)["G010"]
    assert direction_reach(predicted, observed, **padj, predicted_p=raw) == pytest.approx(reach)
