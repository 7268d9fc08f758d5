from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scperturbrl.metrics import enrichment, enrichment_correlation, enrichment_recovery


@pytest.fixture
def network():
    rng = np.random.default_rng(0)
    return rng.normal(size=(80, 6)) * (rng.random((80, 6)) < 0.3)


@pytest.fixture
def effects(network):
    rng = np.random.default_rng(1)
    signal = network @ [1.0, -1.0, 0.0, 0.0, 0.7, 0.0]
    return signal + rng.normal(size=80), signal + rng.normal(size=80)


def test_matches_decoupler(network, effects):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import decoupler as dc
    genes, sets = [f"g{i}" for i in range(80)], [f"p{i}" for i in range(6)]
    long = pd.DataFrame(network, index=genes, columns=sets).stack().rename("weight").reset_index()
    long = long.set_axis(["target", "source", "weight"], axis=1)
    frame = pd.DataFrame(np.stack(effects), index=["a", "b"], columns=genes)
    scores, padj = dc.mt.ulm(frame, long[long["weight"] != 0], tmin=1)
    for row, effect in zip(("a", "b"), effects, strict=True):
        found = enrichment(effect, network)
        np.testing.assert_allclose(found.statistic, scores.loc[row, sets], rtol=1e-5)
        np.testing.assert_allclose(found.padj, padj.loc[row, sets], rtol=1e-4, atol=1e-12)


def test_correlation_matches_scipy(network, effects):
    first, second = (enrichment(effect, network).statistic for effect in effects)
    expected = spearmanr(first, second).statistic
    assert enrichment_correlation(*effects, network=network) == pytest.approx(expected, abs=1e-12)


def test_recovery_counts_sets_with_the_right_sign(network, effects):
    predicted, observed = effects
    found = enrichment(observed, network).padj < 0.05
    assert found.any()
    assert enrichment_recovery(observed, observed, network=network) == 1
    assert enrichment_recovery(-observed, observed, network=network) == 0
    assert enrichment_recovery(np.zeros(80), observed, network=network) == 0
    both = (enrichment(predicted, network).padj < 0.05) & found
    assert enrichment_recovery(predicted, observed, network=network) == pytest.approx(both.sum() / found.sum())


def test_undefined_is_nan(network, effects):
    empty = np.zeros((80, 3))
    assert np.isnan(enrichment(effects[0], empty).statistic).all()
    assert np.isnan(enrichment_correlation(*effects, network=empty))
    assert np.isnan(enrichment_recovery(*effects, network=empty))
    assert np.isnan(enrichment_correlation(np.zeros(80), effects[1], network=network))


def test_misfits_are_refused(network, effects):
    with pytest.raises(ValueError, match="do not fit"):
        enrichment(effects[0][:-1], network)
