"""Simulated screens: a base design, and variations of one setting at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import scperturbrl as spr

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

BASE: dict[str, Any] = {"n_singles": 24, "n_doubles": 30}
_ADDITIVE = {"fraction_additive": 1.0, "fraction_buffered": 0.0, "fraction_epistatic": 0.0}
# the rest is neomorphic
_INTERACTING = {"fraction_additive": 0.1, "fraction_buffered": 0.35, "fraction_epistatic": 0.25}
VARIATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "few_conditions": ({"n_singles": 10, "n_doubles": 12}, "10 singles and 12 doubles"),
    "many_conditions": ({"n_singles": 48, "n_doubles": 80}, "48 singles and 80 doubles"),
    "few_cells": ({"n_cells_per_condition": 30}, "30 cells a condition"),
    "weak_effects": ({"effect_size": 0.4}, "weak effects"),
    "strong_effects": ({"effect_size": 1.6}, "strong effects"),
    "all_additive": (_ADDITIVE, "doubles that are sums of their singles"),
    "interacting": (_INTERACTING, "nine of ten doubles not additive"),
    "sparse": ({"library_size": 1000}, "1000 counts a cell"),
}


UNSEEN: dict[str, tuple[dict[str, Any], str]] = {
    "unseen_singles": ({"target_coupling": 0.7}, "48 singles, a quarter unseen, targets in the programs they change"),
    "unseen_unrelated": ({}, "48 singles, a quarter unseen, co-expression unrelated to effects"),
}

CONTEXTS: dict[str, tuple[dict[str, Any], str]] = {
    "contexts": ({}, "10 perturbations of 6 cell types, one cell type held out"),
    "depth": ({"depth_ratio": (0.25, 4)}, "as contexts, treated cells .25 to 4 times as deep as controls"),
}
DOSES: dict[str, tuple[dict[str, Any], str]] = {
    "doses": (
        {"n_singles": 12, "n_doubles": 0, "doses": (0.1, 1.0, 10.0, 100.0)},
        "12 singles at 4 doses, one of them held out for 8",
    ),
}
# genes x mean counts a cell
PANELS: dict[str, tuple[dict[str, Any], str]] = {
    f"panel_{genes}_{depth}": (
        {"n_singles": 12, "n_doubles": 12, "n_genes": genes, "library_size": depth},
        f"12 singles and 12 doubles, {genes} genes, {depth} counts a cell",
    )
    for genes in (70, 300, 1000)
    for depth in (100, 200, 1000)
}


def load(options: dict[str, Any], seed: int, data: Path) -> tuple[AnnData, dict[str, pd.DataFrame]]:
    """Draw a new data set for every seed and hold out 30 % of its doubles; their singles stay."""
    del data
    adata = spr.datasets.simulated_perturbseq(**(BASE | options), seed=seed)
    network = adata.uns["pathway_network"]
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="combinations", fraction=0.3, seed=seed)
    spr.pp.reference(adata, network=network, seed=seed)
    return adata, {}


def load_unseen(options: dict[str, Any], seed: int, data: Path) -> tuple[AnnData, dict[str, pd.DataFrame]]:
    """Draw a new data set for every seed and hold out a quarter of its perturbations."""
    del data
    adata = spr.datasets.simulated_perturbseq(**({"n_singles": 48, "n_doubles": 0} | options), seed=seed)
    network = adata.uns["pathway_network"]
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="perturbations", fraction=0.25, seed=seed)
    spr.pp.reference(adata, network=network, seed=seed)
    return adata, {}


def load_contexts(options: dict[str, Any], seed: int, data: Path) -> tuple[AnnData, dict[str, pd.DataFrame]]:
    """Draw a new data set for every seed and hold out one of its cell types, another one for the next seed."""
    del data
    adata = spr.datasets.simulated_contexts(**options, seed=seed)
    network, types = adata.uns["pathway_network"], adata.uns["truth"]["cell_types"].index
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=[types[seed % len(types)]], seed=seed)
    spr.pp.reference(adata, network=network, seed=seed)
    return adata, {}


def load_doses(options: dict[str, Any], seed: int, data: Path) -> tuple[AnnData, dict[str, pd.DataFrame]]:
    """Draw a new data set for every seed; hold out a middle dose of a third of the perturbations and the highest of another.

    The first two of the others have a validation dose, one in the middle each.
    """
    del data
    adata = spr.datasets.simulated_perturbseq(**options, seed=seed)
    network, names = adata.uns["pathway_network"], sorted(adata.uns["truth"]["singles"].index)
    spr.pp.setup_anndata(adata, dose_key="dose")
    doses = sorted(options["doses"])
    middle = lambda i: doses[1 + i % 2]
    held_out = {(name, middle(i)): "test" for i, name in enumerate(names[::3])}
    held_out |= {(name, doses[-1]): "test" for name in names[2::3]}
    held_out |= {(name, middle(i)): "validation" for i, name in enumerate(names[1::3][:2])}
    pairs = zip(adata.obs["perturbation"].astype(str), adata.obs["dose"], strict=True)
    adata.obs["side"] = [held_out.get(pair, "train") for pair in pairs]
    spr.pp.split(adata, holdout="column", column="side", seed=seed)
    spr.pp.reference(adata, network=network, seed=seed)
    return adata, {}
