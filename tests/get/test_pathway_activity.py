from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr


def test_activity_is_what_decoupler_says_of_the_same_effects(adata):
    import decoupler as dc

    frame = spr.get.pathway_activity(adata)
    effects = spr.get.effects(adata, n_top=1)
    for model, value in (("observed", "observed"), ("generator", "predicted"), ("generator_rl", "predicted")):
        source = effects[effects["model"] == model.replace("observed", "generator")]
        wide = source.pivot(index="condition", columns="gene", values=value)
        expected, _ = dc.mt.ulm(wide, adata.uns["pathway_network"], tmin=1)
        found = frame[frame["model"] == model].pivot(index="condition", columns="pathway", values="activity")
        pd.testing.assert_frame_equal(
            found, expected.loc[found.index, found.columns], check_names=False, rtol=1e-3, atol=1e-3, check_dtype=False
        )


def test_order_follows_the_request(adata):
    names = sorted(adata.uns["pathway_network"]["source"].unique())[:2][::-1]
    frame = spr.get.pathway_activity(adata, keys="generator", conditions=["GENE034", "GENE014"], pathways=names)
    assert frame["condition"].unique().tolist() == ["GENE034", "GENE014"]
    assert frame["pathway"].tolist() == names * 4
    assert frame["model"].tolist() == ["observed"] * 2 + ["generator"] * 2 + ["observed"] * 2 + ["generator"] * 2


def test_no_network_and_unknown_pathway(adata):
    with pytest.raises(ValueError, match="`pathways` names 'nothing'"):
        spr.get.pathway_activity(adata, pathways="nothing")
    del adata.uns["pathway_network"]
    with pytest.raises(KeyError, match=r"pp\.pathway_network\(adata, network\)"):
        spr.get.pathway_activity(adata)


def test_a_label_stands_for_all_its_contexts(adata):
    spr.pp.setup_anndata(adata, covariate_keys=["batch"])
    adata.obs["all"] = "train"
    spr.pp.split(adata, holdout="column", column="all")
    frame = spr.get.pathway_activity(adata, keys="generator", conditions="GENE014")
    batches = adata.obs.loc[adata.obs["perturbation"] == "GENE014", "batch"].unique()
    assert sorted(frame["condition"].unique()) == sorted(f"GENE014 | batch={batch}" for batch in batches)
    assert np.isfinite(frame["activity"]).all()
