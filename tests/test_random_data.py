from __future__ import annotations

import traceback
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

import scperturbrl as spr

SMALL = {"n_steps": 2, "width": 8, "n_latent": 3, "n_blocks": 1, "batch_size": 8, "progress": False}
PACKAGE = str(Path(spr.__file__).parent)
NAMES = ["A", "B", "control", "ctrl", "A+B", "B+A", "A+ctrl", "Ω/x", "NA", "nan", "1", "a.b", "A|B", "é"]


@st.composite
def screens(draw):
    """Screens as people have them: few or many cells, odd labels, empty cells, unused categories, any matrix."""
    labels = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique=True))
    counts = [draw(st.sampled_from([1, 11, 11, 30, 30])) for _ in labels]
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    n, n_genes = sum(counts) + 30, draw(st.sampled_from([20, 9, 2]))
    x = rng.poisson(draw(st.sampled_from([5.0, 20.0, 0.3])), (n, n_genes)).astype(np.float64)
    size = np.maximum(x.sum(1, keepdims=True), 1)
    x = np.log1p(x / size * draw(st.sampled_from([1e3, 1e4])))
    form = draw(st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_matrix, np.asfortranarray]))
    adata = ad.AnnData(form(x.astype(draw(st.sampled_from([np.float32, np.float64])))))
    column = np.repeat([*labels, "control"], [*counts, 30])
    adata.obs["perturbation"] = pd.Categorical(column, categories=pd.unique(np.array([*column, "unused"])))
    adata.obs["tissue"] = rng.choice(["x", "y/z"], n)
    adata.obs["dose"] = rng.choice([0.1, 1.0, 10.0], n)
    adata.var_names = (
        [f"g{i}" for i in range(n_genes)] if draw(st.booleans()) else [*"AB", *map(str, range(n_genes))][:n_genes]
    )
    options = draw(st.sampled_from([{}, {"covariate_keys": ["tissue"]}, {"dose_key": "dose"}, {"batch_key": "tissue"}]))
    return adata, options, draw(st.sampled_from(["column", "perturbations", "column", "combinations"]))


def road(adata, options, holdout):
    spr.pp.setup_anndata(adata, **options)
    adata.obs["everything"] = "train"
    spr.pp.split(adata, holdout=holdout, **({"column": "everything"} if holdout == "column" else {}))
    spr.pp.reference(adata, min_cells=4)
    spr.tl.score(adata)
    spr.tl.fit_generator(adata, **SMALL)
    spr.tl.rl_finetune(adata, n_iterations=1, n_conditions=2, group_size=2, progress=False)
    spr.tl.generate(adata, key="generator_rl")
    spr.tl.predict(adata, ["A", "control"], n_cells=2)


@settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))
@given(screens())
def test_random_data_work_or_are_refused_by_this_package(screen):
    adata = screen[0]
    names, before = adata.obs_names.tolist(), adata.X.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            road(*screen)
        except (ValueError, KeyError, TypeError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            assert last.filename.startswith(PACKAGE), f"{last.filename}:{last.lineno} {error!r}"  # noqa: PT017
            assert len(str(error)) > 25  # noqa: PT017
    assert adata.obs_names.tolist() == names
    assert type(adata.X) is type(before)
    assert (before != adata.X).sum() == 0


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_number_of_threads_does_not_matter(ready_toy, threads):
    results = []
    for n in (1, 3):
        threads(n)
        adata = ready_toy.copy()
        spr.pp.reference(adata)
        spr.tl.fit_generator(adata, **SMALL | {"n_steps": 20, "width": 64, "batch_size": 128})
        spr.tl.rl_finetune(adata, n_iterations=2, progress=False)
        spr.tl.generate(adata, key="generator_rl")
        assert torch.get_num_threads() == n
        results.append(adata)
    first = results[0]
    for other in results[1:]:
        for key in ("generator", "generator_rl"):
            for name, value in first.uns[key]["weights"].items():
                np.testing.assert_array_equal(value, other.uns[key]["weights"][name], err_msg=name)
        assert (first.layers["generator_rl"] != other.layers["generator_rl"]).nnz == 0


def test_other_seeds_give_other_numbers(ready_toy):
    adata = ready_toy.copy()
    for seed in (0, 1):
        spr.tl.fit_generator(adata, key_added=f"g{seed}", seed=seed, **SMALL)
        spr.tl.rl_finetune(
            adata, key="g0", key_added=f"rl{seed}", seed=seed, n_iterations=1, guard=False, progress=False
        )
        spr.tl.generate(adata, key="g0", key_added=f"l{seed}", seed=seed)
    for kind in ("g", "rl"):
        name = "velocity.outlet.weight"
        assert not np.array_equal(*(adata.uns[f"{kind}{seed}"]["weights"][name] for seed in (0, 1)))
    assert (adata.layers["l0"] != adata.layers["l1"]).nnz > 0
