from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scperturbrl as spr
from scperturbrl._core.modality import without_pulling


@pytest.fixture(autouse=True)
def new_behaviour():
    with without_pulling():
        yield


@pytest.fixture
def joined(fitted):
    return spr.tl.predict(fitted, n_cells=7, as_mudata=True)


def test_the_whole_road_inside_a_modality_gives_what_it_gives_outside(toy, fitted):
    cells = spr.datasets.toy()
    proteins = AnnData(np.ones((cells.n_obs, 2), dtype=np.float32), obs=pd.DataFrame(index=cells.obs_names))
    proteins.var_names = ["CD3", "CD4"]
    data = mudata.MuData({"rna": cells, "adt": proteins})
    spr.pp.setup_anndata(data, modality="rna")
    spr.pp.split(data, validation_fraction=0.15)
    spr.pp.reference(data)
    spr.tl.fit_generator(data, n_steps=40, width=16, n_latent=6, n_blocks=1, batch_size=64)
    spr.tl.generate(data)
    spr.tl.score(data, layer="generator")
    rna = data["rna"]
    pd.testing.assert_frame_equal(rna.varm["perturbation_effect"], toy.varm["perturbation_effect"])
    for name, weight in fitted.uns["generator"]["weights"].items():
        np.testing.assert_array_equal(rna.uns["generator"]["weights"][name], weight)
    spr.tl.generate(fitted)
    np.testing.assert_array_equal(rna.layers["generator"].toarray(), fitted.layers["generator"].toarray())
    frame = spr.get.verifier_scores(data, key="generator", modality="rna")
    pd.testing.assert_frame_equal(frame, spr.get.verifier_scores(rna, key="generator"))
    assert spr.pl.verifier_scores(data, key="generator", verifiers="rmse_topk", show=False).get_title()
    assert "scperturbrl" not in proteins.uns


def test_observed_cells_come_first_and_generated_ones_are_those_of_predict(fitted, joined, dense):
    plain = spr.tl.predict(fitted, n_cells=7)
    rna = joined["rna"]
    assert rna.obs_names.tolist() == [*fitted.obs_names, *plain.obs_names]
    assert rna.var_names.tolist() == fitted.var_names.tolist()
    np.testing.assert_allclose(dense(rna.X[: fitted.n_obs]), dense(fitted.X), rtol=1e-6)
    np.testing.assert_array_equal(dense(rna.X[fitted.n_obs :]), dense(plain.X))
    assert joined.obs["origin"].value_counts().to_dict() == {"observed": fitted.n_obs, "generated": plain.n_obs}
    assert rna.uns["prediction"]["params"]["n_cells"] == 7


def test_columns_tell_cells_apart(fitted, joined):
    obs = joined.obs
    observed = (obs["origin"] == "observed").to_numpy()
    assert obs.loc[observed, "perturbation"].tolist() == fitted.obs["perturbation"].tolist()
    assert obs.loc[observed, "split"].astype(str).tolist() == fitted.obs["split"].astype(str).tolist()
    assert (obs.loc[~observed, "split"] == "test").all()
    assert obs["condition"].notna().all()
    assert set(obs["generator_source"]) <= set(fitted.obs_names)


def test_pathways_are_those_of_decoupler(fitted, joined, dense):
    import decoupler as dc

    control = dense(fitted.X)[(fitted.obs["perturbation"] == "control").to_numpy()].mean(0)
    rows = [0, 5, fitted.n_obs + 3, joined.n_obs - 1]
    effects = pd.DataFrame(dense(joined["rna"].X)[rows] - control, columns=fitted.var_names)
    expected, _ = dc.mt.ulm(effects, fitted.uns["pathway_network"], tmin=1)
    pathway = joined["pathway"]
    found = pd.DataFrame(pathway.X[rows], columns=pathway.var_names)[expected.columns]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_round_trip_through_h5mu(joined, tmp_path, dense):
    joined.write_h5mu(tmp_path / "cells.h5mu")
    back = mudata.read_h5mu(tmp_path / "cells.h5mu")
    assert list(back.mod) == ["rna", "pathway"]
    np.testing.assert_array_equal(dense(back["rna"].X), dense(joined["rna"].X))
    np.testing.assert_array_equal(back["pathway"].X, joined["pathway"].X)
    for column in joined.obs:
        assert back.obs[column].astype(str).tolist() == joined.obs[column].astype(str).tolist()
    conditions = joined["rna"].uns["prediction"]["conditions"]
    pd.testing.assert_frame_equal(
        back["rna"].uns["prediction"]["conditions"], conditions, check_dtype=False, check_index_type=False
    )


def test_a_fitted_modality_survives_h5mu(fitted, tmp_path):
    mudata.MuData({"rna": fitted}).write_h5mu(tmp_path / "fitted.h5mu")
    back = mudata.read_h5mu(tmp_path / "fitted.h5mu")
    found = spr.tl.predict(back, ["GENE014"], n_cells=5)
    np.testing.assert_array_equal(found.X.toarray(), spr.tl.predict(fitted, ["GENE014"], n_cells=5).X.toarray())


def test_contexts_have_their_own_controls(context, dense):
    joined = spr.tl.predict(context, n_cells=4, as_mudata=True)
    obs = joined.obs
    assert {"cell_type", "dose"} <= set(obs)
    means = (
        joined["pathway"].to_df().groupby([obs["cell_type"], obs["perturbation"] == "control"], observed=True).mean()
    )
    # against another cell type's controls, the control cells of one would be far from 0
    assert means.loc[("T", True)].abs().max() < 1.5
    assert means.loc[("B", True)].abs().max() < 1.5


def test_a_pathway_named_like_a_gene_is_told_from_it(fitted):
    network = fitted.uns["pathway_network"]
    first = network["source"].iloc[0]
    fitted.uns["pathway_network"] = network.replace({"source": {first: "GENE014"}})
    joined = spr.tl.predict(fitted, n_cells=3, as_mudata=True)
    assert "GENE014_activity" in joined["pathway"].var_names
    assert joined.var_names.is_unique


def test_what_cannot_be_joined(fitted):
    with pytest.raises(ValueError, match="`output` is 'counts', but observed cells are log-normalised"):
        spr.tl.predict(fitted, output="counts", as_mudata=True)
    del fitted.uns["pathway_network"]
    with pytest.raises(KeyError, match=r"pp\.pathway_network\(adata, network\)"):
        spr.tl.predict(fitted, as_mudata=True)
