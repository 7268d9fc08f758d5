from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import campaigns, screening


def test_held_out_conditions_are_measured_by_their_cells(monkeypatch):
    adata = spr.datasets.simulated_perturbseq(n_genes=80, n_singles=8, n_doubles=20, n_cells_per_condition=30)
    spr.pp.pathway_network(adata, adata.uns["pathway_network"])
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    small = screening.DATASETS["simulated"].__class__("small", lambda *_: _prepared(adata), "")
    monkeypatch.setitem(screening.DATASETS, "small", small)
    found = screening.measure("small", 0, None, ["size"])
    held_out = adata.obs.loc[adata.obs["split"] == "test", "perturbation"].astype(str).unique()
    assert sorted(found["condition"]) == sorted(held_out)
    is_one = (adata.obs["perturbation"] == found["condition"][0]).to_numpy()
    control = (adata.obs["perturbation"] == "control").to_numpy() & (adata.obs["split"] == "train").to_numpy()
    effect = np.asarray(adata.X[is_one].mean(0) - adata.X[control].mean(0)).ravel()
    cells, controls = adata.X[is_one].toarray(), adata.X[control].toarray()
    noise = cells.var(0, ddof=1) / len(cells) + controls.var(0, ddof=1) / len(controls)
    assert found["truth"][0] == pytest.approx(np.sqrt((np.square(effect) - noise).mean()), rel=1e-3)


def test_an_interrupted_run_goes_on_and_folds_are_not_measured_twice(tmp_path, monkeypatch):
    seen = []

    def measure(name, seed, data):
        seen.append((name, seed))
        return pd.DataFrame({"suite": [name], "seed": seed, "objective": "size", "condition": "A", "truth": 1.0})

    monkeypatch.setattr(screening, "measure", measure)
    screening.run(["many_conditions"], range(2), data=None, out=tmp_path)
    found = screening.run(["many_conditions", "norman_all"], range(7), data=None, out=tmp_path)
    assert len(seen) == len(set(seen)) == 7 + 5
    assert found.groupby("suite")["seed"].max().to_dict() == {"many_conditions": 6, "norman_all": 4}
    assert len(screening.run(["norman_all"], range(2), data=None, out=tmp_path)) == 2


def _prepared(adata):
    from benchmarks.suites import Prepared

    return Prepared(adata, {})


def test_a_campaign_ends_when_half_of_the_best_are_found(monkeypatch):
    monkeypatch.setattr(campaigns, "_batch", lambda adata, name, measured, rest, strategy, rng: list(rest[:6]))
    truth = pd.Series(np.arange(40.0), index=[f"P{i}" for i in range(40)], name="p")
    found = campaigns.play(None, truth, "balanced", seed=0)
    assert found["found"].iloc[-1] >= 0.5
    assert (found["found"].iloc[:-1] < 0.5).all()
    assert found["measured"].diff().dropna().isin([6, 4, 2]).all()


def test_campaigns_are_summed_up_beside_random_and_additive_choice():
    needed = pd.DataFrame(
        [
            {"seed": s, "strategy": name, "needed": n}
            for s in (0, 1)
            for name, n in zip(campaigns.STRATEGIES, (10, 12, 40, 20, 40), strict=True)
        ]
    )
    assert "| balanced | 10.0 | 0.25 | 0.50 |" in campaigns.summary(needed)
