from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import scperturbrl as spr
from scperturbrl.get._effects import agreement


def dense(matrix):
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


def populations(adata, label):
    rows = (adata.obs["perturbation"] == label).to_numpy()
    control = (adata.obs["perturbation"] == "control").to_numpy()
    return dense(adata.X)[rows], dense(adata.layers["generator_rl"])[rows], dense(adata.X)[control]


@pytest.fixture
def one(adata):
    return spr.get.effects(adata, keys="generator_rl", conditions="GENE014", n_top=7)


def test_effects_are_differences_of_means(adata, one):
    observed, generated, control = populations(adata, "GENE014")
    np.testing.assert_allclose(one["observed"], observed.mean(0) - control.mean(0), atol=1e-5)
    np.testing.assert_allclose(one["predicted"], generated.mean(0) - control.mean(0), atol=1e-5)
    assert one["gene"].tolist() == adata.var_names.tolist()


def test_the_statistic_is_welch_t_and_marks_the_strongest_genes(adata, one):
    observed, _, control = populations(adata, "GENE014")
    t = stats.ttest_ind(observed, control, equal_var=False).statistic
    np.testing.assert_allclose(one["statistic"], t, rtol=1e-3, atol=1e-4)
    t[adata.var_names == "GENE014"] = 0
    assert set(one.loc[one["top"], "gene"]) == set(adata.var_names[np.argsort(-np.abs(t))[:7]])


def test_targets_are_known_and_never_on_top(adata):
    frame = spr.get.effects(adata, conditions="GENE014+GENE016", n_top=1000)
    assert set(frame.loc[frame["target"], "gene"]) == {"GENE014", "GENE016"}
    assert not (frame["top"] & frame["target"]).any()


def test_all_conditions_and_generators_by_default(adata):
    frame = spr.get.effects(adata)
    conditions = [name for name in adata.obs["perturbation"].cat.categories if name != "control"]
    assert sorted(frame["condition"].unique()) == sorted(conditions)
    assert frame["model"].unique().tolist() == ["generator", "generator_rl"]
    assert len(frame) == 2 * len(conditions) * adata.n_vars
    split = adata.obs.groupby("perturbation", observed=True)["split"].first()
    for condition, part in frame.groupby("condition"):
        assert part["split"].unique().tolist() == [split[condition]]


def test_agreement_is_pearson_and_share_of_signs(one):
    r, direction = agreement(one)
    own = one[~one["target"]]
    assert r == pytest.approx(stats.pearsonr(own["observed"], own["predicted"]).statistic)
    top = one[one["top"]]
    assert direction == pytest.approx((np.sign(top["observed"]) == np.sign(top["predicted"])).mean())


def test_a_prediction_of_no_effect_has_no_correlation(one):
    r, direction = agreement(one.assign(predicted=0.0))
    assert np.isnan(r)
    assert direction == 0


def test_layers_of_others_are_taken(adata):
    adata.layers["theirs"] = adata.X.copy()
    frame = spr.get.effects(adata, keys="theirs", conditions="GENE014")
    np.testing.assert_allclose(frame["predicted"], frame["observed"])


def test_errors_name_what_is_wrong(adata):
    with pytest.raises(KeyError, match=r"`layers` has no 'mine'.*tl\.generate\(adata, key='mine'\)"):
        spr.get.effects(adata, keys="mine")
    with pytest.raises(ValueError, match="There is no perturbed condition or perturbation 'GENE01'.*'GENE014'"):
        spr.get.effects(adata, conditions=["GENE01"])
    with pytest.raises(ValueError, match="`n_top` is 0"):
        spr.get.effects(adata, n_top=0)


def test_without_generated_cells(bare):
    with pytest.raises(KeyError, match=r"tl\.generate\(adata, key='generator'\)"):
        spr.get.effects(bare)


def test_the_heatmap_has_the_top_genes_in_order(adata):
    frame = spr.get.effects_heatmap(adata, conditions=["GENE034", "GENE014"], n_top=4)
    whole = spr.get.effects(adata, conditions=["GENE034", "GENE014"], n_top=4)
    assert frame["condition"].unique().tolist() == ["GENE034", "GENE014"]
    assert frame["model"].unique().tolist() == ["observed", "generator", "generator_rl"]
    assert frame["rank"].tolist() == [1, 2, 3, 4] * 6
    for (condition, model), part in frame.groupby(["condition", "model"]):
        source = whole[(whole["condition"] == condition) & (whole["model"] == model.replace("observed", "generator"))]
        source = source.set_index("gene")
        wanted = source["observed" if model == "observed" else "predicted"]
        np.testing.assert_allclose(part["effect"], wanted[part["gene"]])
        assert source.loc[part["gene"], "statistic"].abs().is_monotonic_decreasing
