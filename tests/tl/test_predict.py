from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from anndata.experimental import concat_on_disk

import scperturbrl as spr


def singles(adata):
    return sorted({part for label in adata.obs["perturbation"] for part in label.split("+")} - {"control"})


def test_test_conditions_are_the_default(fitted):
    new = spr.tl.predict(fitted, n_cells=7)
    held_out = fitted.obs.loc[fitted.obs["split"] == "test", "perturbation"].unique()
    assert new.obs["condition"].value_counts().to_dict() == dict.fromkeys(held_out, 7)


def test_slots_are_as_documented(fitted):
    before = fitted.copy()
    new = spr.tl.predict(fitted, n_cells=7)
    assert list(new.var_names) == list(fitted.var_names)
    assert new.X.format == "csr"
    assert set(new.obs) == {"perturbation", "condition", "origin", "split", "generator_source"}
    assert (new.obs["split"] == "test").all()
    assert (new.obs["origin"] == "generated").all()
    assert new.obs_names.is_unique
    sources = fitted.obs.loc[new.obs["generator_source"]]
    assert (sources["perturbation"] == "control").all()
    assert (sources["split"] == "train").all()
    assert new.uns["prediction"]["params"]["key"] == "generator"
    assert new.uns["prediction"]["params"]["n_cells"] == 7
    assert set(fitted.uns) == set(before.uns)
    assert set(fitted.obs) == set(before.obs)
    assert set(fitted.layers) == set(before.layers)


def test_it_can_be_written_and_joined(fitted, tmp_path):
    new = spr.tl.predict(fitted, n_cells=7)
    new.write_h5ad(tmp_path / "new.h5ad")
    joined = ad.concat([fitted, ad.read_h5ad(tmp_path / "new.h5ad")], join="inner")
    assert joined.n_obs == fitted.n_obs + 7
    assert joined.n_vars == fitted.n_vars


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
@pytest.mark.parametrize("suffix", ["zarr", "h5ad"])
def test_shards_are_joined_without_loading_them(fitted, tmp_path, suffix):
    parts, shards = [], [str(tmp_path / f"part-{i}.{suffix}") for i in range(3)]
    for number, (name, shard) in enumerate(zip(singles(fitted), shards, strict=False)):
        part = spr.tl.predict(fitted, name, n_cells=6, seed=number)
        part.obs_names = [f"{name}-{i}" for i in range(part.n_obs)]
        getattr(part, f"write_{suffix}")(shard)
        parts.append(part)
    concat_on_disk(shards, tmp_path / f"joined.{suffix}")
    joined, expected = getattr(ad, f"read_{suffix}")(tmp_path / f"joined.{suffix}"), ad.concat(parts)
    assert joined.X.format == "csr"
    np.testing.assert_array_equal(joined.X.toarray(), expected.X.toarray())
    # by value: with nullable strings they come back as another type of string
    assert joined.obs.reset_index().to_numpy(str).tolist() == expected.obs.reset_index().to_numpy(str).tolist()
    assert list(joined.var_names) == list(fitted.var_names)


def test_a_combination_nobody_measured(fitted):
    a, *_, z = singles(fitted)
    together = f"{z}+{a}"
    seen = {frozenset(label.split("+")) for label in fitted.obs["perturbation"]}
    assert frozenset(together.split("+")) not in seen
    new = spr.tl.predict(fitted, together, n_cells=5)
    assert (new.obs["perturbation"] == f"{a}+{z}").all()
    assert new.uns["prediction"]["conditions"]["parts_seen"].tolist() == [2]


def test_a_measured_gene_that_was_never_perturbed(fitted):
    gene = next(name for name in fitted.var_names if name not in singles(fitted))
    new = spr.tl.predict(fitted, [gene, singles(fitted)[0]], n_cells=5)
    table = new.uns["prediction"]["conditions"]
    assert table["parts_seen"].tolist() == [0, 1]
    assert table["n_cells"].tolist() == [5, 5]


def test_the_control_label_gives_control_like_cells(screen):
    new = spr.tl.predict(screen, ["control"], n_cells=300)
    control = (screen.obs["perturbation"] == "control").to_numpy()
    mean = np.asarray(screen.X[control].mean(0)).ravel()
    error = np.abs(np.asarray(new.X.mean(0)).ravel() - mean).mean()
    strongest = np.abs(screen.varm["perturbation_effect"].to_numpy()).mean(0).max()
    assert error < strongest / 2


def test_the_effect_of_a_training_condition_is_learnt(screen):
    condition = screen.varm["perturbation_effect"].columns[0]
    new = spr.tl.predict(screen, condition, n_cells=300)
    control = (screen.obs["perturbation"] == "control").to_numpy()
    effect = np.asarray(new.X.mean(0) - screen.X[control].mean(0)).ravel()
    assert np.corrcoef(effect, screen.varm["perturbation_effect"][condition])[0, 1] > 0.8


def test_counts_are_whole_and_belong_to_the_logs(fitted, dense):
    counts = spr.tl.predict(fitted, n_cells=20, output="counts", seed=3)
    logs = spr.tl.predict(fitted, n_cells=20, seed=3)
    counts, logs = dense(counts.X), dense(logs.X)
    np.testing.assert_array_equal(counts, np.rint(counts))
    assert counts.min() == 0
    unit = np.expm1(logs).sum(1) / counts.sum(1)
    np.testing.assert_allclose(logs, np.log1p(unit[:, None] * counts), rtol=1e-4, atol=1e-5)


def test_counts_have_the_depth_of_the_control_cell(screen, dense):
    counts = spr.tl.predict(screen, n_cells=300, output="counts")
    depth = dense(screen[counts.obs["generator_source"]].layers["counts"]).sum(1)
    made = dense(counts.X).sum(1)
    assert np.median(made / depth) == pytest.approx(1, abs=0.1)
    assert np.corrcoef(made, depth)[0, 1] > 0.6


def test_fewer_cells_are_the_first_of_more(fitted, dense):
    few, many = (dense(spr.tl.predict(fitted, n_cells=n, seed=1).X) for n in (10, 40))
    np.testing.assert_array_equal(few, many[:10])
    assert not np.array_equal(few, dense(spr.tl.predict(fitted, n_cells=10, seed=2).X))


def test_a_label_is_predicted_in_every_context_unless_narrowed(context):
    label = singles(context)[0]
    new = spr.tl.predict(context, label, n_cells=4, dose=10.0)
    assert new.obs["cell_type"].value_counts().to_dict() == {"T": 4, "B": 4}
    sources = context.obs.loc[new.obs["generator_source"], "cell_type"]
    np.testing.assert_array_equal(sources, new.obs["cell_type"])
    one = spr.tl.predict(context, label, n_cells=4, covariates={"cell_type": "B"}, dose=10.0)
    assert set(one.obs["cell_type"]) == {"B"}
    assert set(one.obs["dose"]) == {10.0}
    assert one.obs["condition"].unique().tolist() == [f"{label} | dose=10 | cell_type=B"]


def test_the_name_of_a_condition_is_understood(context):
    name = context.varm["perturbation_effect"].columns[0]
    new = spr.tl.predict(context, [name], n_cells=3)
    assert new.obs["condition"].unique().tolist() == [name]


def test_doses_that_were_not_measured_can_be_asked_for(context):
    new = spr.tl.predict(context, singles(context)[0], n_cells=3, dose=3.0, covariates={"cell_type": "T"})
    assert new.uns["prediction"]["conditions"]["dose"].tolist() == [3.0]


def test_without_a_dose_the_measured_ones_are_listed(context):
    label = singles(context)[0]
    with pytest.raises(ValueError, match=rf"'{label}' needs a `dose`. Measured doses: 1, 10. Or name a condition"):
        spr.tl.predict(context, label, n_cells=3)
    control = spr.tl.predict(context, "control", n_cells=3, covariates={"cell_type": "T"})
    assert control.obs["condition"].unique().tolist() == ["control | cell_type=T"]


def test_a_dose_far_from_what_was_measured_is_warned_about(context):
    with pytest.warns(UserWarning, match=r"The dose 1e\+09 .* outside the measured range \(1 to 10\)"):
        spr.tl.predict(context, singles(context)[0], n_cells=3, dose=1e9)


def test_doses_far_from_what_was_measured_are_warned_about_once(context):
    some = singles(context)[:3]
    with pytest.warns(UserWarning, match=r"and so are \d more") as told:
        spr.tl.predict(context, some, n_cells=3, dose=1e9, covariates={"cell_type": "T"})
    assert sum("outside the measured range" in str(one.message) for one in told) == 1


@pytest.mark.parametrize("dose", [0, 0.0, -1.0, float("inf")])
def test_a_dose_is_above_zero(context, dose):
    with pytest.raises(ValueError, match="must be above 0 and finite. For untreated cells request 'control'"):
        spr.tl.predict(context, singles(context)[0], n_cells=3, dose=dose)


def test_a_dose_that_was_not_declared_is_refused(screen):
    with pytest.raises(ValueError, match="no dose was declared.*Declare `dose_key`"):
        spr.tl.predict(screen, singles(screen)[0], n_cells=3, dose=1.0)


def test_numbers_are_accepted_as_covariate_values(context):
    context.obs["cell_type"] = context.obs["cell_type"].astype(str).map({"T": 1, "B": 2})
    spr.pp.setup_anndata(context, covariate_keys=["cell_type"], dose_key="dose", batch_key="batch")
    spr.pp.split(context, holdout="nothing")
    spr.tl.fit_generator(context, n_steps=3, width=16, n_latent=4)
    new = spr.tl.predict(context, singles(context)[0], n_cells=3, dose=10.0, covariates={"cell_type": 2})
    assert new.obs["cell_type"].unique().tolist() == ["2"]


@pytest.mark.parametrize("options", [{"dose": 1.0}, {"covariates": {"cell_type": "T"}}])
def test_options_of_named_conditions_are_refused_without_names(context, options):
    with pytest.raises(ValueError, match="needs `conditions`"):
        spr.tl.predict(context, n_cells=3, **options)


@pytest.mark.filterwarnings("ignore:The dose 1000")
def test_the_dose_matters(screen, context, dense):
    label, options = singles(context)[0], {"covariates": {"cell_type": "T"}, "n_cells": 50}
    low, high = (dense(spr.tl.predict(context, label, dose=dose, **options).X) for dose in (1.0, 1000.0))
    assert not np.array_equal(low, high)


def no_test(adata):
    spr.pp.split(adata, holdout="nothing")


@pytest.mark.parametrize(
    ("spoil", "options", "error", "message"),
    [
        (None, {"conditions": "NOBODY"}, KeyError, r"The perturbation 'NOBODY' is unknown.*random"),
        (None, {"conditions": ["GENE01"]}, KeyError, r"'GENE01'.*Did you mean"),
        (None, {"n_cells": 0}, ValueError, r"`n_cells` is 0"),
        (None, {"output": "tpm"}, ValueError, r"`output` is 'tpm'.*'log', 'counts'"),
        (None, {"key": "rl"}, KeyError, r"no generator 'rl'"),
        (
            None,
            {"conditions": "control", "covariates": {"tissue": "x"}},
            ValueError,
            r"'tissue'.*not a declared covariate",
        ),
        (no_test, {}, ValueError, r"no test conditions.*`conditions`"),
    ],
)
def test_errors_name_value_and_remedy(fitted, spoil, options, error, message):
    if spoil:
        spoil(fitted)
    with pytest.raises(error, match=message):
        spr.tl.predict(fitted, **options)


def test_the_name_of_a_condition_has_its_own_dose_and_covariates(context):
    name = next(name for name in context.varm["perturbation_effect"].columns if " | " in name)
    with pytest.raises(ValueError, match="is the name of a condition, and `covariates` is given too. Pass the label"):
        spr.tl.predict(context, [name], n_cells=2, covariates={"cell_type": "T"})


def test_a_context_without_control_cells_is_named(context):
    with pytest.raises(ValueError, match=r"No control cells have the covariates \{'cell_type': 'Q'\}.*'T'"):
        spr.tl.predict(context, singles(context)[0], covariates={"cell_type": "Q"})


def test_cells_of_two_predictions_have_different_names(screen):
    first, second = singles(screen)[:2]
    made = [
        spr.tl.predict(screen, first, n_cells=3),
        spr.tl.predict(screen, second, n_cells=3),
        spr.tl.predict(screen, first, n_cells=3, seed=1),
    ]
    assert ad.concat(made).obs_names.is_unique


def test_the_expected_error_is_told_with_a_word(screen_of_pairs):
    a, b, *_ = singles(screen_of_pairs)
    table = spr.tl.predict(screen_of_pairs, n_cells=5).uns["prediction"]["conditions"]
    assert (table["support"] == "supported").all()
    assert ((table["error_low"] <= table["expected_error"]) & (table["expected_error"] <= table["error_high"])).all()
    known = spr.tl.predict(screen_of_pairs, [a, "control"], n_cells=5).uns["prediction"]["conditions"]
    assert known.loc[a, "expected_error"] < table["expected_error"].iloc[0]
    assert np.isnan(known.loc[a, "error_low"])
    assert known["support"].tolist() == ["supported", "supported"]


def test_expected_errors_are_those_of_held_out_conditions(screen_of_pairs):
    table = spr.tl.predict(screen_of_pairs, n_cells=100).uns["prediction"]["conditions"]
    spr.tl.screen(screen_of_pairs, table.index.tolist(), objective="size", n_refine=0)
    screened = spr.get.screen(screen_of_pairs).loc[table.index]
    columns = ["expected_error", "error_low", "error_high"]
    np.testing.assert_allclose(screened[columns], table[columns])
    assert screened["support"].tolist() == table["support"].tolist()


def test_with_too_few_conditions_there_is_no_interval(context):
    table = spr.tl.predict(context, n_cells=3).uns["prediction"]["conditions"]
    assert table[["expected_error", "error_low", "error_high"]].isna().all().all()
    assert set(table["support"]) <= {"extrapolating", "unsupported"}


def test_names_of_conditions_are_found_in_any_order_of_their_parts(context):
    table = context.obs[["perturbation", "dose", "cell_type"]].astype(str).drop_duplicates()
    pair = next(row for row in table.itertuples() if "+" in row.perturbation)
    rest = f" | dose={float(pair.dose):g} | cell_type={pair.cell_type}"
    turned = "+".join(reversed(pair.perturbation.split("+"))) + rest
    made = spr.tl.predict(context, [turned], n_cells=2)
    assert made.obs["condition"].unique().tolist() == [pair.perturbation + rest]
    wrong = f"{pair.perturbation} | dose={float(pair.dose):g} | cell_type=none"
    with pytest.raises(KeyError, match="no condition .*cell_type=none.*pass .* and `covariates` and `dose`"):
        spr.tl.predict(context, [wrong], n_cells=2)
