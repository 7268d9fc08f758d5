"""A difference in sequencing depth is not an effect, in any table of effects."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import scperturbrl as spr

N_GENES, DOSES = 120, [1.0, 10.0, 100.0]


def made(blocks, *, dose=None):
    """Cells of ``{label: (log ratios of the rates, number of cells, share of the counts that were read)}``."""
    rng = np.random.default_rng(0)
    rates = rng.lognormal(sigma=1.5, size=N_GENES)
    counts, labels = [], []
    for label, (change, n, share) in blocks.items():
        own = rates * np.exp(change)
        counts.append(rng.poisson(share * 900 * own / rates.sum() * rng.lognormal(sigma=0.2, size=(n, 1))))
        labels += [label] * n
    adata = ad.AnnData(
        sparse.csr_matrix(np.concatenate(counts).astype(np.float32)),
        obs=pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(labels))]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]),
    )
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    if dose:
        adata.obs["dose"] = [dose.get(label, 0.0) for label in labels]
        adata.obs["perturbation"] = [label.split("@")[0] for label in labels]
    spr.pp.setup_anndata(adata, dose_key="dose" if dose else None)
    spr.pp.split(adata, holdout="nothing")
    return adata


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_drug_without_effect_has_no_response_if_its_cells_have_fewer_counts(share):
    none, names = np.zeros(N_GENES), [f"drug@{dose}" for dose in DOSES]
    blocks = {"control": (none, 200, 1.0)} | {
        name: (none, 80, share if dose > 1 else 1.0) for name, dose in zip(names, DOSES, strict=True)
    }
    adata = made(blocks, dose=dict(zip(names, DOSES, strict=True)))
    assert spr.get.dose_response(adata)["status"].tolist() == ["no response"]


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_an_additive_pair_stays_additive_if_it_has_fewer_counts(share):
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, N_GENES)) * (rng.random((2, N_GENES)) < 0.4)
    none = np.zeros(N_GENES)
    adata = made(
        {
            "control": (none, 300, 1.0),
            "A": (first, 200, 1.0),
            "B": (second, 200, 1.0),
            "A+B": (first + second, 200, share),
        }
    )
    row = spr.get.genetic_interactions(adata).iloc[0]
    assert row["interaction"] == "additive"
    assert row[["first_coefficient", "second_coefficient"]].astype(float).between(0.8, 1.2).all()


@pytest.mark.parametrize("whole", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_effects_of_cells_with_fewer_counts_are_those_at_one_depth(whole):
    none = np.zeros(N_GENES)
    adata = made({"control": (none, 300, 1.0), "A": (none, 300, 0.3), "B": (none, 300, 1.0)})
    deep = made({"control": (none, 300, 1.0), "A": (none, 300, 1.0), "B": (none, 300, 1.0)})
    adata.layers["made"] = whole(deep.X.toarray())
    raw = np.asarray(adata[adata.obs["perturbation"] == "A"].X.mean(0) - adata[:300].X.mean(0)).ravel()
    found = spr.get.effects(adata, keys="made", conditions="A")
    assert np.abs(found["statistic"]).max() < 5
    for column in ("observed", "predicted"):
        assert np.square(found[column]).mean() < 0.1 * np.square(raw).mean()
