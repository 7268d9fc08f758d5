from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.metrics import METRICS, energy_distance, split_half

BASELINES = {
    "control",
    "perturbed_mean",
    "matching_mean",
    "nearest_condition",
    "additive",
    "additive_ridge",
    "combination_ridge",
}
CEILINGS = {"split_half", "interpolated_duplicate"}
COLUMNS = {
    *("model", "kind", "condition", "covariates", "metric", "value", "scaled", "role", "n_parts", "parts_seen"),
    *("n_cells", "n_observed", "seed", "engine", "version", "calibrated", "told_apart", "dynamic_range", "seen"),
    *("split_hash", "generator_hash"),
}


@pytest.fixture(scope="module")
def evaluated(fitted_screen):
    adata = fitted_screen.copy()
    table = spr.tl.evaluate(adata, n_cells=120)
    return adata, table


def held_out(adata):
    return sorted(adata.obs.loc[adata.obs["split"] == "test", "perturbation"].unique())


def values(table, model, metric, column="value"):
    return table[(table["model"] == model) & (table["metric"] == metric)].set_index("condition")[column]


def real_cells(adata, condition):
    """In the order in which they are dealt out to the halves."""
    cells = Cells.of(adata)
    rows = np.flatnonzero(adata.obs["perturbation"] == condition)
    return adata.X[shuffled(cells, rows, 0, "order of real cells")].toarray()


def test_the_table_is_tidy(evaluated):
    adata, table = evaluated
    assert set(table) == COLUMNS
    assert not table.duplicated(["model", "condition", "metric"]).any()
    assert set(table["condition"]) == set(held_out(adata))
    assert set(table["model"]) == {"generator"} | CEILINGS | BASELINES
    kinds = table.drop_duplicates("model").set_index("model")["kind"]
    assert kinds["generator"] == "generator"
    assert kinds["split_half"] == "ceiling"
    assert set(kinds[list(BASELINES)]) == {"baseline"}
    scores = {f"score_{name}" for name in spr.verifiers.DEFAULT}
    assert set(table["metric"]) == set(METRICS) | scores
    assert set(table["role"]) == {"held-out"}
    assert (table.loc[table["model"] == "generator", "n_cells"] == 120).all()


def test_it_is_kept_and_can_be_written(evaluated, tmp_path):
    adata, table = evaluated
    pd.testing.assert_frame_equal(adata.uns["evaluation"], table)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert set(adata.layers) - {None} == {"counts"}


def test_scaled_is_0_for_the_mean_and_1_for_the_ceiling(evaluated):
    _, table = evaluated
    baseline, ceiling = (table[table["model"] == name]["scaled"].dropna() for name in ("perturbed_mean", "split_half"))
    np.testing.assert_allclose(baseline, 0, atol=1e-9)
    np.testing.assert_allclose(ceiling, 1, atol=1e-9)
    assert len(baseline) > 10
    systema = table[(table["metric"] == "pearson_delta_systema") & (table["model"] == "split_half")]
    assert systema["scaled"].tolist() == [1] * len(systema)


@pytest.mark.parametrize("metric", ["mse", "pearson_delta", "variance_ratio", "energy_distance", "score_rmse_topk"])
def test_scaled_places_the_model_between_them(evaluated, metric):
    _, table = evaluated
    model, low, high = (values(table, name, metric) for name in ("generator", "perturbed_mean", "split_half"))
    if metric == "variance_ratio":
        model, low, high = ((x - 1).abs() for x in (model, low, high))
    expected = (model - low) / (high - low)
    np.testing.assert_allclose(values(table, "generator", metric, "scaled"), expected, rtol=1e-6)


def test_baselines_are_what_their_names_say(evaluated):
    adata, table = evaluated
    obs = adata.obs.assign(train=adata.obs["split"] == "train")
    control = real_cells(adata, "control").mean(0)
    effects = {
        name: real_cells(adata, name).mean(0) - control
        for name in obs.loc[obs["train"], "perturbation"].unique()
        if name != "control"
    }
    for condition in held_out(adata):
        observed = real_cells(adata, condition).mean(0) - control
        predicted = {
            "control": 0 * control,
            "perturbed_mean": np.mean(list(effects.values()), axis=0),
            "additive": sum(effects[part] for part in condition.split("+")),
        }
        predicted["matching_mean"] = predicted["perturbed_mean"]
        for name, effect in predicted.items():
            mse = ((effect - observed) ** 2).mean()
            assert values(table, name, "mse")[condition] == pytest.approx(mse, rel=1e-3)
            if name in ("additive", "perturbed_mean"):
                correlation = np.corrcoef(effect, observed)[0, 1]
                assert values(table, name, "pearson_delta")[condition] == pytest.approx(correlation, abs=1e-3)


def test_the_ceiling_is_one_half_against_the_other(evaluated):
    adata, table = evaluated
    for condition in held_out(adata):
        first, second = split_half(real_cells(adata, condition), seed=0)
        mse = ((first.mean(0) - second.mean(0)) ** 2).mean()
        assert values(table, "split_half", "mse")[condition] == pytest.approx(mse, rel=1e-3)


def test_a_trained_generator_beats_doing_nothing(evaluated):
    _, table = evaluated
    for metric in ("mse", "energy_distance"):
        assert values(table, "generator", metric).mean() < 0.6 * values(table, "control", metric).mean()


@pytest.mark.filterwarnings("ignore:.*identical to measured cells of the same conditions")
def test_real_cells_as_a_prediction_are_near_the_ceiling(screen):
    truth = screen[screen.obs["split"] == "test"].copy()
    del truth.uns["scperturbrl"]
    screen.layers["copy"] = screen.X.copy()
    table = spr.tl.evaluate(screen, keys=[], layers=["copy"], predictions={"truth": truth})
    assert set(table["kind"]) == {"prediction", "baseline", "ceiling"}
    for name in ("truth", "copy"):
        np.testing.assert_allclose(values(table, name, "mse"), 0, atol=1e-9)
        np.testing.assert_allclose(values(table, name, "pearson_delta"), 1, atol=1e-4)
        np.testing.assert_allclose(values(table, name, "variance_ratio"), 1, atol=1e-4)
        np.testing.assert_allclose(values(table, name, "discrimination"), 1, atol=1e-6)
        assert (values(table, name, "energy_distance") < values(table, "split_half", "energy_distance") + 0.05).all()
        assert (values(table, name, "score_rmse_topk", "scaled") > 0.7).all()


def test_rewarded_related_and_held_out_metrics_are_told_apart(fitted):
    options = {"n_iterations": 1, "n_conditions": 2, "group_size": 2, "verifiers": ["pearson_topk"]}
    spr.tl.rl_finetune(fitted, key_added="plain", energy_steps=0, **options)
    spr.tl.rl_finetune(fitted, key_added="descended", energy_steps=1, **options)
    roles = {}
    for key in ("plain", "descended"):
        table = spr.tl.evaluate(fitted, keys=["generator", key], n_cells=20)
        roles[key] = table.drop_duplicates("metric").set_index("metric")["role"]
        assert set(roles[key]) == {"rewarded", "related", "held-out"}
        assert roles[key]["score_pearson_topk"] == "rewarded"
        assert roles[key]["pearson_delta_top"] == roles[key]["direction_match"] == "related"
        assert roles[key]["score_rmse_topk"] == roles[key]["variance_ratio"] == roles[key]["mse"] == "held-out"
    assert roles["plain"]["energy_distance"] == roles["plain"]["mmd"] == "held-out"
    assert roles["descended"]["energy_distance"] == "rewarded"
    assert roles["descended"]["mmd"] == "related"


def test_all_generators_are_evaluated_unless_named(fitted):
    spr.tl.fit_generator(fitted, init_from="generator", key_added="longer", n_steps=3)
    models = set(spr.tl.evaluate(fitted, n_cells=20, key_added="both")["model"])
    assert {"generator", "longer"} <= models
    assert "longer" not in set(spr.tl.evaluate(fitted, keys=["generator"], n_cells=20)["model"])
    assert {"both", "evaluation"} <= set(fitted.uns)


def test_conditions_can_be_named(fitted):
    condition = fitted.varm["perturbation_effect"].columns[0]
    table = spr.tl.evaluate(fitted, conditions=[condition], n_cells=20, verifiers=["rmse_topk"])
    assert set(table["condition"]) == {condition}
    assert {m for m in table["metric"] if m.startswith("score_")} == {"score_rmse_topk"}


def test_a_condition_is_found_by_any_of_its_names_and_counted_once(fitted):
    name = held_out(fitted)[0]
    mirrored = "+".join(reversed(name.split("+")))
    options = {"keys": [], "verifiers": ["rmse_topk"], "max_cells": 20}
    expected = spr.tl.evaluate(fitted, conditions=[name], **options)
    assert set(expected["condition"]) == {name}
    for given in (name, mirrored, [mirrored, name, name]):
        pd.testing.assert_frame_equal(spr.tl.evaluate(fitted, conditions=given, **options), expected)


def test_the_same_seed_gives_the_same_table(fitted):
    tables = [spr.tl.evaluate(fitted, n_cells=20, max_cells=15, seed=seed) for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_contexts_have_baselines_of_their_own(context):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.split(context, holdout="cell_type", values=["B"], validation_fraction=0)
        spr.pp.reference(context)
    table = spr.tl.evaluate(context, keys=[], verifiers=["rmse_topk"])
    assert all(name.endswith("cell_type=B") for name in table["condition"])
    obs, matrix = context.obs, context.X.toarray()

    def mean(label, kind):
        chosen = (obs["perturbation"] == label) & (obs["cell_type"] == kind)
        return matrix[chosen.to_numpy()].mean(0)

    single = next(name for name in table["condition"].unique() if "dose=10" in name and "+" not in name)
    label = single.split(" | ")[0]
    own = {
        dose: matrix[
            ((obs["perturbation"] == label) & (obs["cell_type"] == "T") & (obs["dose"] == dose)).to_numpy()
        ].mean(0)
        - mean("control", "T")
        for dose in (1.0, 10.0)
    }
    observed = matrix[
        ((obs["perturbation"] == label) & (obs["cell_type"] == "B") & (obs["dose"] == 10.0)).to_numpy()
    ].mean(0) - mean("control", "B")
    expected = ((np.mean(list(own.values()), axis=0) - observed) ** 2).mean()
    assert values(table, "matching_mean", "mse")[single] == pytest.approx(expected, rel=1e-3)
    nearest = ((own[10.0] - observed) ** 2).mean()
    for name in ("nearest_dose", "interpolated_dose"):
        assert values(table, name, "mse")[single] == pytest.approx(nearest, rel=1e-3)


def test_energy_distances_are_those_of_the_training_components(evaluated):
    from sklearn.decomposition import PCA

    adata, table = evaluated
    train = (adata.obs["split"] == "train").to_numpy()
    loadings = PCA(30, svd_solver="covariance_eigh").fit(adata.X[train].toarray()).components_.T
    for condition in held_out(adata):
        first, second = split_half(real_cells(adata, condition), seed=0)
        expected = energy_distance(first @ loadings, second @ loadings)
        assert values(table, "split_half", "energy_distance")[condition] == pytest.approx(expected, abs=1e-4)


def everything_trains(adata):
    spr.pp.split(adata, holdout="nothing")
    return {}


def other_genes(adata):
    return {"predictions": {"theirs": adata[:, ::-1].copy()}}


def raw_counts(adata):
    theirs = adata.copy()
    theirs.X = theirs.layers["counts"]
    return {"predictions": {"theirs": theirs}}


def another_condition(adata):
    return {"predictions": {"theirs": adata[adata.obs["split"] == "train"].copy()}}


def further_genes(adata):
    more = ad.AnnData(np.zeros((adata.n_obs, 2)), obs=adata.obs[[]], var=pd.DataFrame(index=["other1", "other2"]))
    return {"predictions": {"theirs": ad.concat([adata, more], axis=1, merge="first")}}


def without_columns(adata):
    theirs = adata.copy()
    del theirs.obs["perturbation"]
    return {"predictions": {"theirs": theirs}}


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        (lambda adata: {"keys": ["generator_rl"]}, KeyError, r"no generator 'generator_rl'.*'generator'"),
        (lambda adata: {"layers": ["count"]}, KeyError, r"`layers` has no 'count'.*'counts'"),
        (lambda adata: {"layers": ["counts"]}, ValueError, r"layers\['counts'\].*raw counts"),
        (lambda adata: {"conditions": ["GENE"]}, KeyError, r"no condition 'GENE'"),
        (lambda adata: {"n_cells": 0}, ValueError, r"`n_cells` is 0"),
        (lambda adata: {"max_cells": 0}, ValueError, r"`max_cells` is 0"),
        (lambda adata: {"verifiers": ["rmse"]}, KeyError, r"'rmse_topk'"),
        (
            lambda adata: {"predictions": {"split_half": adata}},
            ValueError,
            r"prediction 'split_half' has the name of a ceil",
        ),
        (lambda adata: {"predictions": {"generator": adata}}, ValueError, r"'generator' has the name of a generator"),
        (lambda adata: {"conditions": "control"}, ValueError, r"'control' in `conditions` names control cells"),
        (everything_trains, ValueError, r"No test condition has 6 cells.*pp\.split"),
        (other_genes, ValueError, r"genes are in another order"),
        (raw_counts, ValueError, r"predictions\['theirs'\]\.X.*raw counts"),
        (another_condition, KeyError, r"predictions\['theirs'\].*no cells of condition"),
        (without_columns, KeyError, r"`obs` of `predictions\['theirs'\]` has no column 'perturbation'"),
        (
            lambda adata: {"predictions": {"theirs": adata.to_df()}},
            TypeError,
            r"predictions\['theirs'\]` is a DataFrame",
        ),
        (lambda adata: {"predictions": [adata]}, TypeError, r"`predictions` is a list; give a dictionary"),
        (further_genes, ValueError, r"has 62: \['other1', 'other2'\] are not among them"),
    ],
)
def test_errors_name_value_and_remedy(fitted, prepare, error, message):
    options = prepare(fitted)
    with pytest.raises(error, match=message):
        spr.tl.evaluate(fitted, **options)
    assert "evaluation" not in fitted.uns


def test_a_post_trained_generator_brings_what_it_must_be_compared_with(fitted):
    spr.tl.rl_finetune(fitted, n_iterations=1, n_conditions=2, group_size=2)
    table = spr.tl.evaluate(fitted, keys=["generator_rl"], n_cells=20)
    assert {"generator", "generator_rl"} <= set(table["model"])
    spr.tl.fit_generator(fitted, init_from="generator", key_added="longer", n_steps=3)
    assert "longer" in set(spr.tl.evaluate(fitted, keys=["generator_rl"], n_cells=20)["model"])


def test_further_networks_are_evaluated_and_told_apart_from_the_rewarded_one(fitted):
    genes = fitted.var_names.to_numpy()
    hallmark = pd.DataFrame({"source": np.repeat(["H1", "H2", "H3"], 12), "target": genes[:36]})
    options = {"n_iterations": 1, "n_conditions": 2, "group_size": 2, "energy_steps": 0}
    spr.tl.rl_finetune(fitted, verifiers=["pathway_activity"], **options)
    own = fitted.uns["pathway_network"]
    table = spr.tl.evaluate(fitted, n_cells=20, networks={"hallmark": hallmark, "renamed": own})
    roles = table.drop_duplicates("metric").set_index("metric")["role"]
    assert roles["pathway_correlation"] == roles["renamed_recovery"] == "related"
    assert roles["hallmark_correlation"] == roles["hallmark_recovery"] == "held-out"
    with pytest.raises(ValueError, match="is the stored pathway network"):
        spr.tl.evaluate(fitted, networks={"pathway": hallmark})


def test_numbers_say_what_computed_them(evaluated):
    _, table = evaluated
    engines = table.drop_duplicates("metric").set_index("metric")
    assert engines.loc["mse", "engine"] == "scperturbrl"
    assert engines.loc["mse", "version"] == spr.__version__
    assert engines.loc["classifier_auroc", "engine"] == "scikit-learn"


def test_parts_seen_and_cells_stand_beside_every_number(evaluated):
    adata, table = evaluated
    for condition, rows in table.groupby("condition"):
        assert set(rows["n_parts"]) == set(rows["parts_seen"]) == {2}
        assert set(rows["n_observed"]) == {int((adata.obs["perturbation"] == condition).sum())}
    assert set(table["seed"]) == {0}
    assert set(table["covariates"]) == {"all"}


@pytest.mark.filterwarnings("ignore:.*identical to measured cells of the same conditions")
def test_a_smaller_cap_moves_distances_and_no_mean(screen):
    full, capped = (
        spr.tl.evaluate(screen, keys=[], layers=[], predictions={"p": screen}, max_cells=n) for n in (500, 20)
    )
    for metric, model in (("mse", "p"), ("pearson_delta", "p"), ("mse", "additive"), ("discrimination", "split_half")):
        np.testing.assert_allclose(values(full, model, metric), values(capped, model, metric), rtol=1e-3, atol=1e-6)
    assert not np.allclose(values(full, "additive", "energy_distance"), values(capped, "additive", "energy_distance"))


def test_small_test_conditions_are_told(fitted, monkeypatch):
    told = []
    monkeypatch.setattr("scperturbrl.data.evaluation.evaluated.log.tell", told.append)
    held = np.flatnonzero(fitted.obs["split"] == "test")
    few = fitted.obs["perturbation"].iloc[held[0]]
    gone = np.flatnonzero(fitted.obs["perturbation"] == few)[4:]
    part = fitted[np.setdiff1d(np.arange(fitted.n_obs), gone)].copy()
    with pytest.raises(ValueError, match="No test condition has 6 cells"):
        spr.tl.evaluate(part)
    labels = {
        str(name): "test" if name in (few, "GENE016") else "train" for name in fitted.obs["perturbation"].unique()
    }
    part.obs["own"] = part.obs["perturbation"].astype(str).map(labels)
    spr.pp.split(part, holdout="column", column="own")
    spr.pp.reference(part)
    spr.tl.evaluate(part, keys=[], verifiers=["rmse_topk"], max_cells=20)
    assert any(f"1 test conditions with fewer than 6 cells are not evaluated ({few!r})" in message for message in told)
