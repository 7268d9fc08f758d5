from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import sem

from scperturbrl.metrics import ConditionPair, NoisyMean, noisy_mean, normalised_mse


def cells(seed, n, shift=0.0, genes=30):
    return np.random.default_rng(seed).normal(3.0, 1.0, (n, genes)) + shift


def ratio(predicted, observed, control, **options):
    return normalised_mse(noisy_mean(predicted), noisy_mean(observed), control=noisy_mean(control), **options)


def test_variance_of_a_mean_is_the_squared_standard_error():
    found = noisy_mean(cells(0, 25))
    np.testing.assert_allclose(found.variance, sem(cells(0, 25)) ** 2, rtol=1e-12)
    np.testing.assert_allclose(noisy_mean(cells(0, 25), n=100).variance, found.variance / 4)
    assert noisy_mean(cells(0, 25), mean=np.ones(30)).mean.tolist() == [1.0] * 30


def test_by_hand():
    predicted = NoisyMean(np.array([1.0, 0.0]), np.array([0.5, 0.2]))
    observed = NoisyMean(np.array([3.0, 1.0]), np.array([0.3, 0.1]))
    control = NoisyMean(np.array([0.0, 0.0]), np.array([0.1, 0.1]))
    # the prediction's 0.7 is capped at the observation's 0.4
    assert normalised_mse(predicted, observed, control=control) == pytest.approx((5 - 0.4 - 0.4) / (10 - 0.4 - 0.2))
    assert normalised_mse(predicted, observed, control=control, exclude=[1]) == pytest.approx((4 - 0.6) / (9 - 0.4))


def test_the_control_scores_one_and_a_replicate_zero_at_any_depth():
    values = {"control": [], "replicate": [], "plain": []}
    for seed in range(40):
        observed, control = cells(seed, 30, 0.4), cells(seed + 1000, 40)
        values["control"].append(ratio(control, observed, control))
        values["replicate"].append(ratio(cells(seed + 2000, 30, 0.4), observed, control))
        effect = np.square(observed.mean(0) - control.mean(0)).sum()
        values["plain"].append(np.square(cells(seed + 2000, 30, 0.4).mean(0) - observed.mean(0)).sum() / effect)
    assert values["control"] == pytest.approx([1.0] * 40)
    assert abs(np.mean(values["replicate"])) < 0.05
    assert np.mean(values["plain"]) > 0.2  # what noise alone adds to the plain error


def test_scattered_cells_earn_nothing():
    observed, control = cells(0, 50, 1.0), cells(1, 50)
    calm, wild = cells(2, 50), cells(2, 50)
    wild += 30 * np.resize([1.0, -1.0], 50)[:, None]  # the same mean, a huge variance
    most = ratio(calm, observed, control) - ratio(wild, observed, control)
    assert most < noisy_mean(observed).variance.sum() / np.square(observed.mean(0) - control.mean(0)).sum() * 1.5


def test_an_effect_within_its_noise_has_no_value():
    weak = NoisyMean(np.zeros(3), np.ones(3))
    assert np.isnan(normalised_mse(weak, weak, control=weak))
    with pytest.raises(ValueError, match="2, 3 and 3 genes"):
        normalised_mse(NoisyMean(np.zeros(2), np.zeros(2)), weak, control=weak)


def test_a_pair_counts_the_cells_behind_its_means():
    sample = cells(0, 20)
    pair = ConditionPair(sample, sample, sample, counts=(100, 40, 20))
    variance = [one.variance.sum() for one in pair.noisy_means]
    assert variance[2] / variance[0] == pytest.approx(5)
    assert variance[2] / variance[1] == pytest.approx(2)


@pytest.mark.parametrize("seed", range(3))
def test_cell_eval2_takes_off_the_same(seed):
    moments = pytest.importorskip("cell_eval2.moments")
    groups = [cells(seed, 30, 0.3), cells(seed + 10, 20, 0.5), cells(seed + 20, 60)]
    means = np.stack([one.mean(0) for one in groups])
    counts = np.array([len(one) for one in groups])
    noise = moments.trace_sigma(counts, np.array([np.square(one).sum() for one in groups]), means) / counts
    capped = min(noise[0], noise[1])
    top = moments.unbiased_sq_dist(means[:1], means[1:2], np.array([capped]), noise[1:2])
    bottom = moments.unbiased_sq_dist(means[1:2], means[2:], noise[1:2], noise[2:])
    assert ratio(*groups) == pytest.approx(float((top / bottom)[0]))
