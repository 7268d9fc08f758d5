from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scperturbrl as spr


def combinations():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="combinations", fraction=0.6, validation_fraction=0.15)
    return adata


def contexts():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=60,
        n_singles=3,
        n_doubles=1,
        n_cells_per_condition=60,
        n_controls=120,
        cell_types=("B", "T", "NK"),
        n_programs=6,
        n_pathways=4,
        effect_size=1.5,
        library_size=1500,
    )
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"], batch_key="batch")
    spr.pp.split(adata, holdout="cell_type", values=["T"], validation_fraction=0.2)
    return adata


def permute(values, rng):
    return values[rng.permutation(len(values))]


def replace(values, rng):
    return np.log1p(rng.poisson(3, values.shape) * rng.uniform(1, 9, (len(values), 1)))


def everything(adata, tamper=None, label="test"):
    changed = (adata.obs["split"] == label).to_numpy()
    assert changed.any()
    dense = adata.X.toarray()
    if tamper is not None:
        dense[changed] = tamper(dense[changed], np.random.default_rng(0))
    adata.X = sparse.csr_matrix(dense)
    for name in list(adata.layers):
        if name is not None:
            del adata.layers[name]
    with warnings.catch_warnings():
        # so short a run may set off the guard
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata)
        spr.tl.fit_generator(adata, n_steps=12, width=32, n_latent=8)
        spr.tl.rl_finetune(adata, n_iterations=4, n_conditions=3, group_size=8, guard=True)
    stored = {f"varm/{name}": table for name, table in adata.varm.items()}
    return stored | {f"uns/{name}": adata.uns[name] for name in adata.uns if name != "truth"}


def flat(value, name=""):
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{name}/{key}").items()}
    if isinstance(value, pd.DataFrame):
        return {f"{name}/{column}": value[column].to_numpy() for column in value}
    return {name: np.asarray(value)}


def is_time(name):
    return name.endswith(("/seconds", "/time"))


@pytest.fixture(scope="module", params=[combinations, contexts], ids=["combinations", "contexts"])
def design(request):
    adata = request.param()
    return adata, flat(everything(adata.copy()))


@pytest.mark.parametrize("tamper", [permute, replace])
def test_leak_canary(design, tamper):
    adata, honest = design
    tampered = flat(everything(adata.copy(), tamper))
    assert tampered.keys() == honest.keys()
    for name, value in honest.items():
        if not is_time(name):
            np.testing.assert_array_equal(tampered[name], value, err_msg=name)


def test_the_canary_looks_at_all_that_is_stored(design):
    names = "\n".join(design[1])
    for part in (
        "varm/perturbation_effect",
        "varm/perturbation_statistic",
        "varm/perturbation_padj",
        "varm/control_mean",
        "uns/pathway_response",
        "uns/scperturbrl/reference/calibration/real_median",
        "uns/scperturbrl/reference/mean_effect",
        "uns/generator/weights/space.components",
        "uns/generator/weights/velocity",
        "uns/generator/history/loss",
        "uns/generator/weights/denoise",
        "uns/generator_rl/weights/velocity",
        "uns/generator_rl/history/reward",
        "uns/generator_rl/history/check_energy",
        "uns/generator_rl/fitted/alarms",
    ):
        assert part in names


@pytest.mark.parametrize("label", ["train", "validation"])
def test_the_canary_can_sing(design, label):
    adata, honest = design
    changed = flat(everything(adata.copy(), replace, label))
    different = [name for name, value in honest.items() if not np.array_equal(value, changed.get(name))]
    assert any("generator/history" in name for name in different)
    if label == "train":
        assert any("generator_rl/weights" in name for name in different)


def test_two_test_conditions_can_be_confused(design):
    assert len(design[0].uns["scperturbrl"]["split"]["test"]) > 1
