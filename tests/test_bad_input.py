from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import scperturbrl as spr

SMALL = {"n_steps": 3, "width": 8, "n_latent": 4, "n_blocks": 1, "batch_size": 16, "progress": False}


def set_up(adata, **options):
    spr.pp.setup_anndata(adata, **options)


def fit(adata, **options):
    spr.tl.fit_generator(adata, **SMALL, **options)


def finetune(adata, **options):
    spr.tl.rl_finetune(adata, n_iterations=1, n_conditions=2, group_size=2, progress=False, **options)


def obs(column, value, rows=slice(0, 1)):
    def change(adata):
        values = (
            adata.obs[column].astype(object) if column in adata.obs else pd.Series("x", adata.obs_names, dtype=object)
        )
        values.iloc[rows] = value
        adata.obs[column] = values
        return adata

    return change


def values(function):
    def change(adata):
        adata.X = function(adata.X.toarray())
        return adata

    return change


def spoilt(number):
    def change(x):
        x[3, 5] = number
        return x

    return values(change)


def named(axis, name):
    def change(adata):
        names = getattr(adata, f"{axis}_names").to_numpy(dtype=object, copy=True)
        names[1] = name if name is not None else names[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            setattr(adata, f"{axis}_names", names)
        return adata

    return change


def lonely(adata):
    """One cell per condition."""
    first = ~adata.obs["perturbation"].astype(str).duplicated() | adata.obs["perturbation"].eq("control")
    adata = adata[first.to_numpy()].copy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    return adata


def without(slot, key):
    def change(adata):
        del getattr(adata, slot)[key]
        return adata

    return change


def all_test(adata):
    adata.obs["split"] = "test"
    return adata


def odd_split(adata):
    adata.obs["split"] = "training"
    return adata


def no_training_controls(adata):
    label = adata.obs["split"].astype(str)
    adata.obs["split"] = label.where(~adata.obs["perturbation"].eq("control"), "test")
    return adata


def mixed_column(adata):
    adata.obs["fold"] = np.where(np.arange(adata.n_obs) % 2, "train", "test")
    return adata


def with_strange_perturbation(adata):
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace("GENE034", "STRANGE")
    spr.pp.setup_anndata(adata)
    with pytest.warns(UserWarning, match="cannot be predicted"):
        spr.pp.split(adata, holdout="perturbations", values=["STRANGE"])
    return adata


def without_warnings(verb, adata):
    # of two genes no counts can be read off, which is said before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return verb(adata)


def only_targets(adata):
    labels = adata.obs["perturbation"].eq("control").map({True: "control", False: "A+B"})
    adata = adata[:, adata.X.toarray().mean(0).argsort()[-2:]].copy()
    adata.var_names, adata.obs["perturbation"], adata.obs["fold"] = ["A", "B"], labels, "train"
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="column", column="fold")
    return adata


def backed(adata, path):
    adata.write_h5ad(path)
    return ad.read_h5ad(path, backed="r")


NETWORK = pd.DataFrame({"source": "set", "target": [f"ENSG{i}" for i in range(9)], "weight": 1.0})

# state of the data, what is done to them, the call, the error and what its message says
TABLE = {
    # columns
    "column missing": ("plain", None, lambda a: set_up(a, perturbation_key="gene"), KeyError, "no column 'gene'.*'perturbation'"),
    "column misspelt": ("plain", None, lambda a: set_up(a, perturbation_key="pertubation"), KeyError, "Did you mean 'perturbation'"),
    "covariate missing": ("plain", None, lambda a: set_up(a, covariate_keys=["celltype"]), KeyError, "'celltype'.*'cell_type'"),
    "covariate given as a cell": ("plain", None, lambda a: set_up(a, covariate_keys="cel_type"), KeyError, "'cel_type'.*'cell_type'"),
    "batch missing": ("plain", None, lambda a: set_up(a, batch_key="plate"), KeyError, "no column 'plate'"),
    "dose missing": ("plain", None, lambda a: set_up(a, dose_key="dosage"), KeyError, "no column 'dosage'.*dose column"),
    "layer missing": ("plain", None, lambda a: set_up(a, layer="logcounts"), KeyError, "no 'logcounts'.*counts"),
    "NaN in the perturbations": ("plain", obs("perturbation", np.nan), set_up, ValueError, "1 missing values.*Fill or drop"),
    "NaN in a covariate": ("plain", obs("cell_type", np.nan), lambda a: set_up(a, covariate_keys=["cell_type"]), ValueError, "'cell_type'.*1 missing"),
    "NaN in the batch": ("plain", obs("batch", None), lambda a: set_up(a, batch_key="batch"), ValueError, "'batch'.*1 missing"),
    "dose is text": ("plain", obs("dose", "10 uM"), lambda a: set_up(a, dose_key="dose"), ValueError, "not numeric.*first value"),
    "dose is negative": ("plain", lambda a: a.obs.insert(0, "dose", -1.0) or a, lambda a: set_up(a, dose_key="dose"), ValueError, r"holds -1\.0.*above 0"),
    # labels
    "control absent": ("plain", None, lambda a: set_up(a, control="NT"), ValueError, "No cell has the control label 'NT'.*'control'"),
    "control misspelt": ("plain", None, lambda a: set_up(a, control="Control"), ValueError, "Did you mean 'control'"),
    "only controls": ("plain", obs("perturbation", "control", slice(None)), set_up, ValueError, "Every cell .* is a control"),
    "a label that names nothing": ("plain", obs("perturbation", " + "), set_up, ValueError, "contains no perturbation.*drop them"),
    "no separator": ("plain", None, lambda a: set_up(a, perturbation_sep=""), ValueError, "`perturbation_sep` is empty"),
    # names
    "gene twice": ("plain", named("var", None), set_up, ValueError, "`var_names` are not unique.*var_names_make_unique"),
    "cell twice": ("plain", named("obs", None), set_up, ValueError, "`obs_names` are not unique.*obs_names_make_unique"),
    # values
    "NaN in X": ("plain", spoilt(np.nan), set_up, ValueError, "NaN or infinite.*Remove"),
    "inf in X": ("plain", spoilt(np.inf), set_up, ValueError, "NaN or infinite"),
    "negative X": ("plain", values(lambda x: x - x.mean(0)), set_up, ValueError, "negative.*looks scaled"),
    "counts in X": ("plain", lambda a: setattr(a, "X", a.layers["counts"].copy()) or a, set_up, ValueError, "looks like raw counts.*\nsc.pp.normalize_total"),
    "integers in X": ("plain", values(lambda x: np.rint(x).astype(np.int64)), set_up, ValueError, "whole numbers only"),
    "normalised but no logs": ("plain", values(np.expm1), set_up, ValueError, "too high for log1p"),
    "logs twice": ("plain", values(np.log1p), set_up, ValueError, "logarithm was taken twice.*once"),
    "base 2": ("plain", values(lambda x: x / np.log(2)), set_up, ValueError, "logarithm has base 2"),
    "base 10": ("plain", values(lambda x: x / np.log(10)), set_up, ValueError, "logarithm has base 10"),
    "float16 in X": ("plain", values(lambda x: x.astype(np.float16)), set_up, TypeError, "float16.*float32"),
    "text in X": ("plain", lambda a: ad.AnnData(np.array([["a", "b"]] * 300), obs=a.obs), set_up, TypeError, "dtype .*numeric"),
    "booleans in X": ("plain", values(lambda x: x > 0), set_up, TypeError, "dtype bool"),
    "zeros only": ("plain", values(np.zeros_like), set_up, ValueError, "every value is zero"),
    "no X": ("plain", lambda a: ad.AnnData(obs=a.obs, var=a.var), set_up, TypeError, r"empty \(None\)"),
    "imputed X": ("ready", values(lambda x: x + np.random.default_rng(0).gamma(2, 0.1, x.shape).astype(np.float32)), fit, ValueError, "not log1p of normalised counts"),
    # order of steps
    "not set up": ("plain", None, lambda a: spr.pp.split(a), ValueError, "not set up.*pp.setup_anndata"),
    "fit before the split": ("ready", without("obs", "split"), fit, ValueError, "no column 'split'.*pp.split"),
    "no reference": ("ready", lambda a: a.uns["scperturbrl"].pop("reference") and a, lambda a: spr.tl.score(a), ValueError, "no reference.*pp.reference"),
    "no generator": ("ready", None, lambda a: spr.tl.generate(a), KeyError, "no generator 'generator'.*fit_generator"),
    "generator misspelt": ("fitted", None, lambda a: spr.tl.generate(a, key="generatr"), KeyError, "'generatr'.*'generator'"),
    "layer to score missing": ("fitted", None, lambda a: spr.tl.score(a, layer="generated"), KeyError, "no 'generated'"),
    # conditions
    "one cell per condition": ("plain", lonely, lambda a: spr.pp.reference(a), ValueError, r"No perturbed training condition has 10 cells \(most: 1\)"),
    "nothing to train on": ("ready", all_test, fit, ValueError, "is 'test' for a cell of 'control', which .*pp.split"),
    "split with other words": ("ready", odd_split, fit, ValueError, r"holds \['training'\]"),
    "control cells not for training": ("ready", no_training_controls, fit, ValueError, "is 'test' for a cell of 'control', which .*pp.split"),
    "condition on both sides": ("ready", mixed_column, lambda a: spr.pp.split(a, holdout="column", column="fold"), ValueError, "different parts of the split"),
    "an empty condition": ("fitted", None, lambda a: spr.tl.predict(a, ["GENE034", " + "]), ValueError, "contains no perturbation.*'control'"),
    "nothing to hold out": ("ready", None, lambda a: spr.pp.split(a, holdout="combos"), KeyError, "Did you mean 'combinations'"),
    "hold out what is not there": ("ready", None, lambda a: spr.pp.split(a, values=["GENE034+NOPE"]), KeyError, "cannot be held out"),
    "fraction out of range": ("ready", None, lambda a: spr.pp.split(a, fraction=1.5), ValueError, "`fraction` is 1.5"),
    "condition that targets every gene": ("plain", lambda a: only_targets(a), lambda a: without_warnings(spr.pp.reference, a), ValueError, "Every gene .* target of condition 'A.B'"),
    # genes
    "one gene": ("plain", lambda a: a[:, 3:4].copy(), set_up, ValueError, "1 gene; at least 2 genes"),
    "genes in another order": ("fitted", lambda a: a[:, ::-1].copy(), lambda a: spr.tl.predict(a), ValueError, "genes of `adata` changed"),
    "genes missing": ("fitted", lambda a: a[:, 5:].copy(), lambda a: spr.tl.generate(a), ValueError, "genes of `adata` changed"),
    "network without overlap": ("ready", None, lambda a: spr.pp.reference(a, network=NETWORK), ValueError, "No set of the network has 5 targets.*gene symbols"),
    "network without targets": ("ready", None, lambda a: spr.pp.reference(a, network=NETWORK[["source"]]), KeyError, r"no column \['target'\]"),
    "network with NaN": ("ready", None, lambda a: spr.pp.reference(a, network=NETWORK.assign(weight=np.nan)), ValueError, "not finite"),
    # what cannot be predicted
    "unknown perturbation": ("fitted", None, lambda a: spr.tl.predict(a, "GENE999"), KeyError, "The perturbation 'GENE999' is unknown.*random"),
    "perturbation without embedding": ("plain", with_strange_perturbation, fit, KeyError, "'STRANGE'.*`embeddings`"),
    "embeddings are text": ("ready", None, lambda a: fit(a, embeddings=pd.DataFrame({"x": ["a"]}, index=["GENE034"])), TypeError, r"`embeddings`.*not numeric: \['x'\]"),
    "embeddings with NaN": ("ready", None, lambda a: fit(a, embeddings=pd.DataFrame({"x": np.nan}, index=list(a.var_names))), ValueError, "`embeddings`.*finite"),
    "embeddings twice": ("ready", None, lambda a: fit(a, embeddings=pd.DataFrame({"x": [1.0] * 2}, index=["GENE034"] * 2)), ValueError, "`embeddings`.*more than one row"),
    "covariate not declared": ("fitted", None, lambda a: spr.tl.predict(a, "GENE034", covariates={"cell_type": "T"}), ValueError, "not a declared covariate"),
    "no cells wanted": ("fitted", None, lambda a: spr.tl.predict(a, n_cells=0), ValueError, "`n_cells` is 0"),
    "no conditions wanted": ("fitted", None, lambda a: spr.tl.predict(a, []), ValueError, "nothing to predict"),
    "a dose that is text": ("fitted", None, lambda a: spr.tl.predict(a, dose="high"), TypeError, "`dose` is 'high'.*number"),
    "a negative dose": ("fitted", None, lambda a: spr.tl.predict(a, dose=-1.0), ValueError, "`dose` is -1.0"),
    # settings
    "unknown verifier": ("fitted", None, lambda a: finetune(a, verifiers=["pearson"]), KeyError, "'pearson'.*pearson_topk"),
    "no verifiers": ("fitted", None, lambda a: finetune(a, verifiers=[]), ValueError, "`verifiers` is empty"),
    "weights of other verifiers": ("fitted", None, lambda a: finetune(a, weights={"x": 1}), KeyError, "`weights` names"),
    "steps that are text": ("ready", None, lambda a: spr.tl.fit_generator(a, n_steps="many"), TypeError, "`n_steps` is 'many'"),
    "NaN for a rate": ("ready", None, lambda a: fit(a, learning_rate=float("nan")), ValueError, "`learning_rate` is nan"),
    "unknown device": ("ready", None, lambda a: fit(a, device="gpu"), ValueError, "'gpu'.*'cuda'"),
    "NaN for an anchor": ("fitted", None, lambda a: finetune(a, anchor=float("nan")), ValueError, "`anchor` is nan"),
    "seed that is text": ("ready", None, lambda a: fit(a, seed="seven"), TypeError, "`seed` is 'seven'"),
    "a negative seed": ("ready", None, lambda a: fit(a, seed=-1), ValueError, "`seed` is -1"),
}  # fmt: skip


@pytest.fixture
def states(ready_toy, fitted_small):
    plain = spr.datasets.toy()
    return {"plain": plain, "ready": ready_toy.copy(), "fitted": fitted_small.copy()}


@pytest.fixture(scope="module")
def fitted_small(ready_toy):
    adata = ready_toy.copy()
    fit(adata)
    return adata


@pytest.mark.parametrize("case", TABLE)
def test_each_bad_input_has_its_message_and_leaves_the_data_alone(states, digest, case):
    state, change, call, error, message = TABLE[case]
    adata = states[state]
    if change is not None:
        adata = change(adata)
    before = digest(adata)
    with pytest.raises(error, match=f"(?s){message}") as caught:
        call(adata)
    assert len(str(caught.value)) > 25
    assert digest(adata) == before


def test_the_table_is_long_enough():
    assert len(TABLE) >= 60


def test_the_digest_notices_changes(states, digest):
    adata = states["fitted"]
    before = digest(adata)
    assert digest(adata.copy()) == before
    for change in (
        lambda a: a.X.data.__setitem__(0, 9.0),
        lambda a: a.obs.__setitem__("new", 1),
        lambda a: a.uns["generator"]["params"].__setitem__("seed", 7),
        lambda a: a.uns["generator"]["weights"]["space.mean"].__setitem__(0, 7),
        lambda a: a.layers.__setitem__("more", a.X),
    ):
        other = adata.copy()
        change(other)
        assert digest(other) != before


def test_what_a_backed_file_cannot_do_is_refused_and_changes_nothing(states, tmp_path):
    adata = backed(states["fitted"], tmp_path / "b.h5ad")
    before = set(adata.layers), set(adata.obs), set(adata.obsm)
    for call in (spr.tl.generate, lambda a: spr.tl.predict(a, as_mudata=True)):
        with pytest.raises(ValueError, match="not in memory.*to_memory"):
            call(adata)
    assert (set(adata.layers), set(adata.obs), set(adata.obsm)) == before
    with pytest.raises(ValueError, match="view of a file"):
        fit(adata[:100])
    adata.file.close()


def test_counts_in_a_backed_file_are_refused(states, tmp_path):
    adata = states["plain"]
    adata.X = adata.layers["counts"].copy()
    adata = backed(adata, tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match="raw counts"):
        set_up(adata)
    adata.file.close()


def road(adata):
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata, network=spr.datasets.toy().uns["pathway_network"])
    fit(adata)
    spr.tl.generate(adata)
    spr.tl.score(adata, layer="generator")
    return adata


FORMS = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "csr array": sparse.csr_array,
    "csc array": sparse.csc_array,
    "dense": lambda x: x.toarray(),
    "fortran": lambda x: np.asfortranarray(x.toarray()),
    "float64": lambda x: x.astype(np.float64),
    "read-only": lambda x: _frozen(x.toarray()),
}


def _frozen(x):
    x.flags.writeable = False
    return x


@pytest.fixture(scope="module")
def usual():
    return road(spr.datasets.toy())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_matrix_works_alike(usual, digest, form):
    adata = spr.datasets.toy()
    adata.X = FORMS[form](adata.X)
    kind, before = type(adata.X), digest(ad.AnnData(adata.X))
    road(adata)
    assert type(adata.X) is kind
    assert digest(ad.AnnData(adata.X)) == before
    rewards = [data.obs["generator_reward"].to_numpy() for data in (usual, adata)]
    np.testing.assert_array_equal(np.isnan(rewards[0]), np.isnan(rewards[1]))
    reference = [data.varm["perturbation_effect"].to_numpy() for data in (usual, adata)]
    np.testing.assert_allclose(*reference, atol=1e-5)


def test_a_view_works_and_its_parent_stays(digest):
    parent = spr.datasets.toy()
    before = digest(parent)
    view = parent[np.arange(parent.n_obs) % 7 != 0]
    road(view)
    assert digest(parent) == before


def test_names_of_any_kind_work(tmp_path):
    adata = spr.datasets.toy()
    change = {"GENE034": "Ω/ü ∕", "control": "kontrolle 🧬"}
    labels = adata.obs["perturbation"].astype(str).replace(change, regex=True)
    adata.obs["perturbation"] = labels
    adata.var_names = [change.get(name, name) for name in adata.var_names]
    spr.pp.setup_anndata(adata, control="kontrolle 🧬")
    spr.pp.split(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata)
    fit(adata)
    assert spr.tl.predict(adata, "Ω/ü ∕", n_cells=2).n_obs == 2
    adata.write_h5ad(tmp_path / "names.h5ad")
    again = ad.read_h5ad(tmp_path / "names.h5ad")
    assert spr.tl.predict(again, "Ω/ü ∕", n_cells=2).n_obs == 2


def test_genes_and_cells_of_zeros_work():
    adata = spr.datasets.toy()
    x = adata.X.toarray()
    x[:, 7] = 0
    x[[3, 200]] = 0
    adata.X = sparse.csr_matrix(x)
    road(adata)
    assert np.isfinite(adata.layers["generator"].toarray()).all()
    assert torch.isfinite(torch.as_tensor(adata.uns["generator"]["weights"]["velocity.outlet.bias"])).all()


def test_a_condition_only_in_test_is_predicted_but_not_scored():
    adata = road(spr.datasets.toy())
    held_out = adata.obs["split"].eq("test")
    assert held_out.any()
    assert adata.layers["generator"][held_out.to_numpy()].sum() > 0
    assert adata.obs.loc[held_out, "generator_reward"].isna().all()
