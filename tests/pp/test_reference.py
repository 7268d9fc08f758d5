from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.reference.stored import read_reference
from scperturbrl.data.reference.wilcoxon import wilcoxon_statistic


def test_slots_hold_welch_statistics_of_training_cells(toy):
    dense = toy.X.toarray().astype(np.float64)
    training = (toy.obs["split"] == "train").to_numpy()
    control = dense[training & (toy.obs["perturbation"] == "control")]
    names = toy.varm["perturbation_effect"].columns
    assert set(names) == set(toy.obs["perturbation"][training]) - {"control"}
    for name in names:
        perturbed = dense[training & (toy.obs["perturbation"] == name)]
        t, p = stats.ttest_ind(perturbed, control, equal_var=False)
        np.testing.assert_allclose(toy.varm["perturbation_statistic"][name], t, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            toy.varm["perturbation_padj"][name], stats.false_discovery_control(p), rtol=1e-4, atol=1e-10
        )
    np.testing.assert_allclose(toy.varm["control_mean"]["all"], control.mean(0), rtol=1e-5)


def test_wilcoxon_replaces_the_statistic_only(toy):
    effect = toy.varm["perturbation_effect"].copy()
    spr.pp.reference(toy, method="wilcoxon")
    cells = Cells.of(toy)
    statistic, padj = wilcoxon_statistic(cells, cells.is_training(), list(effect.columns))
    np.testing.assert_array_equal(toy.varm["perturbation_statistic"].to_numpy().T, statistic)
    np.testing.assert_array_equal(toy.varm["perturbation_padj"].to_numpy().T, padj)
    pd.testing.assert_frame_equal(toy.varm["perturbation_effect"], effect)
    assert toy.uns["scperturbrl"]["reference"]["params"]["method"] == "wilcoxon"


@pytest.mark.parametrize("network", [True, False])
def test_the_reference_survives_a_file(toy, tmp_path, network):
    if not network:
        del toy.uns["pathway_network"]
        spr.pp.reference(toy)
    toy.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    first, second = (read_reference(adata, Cells.of(adata)) for adata in (toy, back))
    assert first[0].conditions == second[0].conditions
    for name in (
        "control_mean",
        "effect",
        "ranked_genes",
        "n_significant",
        "bank",
        "network",
        "pathway_weight",
        "pathway_scale",
    ):
        np.testing.assert_array_equal(getattr(first[1], name).numpy(), getattr(second[1], name).numpy(), err_msg=name)
    spr.tl.score(back)
    spr.tl.score(toy)
    pd.testing.assert_frame_equal(back.obsm["score_observed"], toy.obsm["score_observed"], check_index_type=False)


def test_without_a_network_the_pathway_verifier_is_silent(toy):
    del toy.uns["pathway_network"]
    spr.pp.reference(toy)
    calibration = toy.uns["scperturbrl"]["reference"]["calibration"]
    pathway = calibration[calibration["verifier"] == "pathway_activity"]
    assert (pathway["weight"] == 0).all()
    assert (calibration.loc[calibration["verifier"] == "pearson_topk", "weight"] == 1).all()
    assert toy.uns["pathway_response"].shape[1] == 0


def test_few_cells_are_named_and_left_out(toy):
    names = toy.varm["perturbation_effect"].columns
    small = toy[~((toy.obs["perturbation"] == names[0]) & (np.arange(toy.n_obs) % 4 > 0))].copy()
    with pytest.warns(
        UserWarning, match=f"1 training conditions have fewer than 10 cells.*'{names[0].replace('+', '.')}'"
    ):
        spr.pp.reference(small)
    assert list(small.varm["perturbation_effect"].columns) == list(names[1:])


def test_no_condition_with_enough_cells_is_an_error_that_says_how_many_there_are(toy):
    with pytest.raises(ValueError, match=r"has 31 cells \(most: 30\)"):
        spr.pp.reference(toy, min_cells=31)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "t-test"}, "must be one of 'welch', 'wilcoxon'"),
        ({"min_cells": 0}, "`min_cells` is 0"),
        ({"min_cells": 3}, "`min_cells` is 3.*at least 4"),
        ({"bank_size": 0}, "`bank_size` is 0"),
        ({"min_targets": -1}, "`min_targets` is -1"),
    ],
)
def test_settings_are_checked(toy, options, message):
    with pytest.raises(ValueError, match=message):
        spr.pp.reference(toy, **options)


def test_the_split_must_come_first():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    with pytest.raises(ValueError, match=r"Call `scperturbrl\.pp\.split\(adata\)` first"):
        spr.pp.reference(adata)


def test_a_network_changed_since_is_noticed(toy):
    toy.uns["pathway_network"] = toy.uns["pathway_network"].drop_duplicates("target").assign(source="only one")
    with pytest.raises(ValueError, match="network changed since the reference"):
        read_reference(toy, Cells.of(toy))


@pytest.fixture
def other_network(toy):
    """The same sets by name, with the weights of other genes."""
    network = toy.uns["pathway_network"]
    return network.assign(weight=-network["weight"].to_numpy()[::-1] - 1)


@pytest.mark.parametrize(
    "options", [{"min_cells": 10**6}, {"seed": -1}, {"min_targets": 10**6}, {"tf_network": pd.DataFrame({"gene": []})}]
)
def test_a_refused_call_leaves_the_data_as_they_were(toy, other_network, digest, options):
    before = digest(toy)
    with pytest.raises((ValueError, KeyError)):
        spr.pp.reference(toy, **{"network": other_network, "tf_network": other_network} | options)
    assert digest(toy) == before


@pytest.mark.parametrize("name", ["cross_fit", "_regulon_response"])
def test_an_error_in_the_middle_leaves_the_data_as_they_were(toy, other_network, digest, monkeypatch, name):

    def fail(*args):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(f"scperturbrl.data.reference.stored.{name}", fail)
    before = digest(toy)
    with pytest.raises(RuntimeError, match="in the middle"):
        spr.pp.reference(toy, network=other_network, tf_network=other_network)
    assert digest(toy) == before


def test_a_given_network_is_what_all_is_computed_with(toy, other_network):
    stored = toy.copy()
    spr.pp.reference(toy, network=other_network, tf_network=other_network)
    stored.uns["pathway_network"] = stored.uns["tf_network"] = other_network
    spr.pp.reference(stored)
    for slot in ("pathway_network", "pathway_response", "tf_response"):
        pd.testing.assert_frame_equal(toy.uns[slot], stored.uns[slot])
    first, second = (adata.uns["scperturbrl"]["reference"] for adata in (toy, stored))
    pd.testing.assert_frame_equal(first["calibration"], second["calibration"])
    assert first["networks"] == second["networks"]


@pytest.mark.parametrize("slot", ["pathway_network", "tf_network"])
@pytest.mark.parametrize("change", ["other weights", "deleted"])
def test_other_weights_under_the_same_names_are_noticed(toy, other_network, slot, change):
    spr.pp.reference(toy, tf_network=toy.uns["pathway_network"])
    spr.tl.score(toy)
    if change == "deleted":
        del toy.uns[slot]
    else:
        toy.uns[slot] = other_network
    with pytest.raises(ValueError, match=rf"uns\['{slot}'\].*is not the network.*pp.reference\(adata\)` again"):
        spr.tl.score(toy)


def test_the_same_network_in_another_form_is_no_other_one(toy):
    network = toy.uns["pathway_network"]
    turned = network.iloc[::-1].astype({"source": "category"})
    absent = network.iloc[:1].assign(target="not in the data")
    for same in (turned, pd.concat([network, absent])):
        toy.uns["pathway_network"] = same
        read_reference(toy, Cells.of(toy))


def test_a_network_without_weights_in_uns_is_understood(toy):
    toy.uns["pathway_network"] = toy.uns["pathway_network"][["source", "target"]]
    spr.pp.reference(toy)
    assert toy.uns["pathway_response"].shape[1] == 4


def test_the_seed_and_bank_size_decide_the_bank(toy):
    cells = Cells.of(toy)
    banks = []
    for options in ({"seed": 0}, {"seed": 0}, {"seed": 1}, {"seed": np.random.default_rng(0)}):
        spr.pp.reference(toy, bank_size=9, **options)
        banks.append(read_reference(toy, cells)[1].bank.numpy())
    assert banks[0].shape[1] == 9
    np.testing.assert_array_equal(banks[0], banks[1])
    assert not np.array_equal(banks[0], banks[2])
    assert not np.array_equal(banks[0], banks[3])


def test_jak_stat_answers_interferon(kang_reference):
    response = kang_reference.uns["pathway_response"]
    assert response.shape == (7, 14)
    assert (response.abs().idxmax(axis=1) == "JAK-STAT").all()
    assert (response["JAK-STAT"] > 0.4).all()


def test_the_whole_room_works_without_warnings(toy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # raised inside scanpy and anndata under pandas 3
        warnings.filterwarnings("ignore", "The '.*' option is deprecated|.*PDEP", DeprecationWarning)
        spr.pp.reference(toy, network=toy.uns["pathway_network"], method="wilcoxon")
