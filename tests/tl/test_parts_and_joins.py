from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr
from scperturbrl._core.modality import without_pulling

POST = {"n_iterations": 1, "n_conditions": 2, "group_size": 4, "reward_steps": 1, "energy_steps": 1}


def trained_single(adata):
    train = map(str, adata.uns["scperturbrl"]["split"]["train"])
    return next(name for name in train if "+" not in name and name != "control")


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr("scperturbrl._core.log.tell", lines.append)
    return lines


@pytest.fixture
def part(fitted):
    """The cells of all conditions but one that the reference is made of, and its name."""
    gone = trained_single(fitted)
    return fitted[fitted.obs["perturbation"] != gone].copy(), gone


@pytest.mark.parametrize(
    "call",
    [
        spr.tl.score,
        lambda adata: spr.tl.score(adata, pseudo_references="ridge"),
        lambda adata: spr.tl.rl_finetune(adata, **POST),
    ],
    ids=["score", "pseudo-references", "rl_finetune"],
)
def test_a_part_without_a_condition_is_told_and_the_rest_done(part, told, call):
    adata, gone = part
    call(adata)
    line = next(each for each in told if "of the reference" in each)
    assert line.startswith("1 of ")
    assert f"('{gone}')" in line
    assert "tl.score(reference=...)" in line


def test_scores_of_a_part_are_those_of_the_conditions_that_are_left(part, fitted):
    adata, gone = part
    spr.tl.score(fitted)
    spr.tl.score(adata)
    # in other folds, so nearly the same
    kept = fitted.obsm["score_observed"].loc[adata.obs_names, "rmse_topk"]
    np.testing.assert_allclose(adata.obsm["score_observed"]["rmse_topk"], kept, atol=0.06)
    assert kept.notna().sum() > 60


def test_evaluation_of_a_part_needs_none_of_what_is_gone(part):
    adata, _ = part
    table = spr.tl.evaluate(adata, n_cells=20, max_cells=20, verifiers=["rmse_topk"])
    assert "generator" in set(table["model"])


def test_a_part_without_any_condition_of_the_reference_says_what_to_call(fitted):
    test = fitted[(fitted.obs["split"] == "test") | (fitted.obs["perturbation"] == "control")].copy()
    with pytest.raises(
        ValueError, match="No condition of the reference has training cells and controls in this subset.*reference="
    ):
        spr.tl.score(test)
    spr.tl.score(test, reference="observed")


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_the_recommended_line_joins_observed_and_generated_cells(fitted, join):
    never = [name for name in fitted.var_names if name not in set(fitted.obs["perturbation"])][:1]
    new = spr.tl.predict(fitted, [trained_single(fitted), *never], n_cells=5)
    joined = ad.concat([fitted, new], join=join)
    assert joined.obs["origin"].value_counts().to_dict() == {"observed": fitted.n_obs, "generated": 10}
    assert not joined.obs["split"].isna().any()
    assert new.obs["split"].astype(str).tolist() == ["train"] * 5 + ["test"] * 5
    assert joined.obs_names.is_unique


def test_joined_cells_are_not_learnt_from(fitted):
    joined = ad.concat([fitted, spr.tl.predict(fitted, n_cells=5)], uns_merge="first")
    for call in (spr.tl.score, spr.pp.reference, spr.pp.setup_anndata):
        with pytest.raises(ValueError, match="5 of 305 cells are generated.*Remove them with"):
            call(joined)
    observed = joined[joined.obs["origin"] != "generated"].copy()
    spr.pp.setup_anndata(observed)


def test_a_column_origin_of_ones_own_is_left_alone(toy):
    toy.obs["origin"] = "blood"
    spr.pp.setup_anndata(toy)
    spr.pp.split(toy)
    assert set(toy.obs["origin"]) == {"blood"}


def test_columns_that_stand_in_the_mudata_alone_are_named_with_the_remedy():
    mudata = pytest.importorskip("mudata")
    cells = spr.datasets.toy()
    labels = cells.obs.pop("perturbation")
    with without_pulling():
        mdata = mudata.MuData({"rna": cells})
    mdata.obs["perturbation"] = labels
    with pytest.raises(
        KeyError, match="'perturbation' is in `obs` of the MuData, but not in that of its modality 'rna'"
    ) as error:
        spr.pp.setup_anndata(mdata)
    line = error.value.args[0].split("`")[-2]
    exec(line, {"mdata": mdata})
    spr.pp.setup_anndata(mdata)


def test_an_empty_table_has_no_columns_to_offer():
    adata = ad.AnnData(np.log1p(np.random.default_rng(0).poisson(3, (4, 3)) * 1.5).astype(np.float32))
    with pytest.raises(KeyError, match=r"no column 'perturbation' .* There are none\."):
        spr.pp.setup_anndata(adata)


def test_predictions_with_other_genes_are_called_predictions(fitted, tmp_path):
    other = fitted[:, ::-1].copy()
    message = "`adata` has 60 genes, `prediction.*` has 60: the genes are in another order"
    with pytest.raises(ValueError, match=message):
        spr.tl.evaluate(fitted, keys=[], predictions={"mine": other}, max_cells=20)
    with pytest.raises(ValueError, match=message):
        spr.tl.to_cell_eval(fitted, tmp_path, prediction=other)


def test_sets_that_are_left_out_are_counted_and_three_named(toy):
    genes = list(toy.var_names)
    rows = [(f"S{i:02}", gene) for i in range(30) for gene in genes[: 2 if i else 10]]
    with pytest.warns(UserWarning, match=r"Left out 29 of 30 sets .*: S01 \(2\), S02 \(2\), S03 \(2\) and 26 more\."):
        spr.pp.pathway_network(toy, pd.DataFrame(rows, columns=["source", "target"]))
