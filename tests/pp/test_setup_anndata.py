from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import scperturbrl as spr


@pytest.fixture
def plain():
    rng = np.random.default_rng(0)
    labels = ["control", "A", "B", "A+B"] * 3
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(labels),
            "cell_type": ["T", "T", "T", "T", "B", "B", "B", "B", "T", "T", "B", "B"],
            "dose": np.tile([0.0, 1.0, 2.0, 3.0], 3),
            "batch": "b1",
        },
        index=[f"cell{i}" for i in range(12)],
    )
    genes = pd.DataFrame(index=["A", "B", "gene2", "gene3", "gene4"])
    return AnnData(sparse.csr_matrix(np.log1p(rng.poisson(2, (12, 5)) * 1.7).astype(np.float32)), obs=obs, var=genes)


def refused(adata, error, message, **options):
    before = adata.copy()
    with pytest.raises(error, match=message):
        spr.pp.setup_anndata(adata, **options)
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert set(adata.uns) == set(before.uns)
    np.testing.assert_array_equal(adata.X.toarray(), before.X.toarray())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perturbation_key": "perturbatoin"}, "no column 'perturbatoin'.*Did you mean 'perturbation'"),
        ({"perturbation_key": "drugs"}, "wanted as the perturbation column.*'perturbation'"),
        ({"covariate_keys": ["celltype"]}, "wanted as the covariate column.*'cell_type'"),
        ({"covariate_keys": "cell_line"}, "no column 'cell_line'.*'cell_type'"),
        ({"batch_key": "Batch"}, "no column 'Batch'.*'batch'"),
        ({"dose_key": "dosage"}, "wanted as the dose column.*'dose'"),
        ({"layer": "normalised"}, "`layers` has no 'normalised'"),
    ],
)
def test_absent_columns_and_layers_name_what_there_is(plain, options, message):
    plain.layers["normalized"] = plain.X.copy()
    refused(plain, KeyError, message, **options)


@pytest.mark.parametrize("column", ["perturbation", "cell_type", "batch"])
def test_missing_values_are_refused(plain, column):
    plain.obs[column] = plain.obs[column].astype(object)
    plain.obs.loc["cell3", column] = None
    refused(
        plain,
        ValueError,
        f"`obs\\['{column}'\\]` has 1 missing values",
        covariate_keys=["cell_type"],
        batch_key="batch",
    )


@pytest.mark.parametrize("usual", ["ctrl", "non-targeting", "DMSO", "Vehicle", "unstimulated"])
def test_an_absent_control_label_lists_usual_spellings(plain, usual):
    plain.obs["perturbation"] = plain.obs["perturbation"].cat.rename_categories({"control": usual})
    refused(plain, ValueError, f"control label 'unperturbed'.*'{usual}'", control="unperturbed")


def test_a_misspelt_control_label_lists_the_nearest(plain):
    refused(plain, ValueError, "Did you mean 'control'", control="contrl")


def test_only_controls_are_refused(plain):
    plain.obs["perturbation"] = ["control", "ctrl+control"] * 6
    refused(plain, ValueError, "Every cell .* is a control")


@pytest.mark.parametrize("label", ["", " ", "+"])
def test_labels_that_name_nothing_are_refused(plain, label):
    plain.obs["perturbation"] = ["control", "A", label] * 4
    refused(plain, ValueError, "contains no perturbation")


def test_an_empty_separator_is_refused(plain):
    refused(plain, ValueError, "`perturbation_sep` is empty", perturbation_sep="")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda x: np.rint(np.expm1(x) / 1.7),
            ValueError,
            r"raw counts. Log-normalise it first:\nsc\.pp\.normalize_total\(adata, target_sum=1e4\)\nsc\.pp\.log1p\(adata\)",
        ),
        (lambda x: np.expm1(x) * 20, ValueError, r"too high for log1p values. Run `sc\.pp\.log1p\(adata\)`"),
        (lambda x: x - x.mean(0), ValueError, "negative values"),
        (lambda x: np.where(x == x.max(), np.nan, x), ValueError, "NaN or infinite"),
        (lambda x: np.where(x == x.max(), np.inf, x), ValueError, "NaN or infinite"),
        (lambda x: x * 0, ValueError, "every value is zero"),
        (lambda x: x > 0, TypeError, "dtype bool"),
    ],
)
@pytest.mark.parametrize("place", ["X", "layer"])
def test_expression_must_be_log_normalised(plain, change, error, message, place):
    values = sparse.csr_matrix(change(plain.X.toarray()))
    if place == "X":
        plain.X = values
        refused(plain, error, f"`X` .*{message}" if "counts" not in message else message)
    else:
        plain.layers["other"] = values
        refused(plain, error, message, layer="other")


def test_no_expression_is_refused(plain):
    plain.X = None
    with pytest.raises(TypeError, match=r"`X` is empty \(None\)"):
        spr.pp.setup_anndata(plain)


@pytest.mark.parametrize("axis", ["var", "obs"])
def test_names_must_be_unique(plain, axis):
    names = getattr(plain, f"{axis}_names").to_list()
    setattr(plain, f"{axis}_names", [names[0], names[0], *names[2:]])
    with pytest.raises(ValueError, match=f"`adata.{axis}_names_make_unique\\(\\)`"):
        spr.pp.setup_anndata(plain)


def test_backed_data_are_set_up_where_they_are(plain, tmp_path):
    plain.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    spr.pp.setup_anndata(backed)
    assert backed.isbacked
    spr.pp.setup_anndata(plain)
    assert str(backed.uns["scperturbrl"]) == str(plain.uns["scperturbrl"])
    backed.file.close()


@pytest.mark.parametrize(
    ("dose", "message"),
    [
        (["0", "1 uM", "2 uM", "3 uM"], "is not numeric .first value '1 uM'"),
        ([0, 1, -2, 3], "holds -2"),
        ([0, 1, np.inf, 3], "holds inf"),
        ([0, 1, np.nan, 3], "has 3 missing values"),
    ],
)
def test_doses_are_numbers_from_zero(plain, dose, message):
    plain.obs["dose"] = dose * 3
    refused(plain, ValueError, message, dose_key="dose")


def test_a_perturbed_cell_at_dose_zero_is_refused_and_the_choice_explained(plain):
    plain.obs["dose"] = [0.0, 0.0, 2.0, 3.0] * 3
    refused(plain, ValueError, "3 perturbed cells .'A' among them. have dose 0", dose_key="dose")
    with pytest.raises(ValueError, match="label them as controls") as error:
        spr.pp.setup_anndata(plain, dose_key="dose")
    line = next(line for line in str(error.value).splitlines() if line.startswith("adata.obs"))
    exec(line, {"adata": plain})
    spr.pp.setup_anndata(plain, dose_key="dose")
    assert plain.obs["perturbation"].tolist() == ["control", "control", "B", "A+B"] * 3


def test_labels_that_hold_drug_dose_and_unit_are_taken_apart_by_two_lines(plain):
    tahoe = {
        "control": "[('DMSO_TF', 0.0, 'uM')]",
        "A": "[('Bortezomib', 0.05, 'uM')]",
        "B": "[('(+)-JQ1', 5.0, 'uM')]",
    }
    plain = plain[plain.obs["perturbation"] != "A+B"].copy()
    plain.obs["drugname_drugconc"] = pd.Categorical(plain.obs["perturbation"].astype(str).map(tahoe))
    options = {"perturbation_key": "drugname_drugconc", "control": tahoe["control"]}
    with pytest.raises(ValueError, match="drug, dose and unit in one label") as error:
        spr.pp.setup_anndata(plain, **options)
    exec("\n".join(str(error.value).splitlines()[1:3]), {"adata": plain})
    assert plain.obs["drug"].tolist()[:3] == ["DMSO_TF", "Bortezomib", "(+)-JQ1"]
    assert plain.obs["dose"].tolist()[:3] == [0.0, 0.05, 5.0]


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf, 7.0])
def test_the_dose_of_control_cells_does_not_matter(plain, value):
    plain.obs.loc[plain.obs["perturbation"] == "control", "dose"] = value
    spr.pp.setup_anndata(plain, dose_key="dose")
    spr.pp.split(plain, holdout="perturbations", values=["B"])
    manifest = plain.uns["scperturbrl"]["split"]
    assert [str(name) for key in ("train", "validation", "test") for name in manifest[key] if "control" in name] == [
        "control"
    ]


def test_what_is_recorded(plain):
    plain.layers["own"] = plain.X.copy()
    spr.pp.setup_anndata(plain, covariate_keys="cell_type", dose_key="dose", batch_key="batch", layer="own")
    record = plain.uns["scperturbrl"]["setup"]
    assert record["perturbation_key"] == "perturbation"
    assert record["covariate_keys"] == ["cell_type"]
    assert (record["dose_key"], record["batch_key"], record["layer"]) == ("dose", "batch", "own")
    assert (record["log_state"], record["version"]) == ("log1p", spr.__version__)


def test_only_uns_is_written(plain):
    before = plain.copy()
    spr.pp.setup_anndata(plain)
    pd.testing.assert_frame_equal(plain.obs, before.obs)
    assert (plain.X != before.X).nnz == 0
    assert set(plain.uns) == {"scperturbrl"}


def test_setting_up_again_removes_what_depends_on_it(toy):
    assert {"split", "reference"} <= set(toy.uns["scperturbrl"])
    spr.pp.setup_anndata(toy)
    assert set(toy.uns["scperturbrl"]) == {"setup"}


def test_a_view_becomes_actual_and_its_parent_stays(plain):
    view = plain[plain.obs["cell_type"] == "T"]
    assert view.is_view
    spr.pp.setup_anndata(view)
    assert not view.is_view
    assert "scperturbrl" in view.uns
    assert "scperturbrl" not in plain.uns
    spr.pp.split(view, holdout="perturbations", values=["B"])
    assert "split" not in plain.obs


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_every_matrix_form_is_accepted(plain, form):
    plain.X = form(plain.X.toarray())
    spr.pp.setup_anndata(plain)


def test_spellings_of_a_combination_are_one_condition(plain):
    plain.obs["perturbation"] = ["control", "A+B", "B+A", "A+ctrl", "ctrl+A", "A", "B"] + ["control"] * 5
    spr.pp.setup_anndata(plain)
    spr.pp.split(plain, holdout="combinations", values=["B+A"])
    assert plain.obs["split"].tolist()[1:3] == ["test", "test"]
    assert plain.uns["scperturbrl"]["split"]["test"].tolist() == ["A+B"]
    assert set(plain.uns["scperturbrl"]["split"]["train"]) <= {"A", "B", "control"}


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning", "ignore:.*zarr.*")
def test_unicode_and_slashes_survive_a_file(tmp_path, suffix):
    rng = np.random.default_rng(0)
    labels = np.repeat(["Kontrolle/0", "NKX2-1/β", "TNFα", "NKX2-1/β+TNFα"], 20)
    obs = pd.DataFrame({"perturbation": labels, "zelltyp": "CD4/8 naïv"}, index=[f"c{i}" for i in range(80)])
    adata = AnnData(np.log1p(rng.poisson(2, (80, 30)) * 2.0).astype(np.float32), obs=obs)
    spr.pp.setup_anndata(adata, control="Kontrolle/0", covariate_keys=["zelltyp"])
    spr.pp.split(adata, validation_fraction=0)
    spr.pp.reference(adata)
    getattr(adata, f"write_{suffix}")(tmp_path / f"a.{suffix}")
    back = getattr(anndata, f"read_{suffix}")(tmp_path / f"a.{suffix}")
    for frame in ("perturbation_effect", "control_mean"):
        # with nullable strings names come back as another type of string
        pd.testing.assert_frame_equal(back.varm[frame], adata.varm[frame], check_index_type=False)
    spr.tl.score(adata)
    spr.tl.score(back)
    pd.testing.assert_frame_equal(back.obsm["score_observed"], adata.obsm["score_observed"], check_index_type=False)
    assert np.isfinite(adata.obsm["score_observed"]["pearson_topk"][labels == "TNFα"]).all()


def test_data_that_were_not_set_up_or_have_other_genes_are_refused(toy):
    with pytest.raises(ValueError, match="genes of `adata` changed since"):
        spr.pp.split(toy[:, ::-1].copy())
    toy.uns.clear()
    with pytest.raises(ValueError, match="is not set up.*uns_merge='same'"):
        spr.pp.split(toy)


def test_genes_that_a_join_filled_with_zeros_are_told(plain):
    cells = anndata.concat([plain] * 8, index_unique="-")
    cells.obs["batch"] = np.where(np.arange(cells.n_obs) < 48, "old", "new")
    genes = pd.DataFrame(index=["A", "B", *(f"gene{i}" for i in range(18))])
    wide = AnnData(np.tile(cells.X.toarray(), 4), obs=cells.obs, var=genes)
    whole = wide.copy()
    wide.X[:48, 8:] = 0
    with pytest.warns(
        UserWarning, match=r"12 of 20 genes are zero in every cell of 'old' in `obs\['batch'\]`.*join='inner'"
    ):
        spr.pp.setup_anndata(wide, batch_key="batch")
    # warnings are errors here
    spr.pp.setup_anndata(whole, batch_key="batch")


def test_a_dose_that_was_not_declared_is_told():
    adata = spr.datasets.toy()
    adata.obs["Dose"] = np.where(np.arange(adata.n_obs) % 2, 1.0, 10.0)
    with pytest.warns(
        UserWarning, match=r"`obs\['Dose'\]` looks like a dose, and 7 perturbations have several .*dose_key='Dose'"
    ):
        spr.pp.setup_anndata(adata)
    spr.pp.setup_anndata(adata, dose_key="Dose")
    adata.obs["Dose"] = 1.0
    spr.pp.setup_anndata(adata)


def test_empty_cells_are_told():
    adata = spr.datasets.toy()
    x = adata.X.toarray()
    x[np.flatnonzero(adata.obs["perturbation"] == "GENE014")[:6]] = 0
    for form in (np.asarray, sparse.csr_matrix, sparse.csc_matrix):
        adata.X = form(x)
        with pytest.warns(
            UserWarning, match=r"6 of 300 cells are zero in every gene \(20% of those labelled 'GENE014'\)"
        ):
            spr.pp.setup_anndata(adata)


def test_contexts_whose_joined_names_are_equal_are_refused():
    adata = spr.datasets.toy()
    odd = np.arange(adata.n_obs) % 2 == 1
    adata.obs["first"], adata.obs["second"] = np.where(odd, "a | b", "a"), np.where(odd, "c", "b | c")
    with pytest.raises(ValueError, match=r"\['first', 'second'\] have the joined name 'a \| b \| c'. Replace ' \| '"):
        spr.pp.setup_anndata(adata, covariate_keys=["first", "second"])


def test_contexts_with_few_control_cells_are_told(toy, monkeypatch):
    told = []
    monkeypatch.setattr("scperturbrl.pp._setup_anndata.log.tell", told.append)
    kind = np.where(np.arange(toy.n_obs) % 2, "one", "other")
    kind[np.flatnonzero(toy.obs["perturbation"] == "control")] = "one"
    kind[np.flatnonzero(toy.obs["perturbation"] == "control")[:2]] = "other"
    toy.obs["kind"] = kind
    spr.pp.setup_anndata(toy, covariate_keys=["kind"])
    assert any("1 of 2 contexts (kind) have fewer than 10 control cells ('other' has 2)" in message for message in told)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"batch_key": "perturbation"},
            ValueError,
            "`batch_key` names 'perturbation', which is the perturbation column",
        ),
        ({"covariate_keys": ["perturbation"]}, ValueError, "`covariate_keys` names 'perturbation', which is"),
        ({"covariate_keys": ["dose"], "dose_key": "dose"}, ValueError, "names 'dose', which is the dose column"),
        ({"dose_key": "perturbation"}, ValueError, "`dose_key` is 'perturbation', which is the perturbation column"),
        ({"covariate_keys": ["cell_type", "cell_type"]}, ValueError, "names 'cell_type' twice"),
        ({"control": False}, TypeError, "`control` is False; labels are compared as text. Pass `control='False'`"),
    ],
)
def test_a_column_has_one_role(plain, options, error, message):
    refused(plain, error, message, **options)


def test_the_batch_may_be_a_covariate(plain):
    spr.pp.setup_anndata(plain, covariate_keys=["batch"], batch_key="batch")


def test_doses_that_are_numbers_as_text_are_repaired_by_the_line(plain):
    plain.obs["dose"] = plain.obs["dose"].astype(str).astype("category")
    with pytest.raises(ValueError, match="not numeric") as told:
        spr.pp.setup_anndata(plain, dose_key="dose")
    exec(str(told.value).split("\n")[1], {"adata": plain, "pd": pd})
    spr.pp.setup_anndata(plain, dose_key="dose")
