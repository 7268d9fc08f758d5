from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr

DOSES = [0.1, 1.0, 10.0]


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=150, n_singles=4, n_doubles=1, n_cells_per_condition=60, n_controls=200, doses=DOSES, seed=5
    )
    spr.pp.setup_anndata(adata, dose_key="dose")
    adata.obs["all"] = "train"
    spr.pp.split(adata, holdout="column", column="all")
    return adata


def singles(adata):
    return sorted(name for name in set(adata.obs["perturbation"]) if name != "control" and "+" not in name)


def test_a_gene_is_its_mean_above_the_controls(screen):
    gene = singles(screen)[0]
    frame = spr.get.dose_values(screen, objective=gene, perturbations=gene)
    values = screen[:, gene].X.toarray().ravel()
    label, dose = screen.obs["perturbation"].to_numpy(), screen.obs["dose"].to_numpy()
    control = values[label == "control"]
    own = [values[(label == gene) & (dose == each)] for each in DOSES]
    np.testing.assert_allclose(frame["response"], [each.mean() - control.mean() for each in own], rtol=1e-4)
    error = [np.hypot(each.std(ddof=1) / 60**0.5, control.std(ddof=1) / 200**0.5) for each in own]
    np.testing.assert_allclose(frame["error"], error, rtol=1e-4)
    assert frame["n_cells"].tolist() == [60] * 3


def test_objectives_of_one_kind_agree(screen):
    genes = screen.var_names[:3].tolist()
    by_list = spr.get.dose_values(screen, objective=genes)
    by_weights = spr.get.dose_values(screen, objective=dict.fromkeys(genes, 2.0))
    by_function = spr.get.dose_values(screen, objective=lambda cells: cells[:, :3].mean(1))
    np.testing.assert_allclose(by_list["response"], by_weights["response"], atol=1e-6)
    np.testing.assert_allclose(by_list["response"], by_function["response"], atol=1e-5)


def test_a_pathway_is_weighted_by_its_network(screen):
    network = screen.uns["pathway_network"]
    name = network["source"].iloc[0]
    weights = network[network["source"] == name].set_index("target")["weight"].to_dict()
    left = spr.get.dose_values(screen, objective=name)["response"]
    np.testing.assert_allclose(left, spr.get.dose_values(screen, objective=weights)["response"], atol=1e-6)


def test_one_row_for_each_perturbation_with_enough_doses(screen):
    frame = spr.get.dose_response(screen)
    assert frame["perturbation"].tolist() == singles(screen)
    assert (frame["context"] == "all").all()
    assert (frame["n_doses"] == 3).all()
    clear = frame[frame["status"] == "fitted"]
    assert len(clear) >= 3
    assert (clear["ec50_low"] < clear["ec50"]).all()
    assert (clear["ec50"] < clear["ec50_high"]).all()


def test_no_response_has_no_curve(screen):
    rng = np.random.default_rng(0)
    noise = spr.get.dose_response(screen, objective=lambda cells: rng.normal(size=len(cells)))
    assert (noise["status"] == "no response").mean() >= 0.75
    silent = noise[noise["status"] == "no response"]
    assert silent[["ec50", "top", "slope_low", "r2"]].isna().all(axis=None)


def test_generated_cells_are_measured_along_the_same_direction(screen):
    adata = screen.copy()
    adata.layers["same"] = adata.X.copy()
    frame = spr.get.dose_values(adata, layers="same").pivot(
        index=["perturbation", "dose"], columns="model", values="response"
    )
    # in-sample a little longer than cross-fitted, and in the same order
    assert (frame["same"] >= frame["observed"] - 0.1).all()
    assert np.corrcoef(frame["same"], frame["observed"])[0, 1] > 0.98


def test_errors_name_what_is_wrong(screen):
    with pytest.raises(KeyError, match="There is no perturbation 'NONE'"):
        spr.get.dose_response(screen, perturbations="NONE")
    double = next(name for name in set(screen.obs["perturbation"]) if "+" in name)
    with pytest.raises(ValueError, match="does not have 3 doses with 4 cells"):
        spr.get.dose_response(screen, perturbations=[double])
    with pytest.raises(KeyError, match="neither a gene nor a pathway"):
        spr.get.dose_response(screen, objective="NOTHING")
    with pytest.raises(KeyError, match="`objective` names 'NOTHING', which is not a gene"):
        spr.get.dose_response(screen, objective=["NOTHING"])
    with pytest.raises(ValueError, match="must be finite, and not all 0"):
        spr.get.dose_response(screen, objective={screen.var_names[0]: 0.0})
    with pytest.raises(ValueError, match="expected a finite number for each cell"):
        spr.get.dose_response(screen, objective=lambda cells: cells)


def test_doses_must_be_declared(toy):
    with pytest.raises(ValueError, match="No dose was declared"):
        spr.get.dose_response(toy)
