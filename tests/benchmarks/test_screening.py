from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import campaigns, screening


def rows(seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=12)
    frame = pd.DataFrame({"truth": truth, "line": truth, "additive": -truth, "ridge": 0.0, "context_line": np.nan})
    frame["mean_response"], frame["width"], frame["mean_width"] = 0.0, 0.1, 0.2
    frame["condition"] = [f"C{i}" for i in range(12)]
    return frame.assign(suite="a", seed=seed, objective="size", kind="combination", support="supported", error=0.5)


def test_the_truth_is_ranked_perfectly_and_its_negative_worst():
    found = screening.scores(rows()).set_index("ranker")
    assert found.loc["line", ["spearman", "precision", "regret"]].tolist() == pytest.approx([1, 1, 0])
    assert found.loc["additive", "spearman"] == pytest.approx(-1)
    truth = rows()["truth"]
    assert found.loc["additive", "regret"] == pytest.approx((truth.max() - truth.min()) / truth.std())


def test_a_rule_that_says_the_same_of_all_is_as_good_as_chance():
    found = screening.scores(rows()).set_index("ranker")
    assert found.loc["ridge", "spearman"] == found.loc["context_line", "spearman"] == 0
    assert found.loc["ridge", "precision"] == pytest.approx(4 / 12)


def test_folds_with_few_conditions_are_ranked_together():
    few = pd.concat([rows(seed).head(2).assign(condition=[f"{seed}a", f"{seed}b"]) for seed in range(4)])
    found = screening.scores(few)
    assert set(found["seed"]) == {0}
    assert found.set_index("ranker").loc["line", "spearman"] == pytest.approx(1)


def test_the_summary_says_coverage_and_width():
    text = screening.summary(pd.concat([rows(0), rows(1)]))
    assert "| a | combination | 24 | 1.000 | 0.50 | supported 100% | 0.50 |" in text
    assert "| a | spearman | 1.000 |" in text


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
    assert found["truth"][0] == pytest.approx(np.sqrt(np.square(effect).mean()), rel=1e-3)


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
