from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr, ttest_ind

from scperturbrl.metrics import (
    METRICS,
    ConditionPair,
    compute_metrics,
    energy_distance,
    mean_pairwise_distance,
    mmd_rbf,
)


def populations(seed: int = 0, sizes: tuple[int, int, int] = (40, 50, 60), n_genes: int = 30) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    effect = np.where(np.arange(n_genes) < 10, 1.5, 0.0)
    rates = rng.gamma(2.0, size=n_genes)
    shifts = (0.8 * effect, effect, 0 * effect)
    return [np.log1p(rng.poisson(rates + shift, (n, n_genes))) for n, shift in zip(sizes, shifts, strict=True)]


def test_every_metric_of_one_condition_in_the_order_of_the_registry():
    rng = np.random.default_rng(1)
    pair = ConditionPair(
        *populations(),
        systema_reference=np.ones(30),
        modules=np.kron(np.eye(3), np.ones((10, 1))),
        networks={"pathway": np.kron(np.eye(3), np.ones((10, 1)))},
        parts=rng.normal(size=(2, 30)),
    )
    values = compute_metrics(pair, k=10)
    assert list(values) == [name for name, metric in METRICS.items() if not metric.joint]
    assert all(type(value) is float and math.isfinite(value) for value in values.values())


def test_values_match_scipy():
    predicted, observed, control = populations()
    values = compute_metrics(ConditionPair(predicted, observed, control), k=8)
    effects = predicted.mean(0) - control.mean(0), observed.mean(0) - control.mean(0)
    top = np.argsort(-np.abs(ttest_ind(observed, control, equal_var=False).statistic))[:8]
    assert values["pearson_delta"] == pytest.approx(pearsonr(*effects).statistic)
    assert values["pearson_delta_top"] == pytest.approx(pearsonr(effects[0][top], effects[1][top]).statistic)
    assert values["de_spearman"] == pytest.approx(spearmanr(effects[0][top], effects[1][top]).statistic)
    assert values["l2"] == pytest.approx(np.linalg.norm(effects[0] - effects[1]))
    assert math.isnan(values["pearson_delta_systema"])


def test_further_networks_follow_under_their_names():
    network = np.kron(np.eye(5), np.ones((6, 1)))
    values = compute_metrics(ConditionPair(*populations(), networks={"hallmark": network}), k=8)
    assert list(values)[-2:] == ["hallmark_correlation", "hallmark_recovery"]
    assert math.isfinite(values["hallmark_correlation"])
    assert math.isnan(values["pathway_correlation"])


def test_real_cells_as_prediction_have_no_error():
    _, observed, control = populations()
    pair = ConditionPair(observed, observed, control, systema_reference=np.ones(30))
    values = compute_metrics(pair, k=10)
    for name in ("l2", "mse", "mae", "zero_fraction_error", "variance_ratio", "pearson_delta", "de_overlap"):
        assert METRICS[name].error(values[name]) == pytest.approx(0, abs=1e-12)
    for name in ("pearson_delta_top", "pearson_delta_systema", "de_spearman", "direction_match"):
        assert values[name] == pytest.approx(1)


def test_prediction_of_the_control_has_no_direction():
    _, observed, control = populations()
    values = compute_metrics(ConditionPair(control, observed, control), k=10)
    assert math.isnan(values["pearson_delta"])
    assert math.isnan(values["de_spearman"])
    assert values["de_overlap"] == values["direction_match"] == 0


def test_what_is_handed_over_replaces_what_is_computed():
    predicted, observed, control = populations()
    full = compute_metrics(ConditionPair(predicted, observed, control), k=10)
    statistic = ttest_ind(observed, control, equal_var=False).statistic
    lean = ConditionPair(
        predicted, observed, control[:0], control_mean=control.mean(axis=0), observed_statistic=statistic
    )
    # tests of significance and noise need the control cells themselves
    need = ("significant_jaccard", "direction_fidelity", "direction_reach", "lfc_nmae", "normalised_mse")
    assert compute_metrics(lean, k=10) == pytest.approx(full | dict.fromkeys(need, math.nan), nan_ok=True)
    named = ConditionPair(predicted, observed, control, top_genes=np.argsort(-np.abs(statistic))[:10])
    assert compute_metrics(named, k=10) == pytest.approx(full, nan_ok=True)


def test_mean_alone_has_no_metrics_of_cells():
    predicted, observed, control = populations()
    values = compute_metrics(ConditionPair(predicted[:0], observed, control, predicted_mean=observed.mean(axis=0)))
    assert values["mse"] == 0
    defined = [name for name, value in values.items() if not math.isnan(value)]
    assert defined == [
        *("l2", "mse", "mae", "weighted_mse", "pearson_delta", "pearson_delta_top", "spearman_delta"),
        *("de_spearman", "de_overlap", "direction_match", "lfc_nmae"),
    ]


def test_targets_count_as_absent_in_differential_expression_only():
    predicted, observed, control = populations()
    observed[:, 0], predicted[:, 0] = 50.0, 0.0
    targets = np.array([0])
    values = compute_metrics(ConditionPair(predicted, observed, control, target_genes=targets), k=5)
    absent = compute_metrics(ConditionPair(predicted[:, 1:], observed[:, 1:], control[:, 1:]), k=5)
    present = compute_metrics(ConditionPair(predicted, observed, control), k=5)
    differential = ["pearson_delta_top", "de_spearman", "de_overlap", "direction_match", "weighted_mse"]
    differential += ["normalised_mse"]
    matched = {"significant_jaccard", "direction_fidelity", "direction_reach", "lfc_nmae"}
    matched |= {"covariance_correlation", "eigenvalue_ratio"}
    for name in differential:
        assert values[name] == pytest.approx(absent[name]) != present[name]
    for name in values.keys() - {*differential, *matched}:
        assert values[name] == pytest.approx(present[name], nan_ok=True)


def test_named_genes_lose_the_targets():
    pair = ConditionPair(*populations(), top_genes=np.array([4, 0, 2]), target_genes=np.array([0]))
    assert pair.strongest_genes(5).tolist() == [4, 2]


def test_distances_use_the_projection():
    predicted, observed, control = populations()
    projection = np.random.default_rng(1).normal(size=(30, 4))
    values = compute_metrics(ConditionPair(predicted, observed, control, projection=projection))
    assert values["energy_distance"] == pytest.approx(energy_distance(predicted @ projection, observed @ projection))
    assert values["mmd"] == pytest.approx(mmd_rbf(predicted @ projection, observed @ projection))


def test_many_cells_are_subsampled_with_the_seed():
    pair = ConditionPair(*populations(sizes=(400, 400, 50)))
    full = compute_metrics(pair)
    capped = [compute_metrics(pair, max_cells=150, seed=seed)["energy_distance"] for seed in (0, 0, 1)]
    assert capped[0] == capped[1] != capped[2]
    assert capped[0] == pytest.approx(full["energy_distance"], abs=0.15)
    assert compute_metrics(pair, max_cells=150)["variance_ratio"] == full["variance_ratio"]


def test_subsamples_of_the_same_cells_do_not_share_their_rows():
    _, observed, control = populations(sizes=(1, 300, 50))
    values = [
        compute_metrics(ConditionPair(observed, observed, control), max_cells=100, seed=seed)["energy_distance"]
        for seed in range(20)
    ]
    # The same rows on both sides would give -2 E|x - x'| / n every time; chance gives it with n = 300, all cells.
    same_rows = -2 * mean_pairwise_distance(observed) / 100
    assert np.mean(values) > 0.6 * same_rows
    assert same_rows < min(values)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("n", [0, 1])
def test_too_few_cells_do_not_crash(which, n):
    cells = populations()
    cells[which] = cells[which][:n]
    values = compute_metrics(ConditionPair(*cells), k=10)
    assert math.isnan(values["energy_distance"]) == (which != 2)
    assert math.isnan(values["l2"]) == (n == 0 and which != 2)
    assert math.isnan(values["pearson_delta"]) == (n == 0)
    assert math.isnan(values["de_spearman"]) == (n == 0 or which != 0)


def test_genes_without_expression_do_not_crash():
    cells = [np.zeros((5, 8)) for _ in range(3)]
    values = compute_metrics(ConditionPair(*cells), k=4)
    assert values["l2"] == values["energy_distance"] == values["zero_fraction_error"] == 0
    undefined = ("pearson_delta", "de_spearman", "mmd", "variance_ratio", "lfc_nmae", "normalised_mse")
    undefined += ("direction_fidelity", "direction_reach", "covariance_correlation", "eigenvalue_ratio")
    assert all(math.isnan(values[name]) for name in undefined)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("predicted", (4, 3)), ("control", (30,)), ("predicted_mean", (3,)), ("projection", (4, 30))],
)
def test_pair_refuses_shapes_that_do_not_fit(name, shape):
    fields = dict(zip(("predicted", "observed", "control"), populations(), strict=True))
    with pytest.raises(ValueError, match=f"`{name}` is a ndarray of shape"):
        ConditionPair(**{**fields, name: np.zeros(shape)})


def test_pair_refuses_sparse_cells():
    from scipy.sparse import csr_array

    predicted, observed, control = populations()
    with pytest.raises(ValueError, match="`control` is a csr_array"):
        ConditionPair(predicted, observed, csr_array(control))
