from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr


def make(labels, genes=("CEBPA", "KLF1", "AHR", "NKX2-1", "NKX2-2"), **columns):
    labels = list(labels) * 2
    obs = pd.DataFrame({"perturbation": labels, **columns}, index=[f"c{i}" for i in range(len(labels))])
    rng = np.random.default_rng(0)
    counts = rng.poisson(5, (len(obs), len(genes))) + 1.0
    x = np.log1p(100 * counts / counts.sum(1, keepdims=True)).astype(np.float32)
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=list(genes)))


def conditions(adata):
    spr.pp.split(adata, holdout="nothing")
    return {str(name) for name in adata.uns["scperturbrl"]["split"]["train"]}


def repaired(adata, message):
    exec(message.splitlines()[1], {"adata": adata})
    return adata


def test_a_separator_in_brackets_is_part_of_the_name():
    adata = make(["control", "(+)-JQ1", "(+)-JQ1+CEBPA", "f(a+b)+KLF1"])
    spr.pp.setup_anndata(adata)
    assert conditions(adata) == {"control", "(+)-JQ1", "(+)-JQ1+CEBPA", "KLF1+f(a+b)"}


def test_brackets_that_do_not_close_hide_nothing():
    adata = make(["control", "A(+B", "C)+D"])
    spr.pp.setup_anndata(adata)
    assert conditions(adata) == {"control", "A(+B", "C)+D"}


@pytest.mark.parametrize(
    ("sep", "message"), [("_", "is a combination of '1' and 'CEBPA'"), ("+", "look like guides of one gene, 'CEBPA'")]
)
def test_guides_of_one_gene_are_recognised_and_the_line_repairs_them(sep, message):
    adata = make(["control", "CEBPA_1", "CEBPA_2", "KLF1_1", "KLF1_2"])
    with pytest.warns(UserWarning, match=message) as told:
        spr.pp.setup_anndata(adata, perturbation_sep=sep)
    repaired(adata, str(told[0].message))
    spr.pp.setup_anndata(adata, perturbation_sep=sep)
    assert conditions(adata) == {"control", "CEBPA", "KLF1"}


def test_guides_in_combinations_are_repaired_too():
    adata = make(["control", "CEBPA_sg1+KLF1_sg2", "CEBPA_sg2+KLF1_sg1", "CEBPA_sg1"])
    with pytest.warns(UserWarning, match="look like guides of one gene") as told:
        spr.pp.setup_anndata(adata)
    repaired(adata, str(told[0].message))
    spr.pp.setup_anndata(adata)
    assert conditions(adata) == {"control", "CEBPA", "CEBPA+KLF1"}


def test_numbers_that_belong_to_a_name_are_left_alone():
    # measured genes, drugs that are no genes, and a single number
    adata = make(["control", "NKX2-1", "NKX2-2", "drug_1", "drug_2", "CEBPA_1"])
    spr.pp.setup_anndata(adata)
    assert "NKX2-1" in conditions(adata)


def test_the_condition_names_of_gears_are_refused():
    adata = make(["K562(?)_ctrl_1", "K562(?)_AHR+ctrl_1+1", "K562(?)_AHR+KLF1_1+1"])
    with pytest.raises(ValueError, match='perturbation_key="condition", control="ctrl"'):
        spr.pp.setup_anndata(adata, control="K562(?)_ctrl_1")


def test_another_spelling_of_the_control_is_warned_about_and_repaired():
    adata = make(["control", "Ctrl", "DMSO", "CEBPA"])
    with pytest.warns(UserWarning, match="labelled 'Ctrl', 'DMSO' in addition to the control 'control'") as told:
        spr.pp.setup_anndata(adata)
    repaired(adata, str(told[0].message))
    spr.pp.setup_anndata(adata)
    assert conditions(adata) == {"control", "CEBPA"}


@pytest.mark.parametrize("control", [["control"], ("control", "ctrl"), None])
def test_several_controls_are_refused_by_name(control):
    with pytest.raises(TypeError, match="it must be one label. Give all control cells the same label"):
        spr.pp.setup_anndata(make(["control", "CEBPA"]), control=control)


@pytest.mark.parametrize("control", [0, np.int64(0)])
def test_a_number_is_a_label_too(control):
    adata = make([0, 1, 2])
    spr.pp.setup_anndata(adata, control=control)
    assert conditions(adata) == {"0", "1", "2"}
    assert adata.uns["scperturbrl"]["setup"]["control"] == "0"


def test_all_contexts_without_controls_are_named_at_once():
    labels = ["control", "CEBPA", "KLF1", "CEBPA", "KLF1", "AHR"]
    adata = make(labels, cell_type=["T", "T", "B", "NK", "NK", "T"] * 2)
    with pytest.raises(
        ValueError, match=r"2 of 3 contexts \(cell_type\) have no control cells: 'NK' \(4 cells\), 'B' \(2 cells\)"
    ) as told:
        spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    space = {"adata": adata}
    exec("\n".join(str(told.value).splitlines()[1:3]), space)
    spr.pp.setup_anndata(space["adata"], covariate_keys=["cell_type"])
    assert space["adata"].n_obs == 6


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning", "ignore:.*zarr.*")
def test_long_labels_can_be_written(tmp_path, suffix):
    long = "N-" + "methyl" * 60
    obs = pd.DataFrame(
        {"perturbation": np.repeat(["control", long, long + "2"], 20)}, index=[f"c{i}" for i in range(60)]
    )
    obs["batch"] = "β" * 300
    rng = np.random.default_rng(0)
    adata = ad.AnnData(np.log1p(rng.poisson(2, (60, 30)) * rng.uniform(1, 3, (60, 1))).astype(np.float32), obs=obs)
    spr.pp.setup_anndata(adata, covariate_keys=["batch"])
    spr.pp.split(adata, holdout="nothing")
    spr.pp.reference(adata)
    getattr(adata, f"write_{suffix}")(tmp_path / f"a.{suffix}")
    back = getattr(ad, f"read_{suffix}")(tmp_path / f"a.{suffix}")
    spr.tl.score(back)
    assert back.obs["observed_reward"].notna().sum() == 40
    assert len(set(back.varm["perturbation_effect"].columns)) == 2


def test_embeddings_with_numbers_as_names_can_be_written(toy, tmp_path):
    names = sorted({part for label in toy.obs["perturbation"].unique() for part in label.split("+")})
    embeddings = pd.DataFrame(np.random.default_rng(0).normal(size=(len(names), 3)), index=names)
    spr.tl.fit_generator(toy, embeddings=embeddings, n_steps=3, width=16, n_latent=4)
    toy.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert back.uns["generator"]["space"]["embeddings"].columns.tolist() == ["0", "1", "2"]
    assert embeddings.columns.tolist() == [0, 1, 2]


def repaired_by_line(adata, message):
    """What is called `adata` after the last line of a message."""
    space = {"adata": adata}
    exec(message.splitlines()[-1], space)
    return space["adata"]


@pytest.mark.parametrize(
    ("labels", "sep", "control", "message", "expected"),
    [
        (["CEBPA", "cebpa", "KLF1+cebpa"], "+", "control", "'cebpa' and 'CEBPA' .* differ only in", {"CEBPA", "CEBPA+KLF1"}),
        (["JQ 1", "JQ1"], "+", "control", "'JQ1' and 'JQ 1' .* differ only in blanks", {"JQ 1"}),
        (["CEBPA", "unassigned", "nan"], "+", "control", "labelled 'nan', 'unassigned', which count as", {"CEBPA"}),
        (["CEBPA", "non-targeting_0012"], "+", "control", "labelled 'non-targeting_0012' in addition", {"CEBPA"}),
        (["CEBPA", "NT-1", "NTsg2"], "+", "control", "labelled 'NT-1', 'NTsg2' in addition", {"CEBPA"}),
        (["CEBPA", *(f"Safe_{i}" for i in range(30))], "+", "control", "and 20 more in addition", {"CEBPA"}),
        (["CEBPA+NT", "CEBPA+KLF1"], "+", "control", "combinations with 'NT', such as", {"CEBPA", "CEBPA+KLF1"}),
        (["CEBPA_NegCtrl0", "KLF1_CEBPA"], "_", "NegCtrl0_NegCtrl0", "combinations with 'NegCtrl0'", {"CEBPA", "CEBPA_KLF1"}),
    ],
)  # fmt: skip
def test_names_that_mean_something_else_are_told_and_the_line_repairs_them(labels, sep, control, message, expected):
    adata = make([control, *labels])
    with pytest.warns(UserWarning, match=message) as told:
        spr.pp.setup_anndata(adata, perturbation_sep=sep, control=control)
    adata = repaired_by_line(adata, str(told[0].message))
    spr.pp.setup_anndata(adata, perturbation_sep=sep, control=control)
    assert conditions(adata) == {control, *expected}


@pytest.mark.parametrize("sep", ["_", ";", "-", " "])
def test_another_separator_is_told(sep):
    adata = make(["control", "CEBPA", "KLF1", f"CEBPA{sep}KLF1", f"AHR{sep}ctrl"])
    with pytest.warns(UserWarning, match=rf"\(2 perturbations are like this\).*pass `perturbation_sep='{sep}'`"):
        spr.pp.setup_anndata(adata)
    spr.pp.setup_anndata(adata, perturbation_sep=sep)
    assert conditions(adata) == {"control", "CEBPA", "KLF1", f"CEBPA{sep}KLF1", "AHR"}


def test_names_that_are_what_they_seem_are_not_told():
    # a neurotrophin, blanks around parts and control, and genes in spite of their names
    adata = make(["control", "control ", " CEBPA", "CEBPA", "NT-3", "NEG", "NKX2-1"], genes=("CEBPA", "NEG", "NKX2-1"))
    spr.pp.setup_anndata(adata)
    assert conditions(adata) == {"control", "CEBPA", "NT-3", "NEG", "NKX2-1"}


def test_contexts_that_differ_in_spelling_are_told():
    labels = ["control", "CEBPA"]
    adata = make(labels * 2, cell_type=["T cell", "T cell", "t cell ", "t cell "] * 2)
    with pytest.warns(UserWarning, match=r"'t cell ' and 'T cell' in `obs\['cell_type'\]`.*different contexts") as told:
        spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    repaired_by_line(adata, str(told[0].message))
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    assert set(adata.obs["cell_type"]) == {"T cell"}


SYMBOLS = ("CEBPA", "KLF1", "AHR")


@pytest.mark.parametrize("names", ["in a column", "in another case", "with a version"])
def test_genes_under_other_names_are_told_and_the_line_repairs_them(names):
    adata = make(["control", *SYMBOLS], genes=SYMBOLS)
    if names == "in a column":
        adata.var["symbol"], adata.var_names = list(SYMBOLS), ["ENSG1", "ENSG2", "ENSG3"]
    else:
        adata.var_names = [name.title() if names == "in another case" else f"{name}.2" for name in SYMBOLS]
    with pytest.warns(UserWarning, match="3 of 3 perturbations .* 'AHR', are measured genes under other names") as told:
        spr.pp.setup_anndata(adata)
    repaired_by_line(adata, str(told[0].message))
    spr.pp.setup_anndata(adata)
    assert tuple(adata.var_names) == SYMBOLS
