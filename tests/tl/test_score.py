from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse, stats

import scperturbrl as spr
from scperturbrl import verifiers
from scperturbrl.verifiers import registry


def masks(adata):
    control = (adata.obs["perturbation"] == "control").to_numpy()
    return control, ~control & (adata.obs["split"] == "train").to_numpy(), (adata.obs["split"] == "test").to_numpy()


def test_slots_are_as_documented(toy):
    before = toy.copy()
    assert spr.tl.score(toy) is None
    table = toy.obsm["score_observed"]
    assert list(table.columns) == list(verifiers.DEFAULT)
    assert list(table.index) == list(toy.obs_names)
    assert set(toy.obs) - set(before.obs) == {"observed_reward"}
    assert set(toy.uns) - set(before.uns) == {"score_observed"}
    assert (toy.X != before.X).nnz == 0
    record = toy.uns["score_observed"]
    assert record["reference"] == "training"
    assert not record["uses_held_out_cells"]
    assert list(record["verifiers"]) == list(verifiers.DEFAULT)


def test_what_has_no_reference_is_nan_and_named(toy):
    spr.tl.score(toy)
    control, train, _ = masks(toy)
    assert toy.obsm["score_observed"][~train].isna().all().all()
    assert toy.obs["observed_reward"][~train].isna().all()
    finite = toy.obsm["score_observed"][train].notna()
    assert finite[["pearson_topk", "rmse_topk", "de_spearman"]].all().all()
    expected = set(toy.obs["perturbation"][~train & ~control])
    assert set(toy.uns["score_observed"]["not_scored"]) == expected


def test_observed_references_judge_every_condition_and_say_so(toy):
    spr.tl.score(toy, reference="observed", key_added="all")
    control, *_ = masks(toy)
    assert toy.obsm["score_all"].loc[~control, "pearson_topk"].notna().all()
    assert toy.obsm["score_all"][control].isna().all().all()
    record = toy.uns["score_all"]
    assert record["uses_held_out_cells"]
    assert len(record["not_scored"]) == 0


def test_the_reward_is_that_of_the_calibration(screen):
    spr.tl.score(screen)
    train = masks(screen)[1]
    frame = screen.uns["scperturbrl"]["reference"]["calibration"].set_index(["condition", "verifier"])
    raw, reward = screen.obsm["score_observed"], screen.obs["observed_reward"]
    for cell in np.flatnonzero(train)[::37]:
        own = frame.loc[screen.obs["perturbation"].iloc[cell]].loc[list(raw.columns)]
        gap = own["real_median"] - own["control_median"]
        position = ((raw.iloc[cell] - own["control_median"]) / gap).clip(-1, 1)
        expected = np.average(position[own["weight"] > 0], weights=own["weight"][own["weight"] > 0])
        assert reward.iloc[cell] == pytest.approx(expected, abs=1e-4)
    medians = raw[train].groupby(screen.obs["perturbation"][train].astype(str)).median()
    stored = frame["real_median"].unstack().loc[medians.index, medians.columns]
    np.testing.assert_allclose(medians, stored, atol=0.02)


def test_real_cells_are_not_judged_by_references_of_their_own(screen):
    spr.tl.score(screen)
    screen.layers["copy"] = screen.X.copy()
    spr.tl.score(screen, layer="copy")
    train = masks(screen)[1]
    # as a foreign layer the same cells meet references that they helped to define
    assert (
        screen.obsm["score_copy"].loc[train, "rmse_topk"].mean()
        > screen.obsm["score_observed"].loc[train, "rmse_topk"].mean()
    )


def test_a_foreign_layer_is_scored_for_the_condition_of_its_row(screen):
    control, train, _ = masks(screen)
    values = screen.X.toarray()
    rng = np.random.default_rng(0)
    values[~control] = values[rng.choice(np.flatnonzero(control), (~control).sum())]
    screen.layers["nothing"] = sparse.csr_matrix(values)
    spr.tl.score(screen, layer="nothing")
    spr.tl.score(screen)
    assert abs(screen.obs.loc[train, "nothing_reward"].median()) < 0.2
    assert screen.obs.loc[train, "observed_reward"].median() > 0.6
    assert screen.uns["score_nothing"]["reference"] == "training"


def test_generated_cells_are_scored_like_any_layer(fitted):
    spr.tl.generate(fitted)
    spr.tl.score(fitted, layer="generator")
    fitted.layers["dense"] = fitted.layers["generator"].toarray()
    spr.tl.score(fitted, layer="dense", key_added="again")
    pd.testing.assert_frame_equal(fitted.obsm["score_generator"], fitted.obsm["score_again"])


def test_observed_references_score_a_layer_too(fitted):
    spr.tl.generate(fitted)
    spr.tl.score(fitted, layer="generator", reference="observed")
    control, *_ = masks(fitted)
    assert fitted.obsm["score_generator"].loc[~control, "de_spearman"].notna().all()


def test_verifiers_and_weights_can_be_chosen(toy):
    chosen = ["rmse_topk", verifiers.pearson_topk(n_genes=10)]
    spr.tl.score(toy, verifiers=chosen, weights={"rmse_topk": 0.0})
    assert list(toy.obsm["score_observed"].columns) == ["rmse_topk", "pearson_topk"]
    alone = toy.copy()
    spr.tl.score(alone, verifiers=chosen[1:])
    np.testing.assert_allclose(toy.obs["observed_reward"], alone.obs["observed_reward"], atol=1e-6)


def test_held_out_cells_do_not_matter(toy):
    spoilt = toy.copy()
    values = spoilt.X.toarray()
    values[masks(toy)[2]] *= 0.3
    spoilt.X = sparse.csr_matrix(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(spoilt)
    for adata in (toy, spoilt):
        spr.tl.score(adata)
    pd.testing.assert_frame_equal(toy.obsm["score_observed"], spoilt.obsm["score_observed"])


def counts_layer(adata):
    return {"layer": "counts"}


def no_reference(adata):
    del adata.uns["scperturbrl"]["reference"]
    return {}


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        (counts_layer, ValueError, r"(?s)layers\['counts'\].*raw counts.*log1p"),
        (no_reference, ValueError, r"no reference.*pp\.reference"),
        (lambda adata: {"layer": "generatr"}, KeyError, r"`layers` has no 'generatr'"),
        (lambda adata: {"verifiers": ["pearson"]}, KeyError, r"'pearson'.*'pearson_topk'"),
        (lambda adata: {"reference": "test"}, ValueError, r"`reference` is 'test'.*'training', 'observed'"),
        (lambda adata: {"weights": {"pearson": 2.0}}, KeyError, r"`weights` names \['pearson'\].*'pearson_topk'"),
        (lambda adata: {"weights": {"pearson_topk": -1.0}}, ValueError, r"weights\['pearson_topk'\].*-1\.0.*negative"),
        (lambda adata: {"weights": {"pearson_topk": np.inf}}, ValueError, r"weights\['pearson_topk'\].*inf.*finite"),
        (
            lambda adata: {"verifiers": ["rmse_topk"], "weights": {"rmse_topk": 0}},
            ValueError,
            r"`weights` are 0 for all verifiers \(rmse_topk\)",
        ),
    ],
)
def test_errors_name_value_and_remedy(toy, prepare, error, message):
    options = prepare(toy)
    with pytest.raises(error, match=message):
        spr.tl.score(toy, **options)


def foreign_of(adata, genes=None):
    """Perturbed cells of `adata` as another tool would hand them over."""
    keep = (adata.obs["perturbation"] != "control").to_numpy()
    other = adata[keep, adata.var_names[::-1] if genes is None else genes]
    return AnnData(other.X.copy(), obs=other.obs[["perturbation"]].copy(), var=pd.DataFrame(index=other.var_names))


def test_cells_of_another_tool_are_matched_by_gene_name(screen):
    rng = np.random.default_rng(0)
    other = foreign_of(screen, genes=rng.permutation(screen.n_vars))
    extra = AnnData(
        sparse.hstack([other.X, sparse.csr_matrix(np.ones((other.n_obs, 1), dtype=np.float32))], format="csr"),
        obs=other.obs,
        var=pd.DataFrame(index=[*other.var_names, "another"]),
    )
    spr.tl.score(extra, reference=screen)
    screen.layers["copy"] = screen.X.copy()
    spr.tl.score(screen, layer="copy")
    expected = screen.obsm["score_copy"].loc[extra.obs_names]
    pd.testing.assert_frame_equal(extra.obsm["score_generated"], expected)
    np.testing.assert_allclose(extra.obs["generated_reward"], screen.obs.loc[extra.obs_names, "copy_reward"], atol=1e-6)
    assert "score_generated" not in screen.uns
    assert extra.uns["score_generated"]["reference"] == "training"


def test_predicted_cells_can_be_scored_where_they_are(fitted):
    made = spr.tl.predict(fitted, list(fitted.varm["perturbation_effect"].columns)[:2], n_cells=20)
    spr.tl.score(made, reference=fitted, key_added="generator")
    assert made.obs["generator_reward"].notna().all()


def test_missing_genes_are_named(toy):
    other = foreign_of(toy)
    gone = list(toy.var_names[[3, 7]])
    other = other[:, ~other.var_names.isin(gone)].copy()
    with pytest.raises(ValueError, match=rf"2 of the \d+ genes.*{gone[0]}.*{gone[1]}.*common genes"):
        spr.tl.score(other, reference=toy)


def test_a_missing_column_of_another_tool_is_named(toy):
    other = foreign_of(toy)
    other.obs = other.obs.rename(columns={"perturbation": "target_gene"})
    with pytest.raises(KeyError, match=r"no column 'perturbation'.*'target_gene'"):
        spr.tl.score(other, reference=toy)


def test_percentiles_of_real_cells_are_uniform(screen):
    spr.tl.score(screen, percentile=True)
    train = masks(screen)[1]
    found = screen.obs.loc[train, "observed_percentile"]
    assert screen.obs.loc[~train, "observed_percentile"].isna().all()
    assert found.between(0, 1).all()
    for _, own in found.groupby(screen.obs.loc[train, "perturbation"].astype(str)):
        # ranks within three folds are exactly uniform, but for ties
        assert stats.kstest(own, "uniform").pvalue > 0.2


def test_percentiles_of_new_real_cells_are_uniform(screen):
    rng = np.random.default_rng(1)
    train = masks(screen)[1]
    away = train & (rng.random(screen.n_obs) < 0.3)
    kept, new = screen[~away].copy(), foreign_of(screen[away].copy())
    spr.pp.reference(kept)
    spr.tl.score(new, reference=kept, percentile=True)
    assert stats.kstest(new.obs["generated_percentile"], "uniform").pvalue > 0.01
    controls = foreign_of(screen[away].copy())
    rows = rng.choice(np.flatnonzero(masks(screen)[0]), controls.n_obs)
    controls.X = sparse.csr_matrix(screen.X[rows].toarray()[:, ::-1])
    spr.tl.score(controls, reference=kept, percentile=True)
    assert (controls.obs["generated_percentile"] < 0.1).mean() > 0.3


def test_conditions_without_cells_are_scored_with_pseudo_references(screen):
    spr.tl.score(screen, pseudo_references="additive")
    control, train, test = masks(screen)
    trust = screen.uns["score_observed"]["pseudo_references"]
    assert set(trust.index) == set(screen.obs["perturbation"][~train & ~control].astype(str))
    assert trust["r2"].between(0, 1).all()
    assert (trust["kind"] == "combination").all()
    assert trust["method"].eq("additive").all()
    assert screen.obs.loc[test, "observed_reward"].notna().all()
    estimated = screen.obs.loc[train, "observed_reward"].copy()
    spr.tl.score(screen)
    pd.testing.assert_series_equal(screen.obs.loc[train, "observed_reward"], estimated)


@pytest.mark.parametrize("method", ["additive", "ridge"])
def test_a_pseudo_reference_tells_real_from_control_cells(screen, method):
    _, _, test = masks(screen)
    values = screen.X.toarray()
    values[test] = values[np.random.default_rng(0).choice(np.flatnonzero(masks(screen)[0]), test.sum())]
    screen.layers["nothing"] = sparse.csr_matrix(values)
    spr.tl.score(screen, layer="nothing", pseudo_references=method)
    spr.tl.score(screen, pseudo_references=method)
    assert abs(screen.obs.loc[test, "nothing_reward"].median()) < 0.25
    assert screen.obs.loc[test, "observed_reward"].median() > 0.5


def test_a_pseudo_reference_never_looks_at_held_out_cells(screen):
    rng = np.random.default_rng(0)
    other = foreign_of(screen)
    scores = []
    for adata in (screen, screen.copy()):
        spr.tl.score(other, reference=adata, pseudo_references="ridge", verifiers=verifiers.names())
        scores.append((other.obsm["score_generated"].copy(), other.obs["generated_reward"].copy()))
        values = screen.X.toarray()
        held_out = (screen.obs["split"] != "train").to_numpy()
        values[held_out] = np.log1p(rng.poisson(3, values[held_out].shape) * 1.5)
        screen.X = sparse.csr_matrix(values)
    spr.tl.score(other, reference=screen, pseudo_references="ridge", verifiers=verifiers.names())
    pd.testing.assert_frame_equal(other.obsm["score_generated"], scores[0][0])
    pd.testing.assert_series_equal(other.obs["generated_reward"], scores[0][1])


def test_conditions_nobody_measured_get_a_pseudo_reference_or_are_refused(fitted):
    singles = [name for name in fitted.varm["perturbation_effect"].columns if "+" not in name]
    made = spr.tl.predict(fitted, [f"{singles[0]}+{singles[-1]}"], n_cells=10)
    gene = next(name for name in fitted.var_names if name not in set("+".join(fitted.obs["perturbation"]).split("+")))
    other = spr.tl.predict(fitted, [gene], n_cells=10)
    spr.tl.score(made, reference=fitted, pseudo_references="ridge", verifiers=["rmse_topk"])
    spr.tl.score(other, reference=fitted, pseudo_references="ridge", verifiers=["rmse_topk"])
    assert made.obsm["score_generated"]["rmse_topk"].notna().all()
    assert list(made.uns["score_generated"]["pseudo_references"].index) == made.obs["condition"].unique().tolist()
    assert other.obsm["score_generated"]["rmse_topk"].isna().all()
    assert other.uns["score_generated"]["not_scored"].tolist() == [gene]


def test_skipped_verifiers_are_listed(toy):
    spr.tl.score(toy, verifiers=["identity_retention", "rmse_topk"])
    skipped = toy.uns["score_observed"]["skipped"]
    assert set(skipped.loc[skipped["verifier"] == "identity_retention", "condition"]) == set(
        toy.varm["perturbation_effect"].columns
    )


def test_a_verifier_of_ones_own_without_gradient_works_by_name(fitted, monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    verifiers.register(
        verifiers.Verifier(
            name="moved_up",
            score=lambda cells, reference: (
                (
                    (cells > reference.control_mean[:, None]).gather(
                        2, reference.ranked_genes[:, None, :9].expand(-1, cells.shape[1], -1)
                    )
                    == (reference.effect.gather(1, reference.ranked_genes[:, :9]) > 0)[:, None]
                )
                .float()
                .mean(-1)
            ),
            label="Moved up",
            description="Share of the top genes on the right side of the control mean.",
            range=(0.0, 1.0),
            needs=("control_mean", "effect", "ranked_genes"),
            differentiable=False,
        )
    )
    spr.tl.score(fitted, verifiers=["moved_up"])
    assert fitted.obs["observed_reward"].notna().any()
    spr.tl.rl_finetune(fitted, verifiers=["moved_up"], n_iterations=2, n_conditions=2, group_size=4, progress=False)
    assert "moved_up" in fitted.uns["generator_rl"]["history"]


def test_what_got_no_score_is_told_with_the_remedy(toy, monkeypatch):
    told = []
    monkeypatch.setattr("scperturbrl.tl._score.log.tell", told.append)
    spr.tl.score(toy, reference="observed")
    assert not told
    spr.tl.score(toy)
    assert all(word in told[0] for word in ("no scores", "held-out", "reference='observed'"))


def test_each_reason_for_no_score_is_told(toy, monkeypatch):
    told = []
    monkeypatch.setattr("scperturbrl.tl._score.log.tell", told.append)
    theirs = toy[toy.obs["perturbation"] != "control"].copy()
    theirs.obs["perturbation"] = theirs.obs["perturbation"].astype(str).replace("GENE034", "GENE034_1")
    spr.tl.score(theirs, reference=toy)
    assert "'GENE034_1': no scores" in told[0]
    assert "no cells of this condition. Did you mean 'GENE034'" in told[0]
    assert "held-out" in told[1]
    few = toy[~(toy.obs["perturbation"].eq("GENE034") & toy.obs["perturbation"].duplicated())].copy()
    spr.pp.setup_anndata(few)
    spr.pp.split(few, holdout="nothing")
    with pytest.warns(UserWarning, match="fewer than 10 cells and get no reference"):
        spr.pp.reference(few)
    told.clear()
    spr.tl.score(few)
    assert len(told) == 1
    assert told[0].startswith("'GENE034': no scores, because there are too few training cells")
