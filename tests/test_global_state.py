"""The random numbers of the process belong to the user: no verb takes any, and none depends on them."""

from __future__ import annotations

import random
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import scperturbrl as spr

SMALL = {"n_steps": 4, "width": 16, "n_latent": 4, "n_blocks": 1, "batch_size": 32, "progress": False}
SHORT = {"n_iterations": 1, "n_conditions": 2, "group_size": 4, "progress": False}


def fit(adata, **options):
    spr.tl.fit_generator(adata, key_added="fitted", **SMALL | options)


def fit_to_few(adata, **options):
    # attention takes its time for each cell
    few = adata[::4].copy()
    fit(few, **options)
    adata.uns["fitted"] = few.uns["fitted"]


def training_mean(adata):
    return np.asarray(adata.X[adata.obs["split"].eq("train").to_numpy()].mean(0))


def screened_and_proposed(adata):
    spr.tl.screen(adata, "pairs", objective="size", n_refine=2, n_cells=10)
    spr.tl.propose(adata, n=2)


def saved_and_loaded(adata, folder):
    spr.tl.save_generator(adata, folder / "generator")
    spr.tl.load_generator(adata, folder / "generator", key_added="loaded")


def predicted_elsewhere(adata, folder):
    spr.tl.save_generator(adata, folder / "model")
    others = adata[adata.obs["perturbation"] == "control"].copy()
    spr.tl.predict_elsewhere(others, folder / "model", n_cells=3)


VERBS = {
    "tl.screen, tl.propose": lambda adata, folder: screened_and_proposed(adata),
    "pp.setup_anndata": lambda a, _: spr.pp.setup_anndata(a),
    "pp.split": lambda a, _: spr.pp.split(a),
    "pp.split_folds": lambda a, _: spr.pp.split_folds(a, k=2),
    "pp.pathway_network": lambda a, _: spr.pp.pathway_network(a, a.uns["pathway_network"]),
    "pp.network_embeddings": lambda a, _: spr.pp.network_embeddings(a.uns["pathway_network"]),
    "pp.reference": lambda a, _: spr.pp.reference(a, seed=3),
    "tl.fit_generator": lambda a, _: fit(a),
    "tl.fit_generator, genes": lambda a, _: fit(a, space="genes"),
    "tl.fit_generator, transformer": lambda a, _: fit_to_few(a, backbone="transformer", width=8, n_steps=1),
    "tl.fit_generator, further": lambda a, _: fit(a, init_from="generator"),
    "tl.rl_finetune": lambda a, _: spr.tl.rl_finetune(a, key_added="tuned", **SHORT),
    "tl.generate": lambda a, _: spr.tl.generate(a),
    "tl.predict": lambda a, _: spr.tl.predict(a, n_cells=3),
    "tl.score": lambda a, _: spr.tl.score(a),
    "tl.score, observed": lambda a, _: spr.tl.score(a, layer="generator", reference="observed"),
    "tl.select": lambda a, _: spr.tl.select(a, key="generator_rl"),
    "tl.evaluate": lambda a, _: spr.tl.evaluate(a, n_cells=20),
    "tl.leakage_canary": lambda a, _: spr.tl.leakage_canary(a, training_mean),
    "tl.save_generator, tl.load_generator": saved_and_loaded,
    "tl.predict_elsewhere": predicted_elsewhere,
    "tl.to_cell_eval": lambda a, folder: spr.tl.to_cell_eval(a, folder / "out", prediction="generator", n_cells=3),
}


def numbers():
    state = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), state[1].tolist(), state[2], random.getstate()


def start_at(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def without_clocks(value):
    if isinstance(value, pd.DataFrame):
        return value.drop(columns=[c for c in value if c in {"seconds", "time"}])
    if hasattr(value, "items"):
        return {key: without_clocks(part) for key, part in value.items() if key not in {"seconds", "time", "written"}}
    return value


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_takes_or_needs_random_numbers_of_the_process(finished, digest, tmp_path, verb):
    found = []
    for seed in (1, 2):
        adata = finished.copy()
        start_at(seed)
        before = numbers()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            VERBS[verb](adata, tmp_path / str(seed))
        assert numbers() == before
        adata.uns = without_clocks(dict(adata.uns))
        found.append(digest(adata))
    assert found[0] == found[1]


def test_all_verbs_are_tried():
    exported = {f"{room.__name__.split('.')[-1]}.{name}" for room in (spr.pp, spr.tl) for name in room.__all__}
    # these only hold or read what they are given
    exported -= {"tl.DamagedFileError", "pp.SplitManifest", "pp.fingerprint_embeddings"}
    assert {name for verb in VERBS for name in verb.split(", ") if "." in name} == exported


def test_what_the_table_looks_for_can_be_found():
    start_at(1)
    before = numbers()
    torch.nn.Linear(2, 2)
    assert numbers() != before


def test_fits_in_threads_are_those_made_alone(ready_toy):
    def work(adata):
        spr.tl.fit_generator(adata, **SMALL)
        spr.tl.rl_finetune(adata, n_iterations=1, n_conditions=2, group_size=4, progress=False)

    copies = [ready_toy.copy() for _ in range(5)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        work(copies[0])
        threads = [threading.Thread(target=work, args=(adata,)) for adata in copies[1:]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for other in copies[1:]:
        for key in ("generator", "generator_rl"):
            for name, value in copies[0].uns[key]["weights"].items():
                np.testing.assert_array_equal(value, other.uns[key]["weights"][name], err_msg=name)
