from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import scperturbrl as spr
from scperturbrl.screen.dose_response import Response, fit_hill, hill, own_directions, own_response

DOSES = np.array([0.1, 0.3, 1.0, 3.0, 10.0, 30.0])


@given(st.floats(-5, 5), st.floats(0.01, 100), st.floats(0.3, 4))
@settings(max_examples=50, deadline=None)
def test_half_of_the_response_is_at_the_ec50(top, ec50, slope):
    assert hill(ec50, top=top, ec50=ec50, slope=slope) == pytest.approx(top / 2)
    assert hill(0.0, top=top, ec50=ec50, slope=slope) == 0


@pytest.mark.parametrize(("top", "ec50", "slope"), [(2.0, 1.0, 1.5), (-0.7, 4.0, 1.2), (5.0, 0.4, 2.0)])
def test_an_exact_curve_is_found_again(top, ec50, slope):
    found = fit_hill(DOSES, hill(DOSES, top=top, ec50=ec50, slope=slope), np.full(6, 1e-3 * abs(top)))
    assert (found.top, found.ec50, found.slope) == pytest.approx((top, ec50, slope), rel=1e-2)
    assert found.r2 == pytest.approx(1, abs=1e-4)


def test_with_many_doses_it_is_what_curve_fit_finds():
    rng = np.random.default_rng(0)
    dose = np.geomspace(0.03, 100, 40)
    error = np.full(40, 0.05)
    response = hill(dose, top=1.0, ec50=2.0, slope=1.3) + error * rng.normal(size=40)
    curve = lambda x, top, log_ec50, log_slope: hill(x, top=top, ec50=np.exp(log_ec50), slope=np.exp(log_slope))
    expected, covariance = optimize.curve_fit(curve, dose, response, [1, 0, 0], sigma=error, absolute_sigma=True)
    found = fit_hill(dose, response, error)
    # the prior of the slope is left
    assert (found.top, np.log(found.ec50), np.log(found.slope)) == pytest.approx(tuple(expected), abs=0.02)
    np.testing.assert_allclose(found.errors, np.sqrt(np.diag(covariance)), rtol=0.05)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng, inside = np.random.default_rng(1), []
    for _ in range(60):
        control = 0.1 * rng.normal()
        response = hill(DOSES, top=1.0, ec50=1.0, slope=1.5) + 0.05 * rng.normal(size=6) - control
        found = fit_hill(DOSES, response, np.full(6, np.hypot(0.05, 0.1)), shared=0.01)
        low, high = found.intervals()[1]
        inside.append(low < 1.0 < high)
    assert np.mean(inside) > 0.8


@pytest.mark.parametrize(
    ("dose", "response", "error", "message"),
    [
        ([1.0, 2.0, 2.0], [1.0, 2.0, 2.0], [0.1] * 3, "2 different doses"),
        ([0.0, 1.0, 2.0], [1.0, 2.0, 2.0], [0.1] * 3, "above 0"),
        ([1.0, 2.0, 3.0], [1.0, np.nan, 2.0], [0.1] * 3, "finite"),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 2.0], [0.0] * 3, "above 0"),
    ],
)
def test_what_cannot_be_fitted(dose, response, error, message):
    with pytest.raises(ValueError, match=message):
        fit_hill(dose, response, error)


def test_one_dose_is_the_test_of_two_means():
    rng = np.random.default_rng(2)
    treated, control = rng.normal(size=500) + 0.1, rng.normal(size=400)
    found = Response.of([treated], control)
    expected = stats.ttest_ind(treated, control, equal_var=False)
    assert found.value[0] / found.error[0] == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-3)


def test_noise_is_no_response():
    rng = np.random.default_rng(3)
    small = [
        own_response([rng.normal(size=(40, 60)) for _ in range(4)], rng.normal(size=(200, 60))).p_value < 0.05
        for _ in range(150)
    ]
    assert np.mean(small) < 0.12


def test_the_length_is_that_of_the_effect():
    rng = np.random.default_rng(4)
    effect = rng.normal(size=50)
    cells = [share * effect + 0.1 * rng.normal(size=(60, 50)) for share in (0.2, 0.5, 1.0)]
    found = own_response(cells, 0.1 * rng.normal(size=(300, 50)))
    np.testing.assert_allclose(found.value, np.array([0.2, 0.5, 1.0]) * np.linalg.norm(effect), rtol=0.03)
    for direction in own_directions(cells, np.zeros((4, 50))):
        assert abs(direction @ effect) / np.linalg.norm(effect) == pytest.approx(1, abs=0.01)


def test_ec50_of_the_simulator_are_recovered():
    doses, ratios = [0.1, 0.3, 1.0, 3.0, 10.0], []
    for seed in (0, 1):
        adata = spr.datasets.simulated_perturbseq(
            n_genes=400, n_singles=12, n_doubles=0, n_cells_per_condition=50, n_controls=400, doses=doses, seed=seed
        )
        matrix = adata.X.toarray()
        label, dose = adata.obs["perturbation"].astype(str).to_numpy(), adata.obs["dose"].to_numpy()
        for name, row in adata.uns["truth"]["singles"].iterrows():
            blocks = [matrix[(label == name) & (dose == each)] for each in doses]
            found = own_response(blocks, matrix[label == "control"])
            assert found.p_value < 0.01
            fit = fit_hill(doses, found.value, found.error, shared=found.shared)
            ratios.append(abs(np.log(fit.ec50 / row["ec50"])))
    assert np.mean(np.array(ratios) < np.log(1.5)) >= 0.8
