"""Files in the layouts of the field, from setup to the evaluation."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import scperturbrl as spr
from scperturbrl._core.modality import without_pulling

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "own_data.md"
GENES = [f"GENE{i}" for i in range(28)] + ["CEBPA", "KLF1", "STAT1", "JAK2"]
N = 14


def counts(labels, seed=0):
    """Counts of cells that differ by their label in some genes, one profile a label."""
    rng, effects = np.random.default_rng(seed), {}
    base = rng.gamma(2, 4, len(GENES)) + 1
    rows = []
    for label in labels:
        if label not in effects:
            effects[label] = np.exp(rng.normal(0, 0.8, len(GENES)) * (rng.random(len(GENES)) < 0.4))
        rows.append(rng.poisson(base * effects[label] * rng.uniform(0.7, 1.3)))
    return np.asarray(rows, dtype=np.float32)


def cells(groups, **columns):
    """AnnData of counts with N cells for each row of the table `columns`, of which `groups` is what changes expression."""
    obs = pd.DataFrame(columns).loc[np.repeat(np.arange(len(groups)), N)].reset_index(drop=True)
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return ad.AnnData(counts(np.repeat(groups, N)), obs=obs.astype("category"), var=pd.DataFrame(index=GENES))


def scperturb():
    labels = ["control", "control", "CEBPA", "KLF1", "STAT1", "JAK2", "CEBPA_KLF1", "STAT1_JAK2"]
    return cells(labels, perturbation=labels, nperts=[0, 0, 1, 1, 1, 1, 2, 2])


def gears():
    labels = ["ctrl", "ctrl", "CEBPA+ctrl", "KLF1+ctrl", "ctrl+STAT1", "JAK2+ctrl", "CEBPA+KLF1", "STAT1+JAK2"]
    return cells(labels, condition=labels, condition_name=[f"K562(?)_{x}_1+1" for x in labels], cell_type=["K562"] * 8)


def virtual_cell_challenge():
    labels = ["non-targeting", "non-targeting", "CEBPA", "KLF1", "STAT1", "JAK2"]
    return cells(labels, target_gene=labels, guide_id=[f"{x}_g1" for x in labels], batch=["b1"] * 6)


def tahoe():
    drugs = ["DMSO_TF", "Bortezomib", "(+)-JQ1", "Trametinib"]
    rows = [
        (d, c, line)
        for line in ("CVCL_1", "CVCL_2", "CVCL_3")
        for d in drugs
        for c in ((0.0,) if d == drugs[0] else (0.05, 5.0))
    ]
    labels = [f"[('{drug}', {dose}, 'uM')]" for drug, dose, _ in rows]
    groups = [drug for drug, *_ in rows]
    return cells(groups, drugname_drugconc=labels, cell_line=[line for *_, line in rows])


def sciplex():
    drugs = ["control", "dasatinib", "belinostat", "trametinib"]
    rows = [
        (d, c, line)
        for line in ("A549", "MCF7", "K562")
        for d in drugs
        for c in ((0.0,) if d == "control" else (10.0, 1000.0))
    ]
    adata = cells(
        [drug for drug, *_ in rows],
        condition=[r[0] for r in rows],
        dose=[r[1] for r in rows],
        cell_type=[r[2] for r in rows],
    )
    adata.obs["dose"] = adata.obs["dose"].astype(float)
    return adata


def papalexi():
    mudata = pytest.importorskip("mudata")
    labels = ["NT", "NT", "CEBPA", "KLF1", "STAT1", "JAK2"]
    rna = cells(labels, gene_target=labels, replicate=["rep1"] * 6)
    adt = ad.AnnData(
        np.ones((rna.n_obs, 2), np.float32),
        obs=pd.DataFrame(index=rna.obs_names),
        var=pd.DataFrame(index=["CD86", "PDL1"]),
    )
    with without_pulling():
        mdata = mudata.MuData({"rna": rna, "adt": adt})
        mdata.obs = rna.obs.copy()
    rna.obs = rna.obs[[]]
    return mdata


def cytokines():
    rows = [(c, t, d) for d in ("D1", "D2", "D3") for t in ("B", "T") for c in ("PBS", "IFN-beta", "IL-6", "TNF")]
    return cells(
        [r[0] for r in rows], cytokine=[r[0] for r in rows], cell_type=[r[1] for r in rows], donor=[r[2] for r in rows]
    )


LAYOUTS = {
    "scPerturb": scperturb,
    "GEARS": gears,
    "Virtual Cell Challenge": virtual_cell_challenge,
    "Tahoe-100M": tahoe,
    "sci-Plex": sciplex,
    "Papalexi (MuData)": papalexi,
    "Cytokine panel": cytokines,
}


def section(name):
    """The user's lines for a layout, as the how-to has them."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(
        rf"^### {re.escape(name)}\n.*?```\{{code-block\}} python\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    )
    assert found, name
    return found[1]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_layout_goes_from_setup_to_evaluation_with_the_lines_of_the_howto(name):
    data, lines = LAYOUTS[name](), section(name)
    space = {"spr": spr, "sc": sc, "pd": pd, "np": np, "data": data}
    exec(compile(lines, name, "exec"), space)
    adata = space["adata"]
    assert len([line for line in lines.splitlines() if line.strip() and not line.startswith(("#", "import"))]) <= 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spr.pp.reference(adata)
        spr.tl.fit_generator(adata, n_steps=5, width=16, n_latent=4, batch_size=32)
        table = spr.tl.evaluate(adata, n_cells=20, max_cells=20, verifiers=["rmse_topk"])
    assert {"generator", "perturbed_mean", "split_half"} <= set(table["model"])
    mse = table[(table["metric"] == "mse") & (table["model"] == "generator")]
    assert len(mse) >= 1
    assert np.isfinite(mse["value"].astype(float)).all()
    assert not table["seen"].any()
