from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression

import scperturbrl as spr
from scperturbrl import verifiers
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.reference.material import Material
from scperturbrl.data.reference.networks import Networks
from scperturbrl.data.reference.stored import read_reference
from scperturbrl.verifiers.components import PROJECTION, for_components

OPTIONAL = ["energy_witness", "specificity", "target_direction", "tf_activity", "plausibility", "identity_retention"]
OPTIONAL += ["nonresponder_stability"]


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=120,
        n_singles=4,
        n_doubles=3,
        n_cells_per_condition=60,
        n_controls=200,
        cell_types=("A", "B", "C"),
        n_programs=8,
        n_pathways=5,
        library_size=2000,
    )
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata)
    network = adata.uns["pathway_network"]
    parts = sorted({part for label in adata.obs["perturbation"].unique() for part in label.split("+")} - {"control"})
    names = dict(zip(sorted(network["source"].unique()), [parts[0], "TF1", "TF2", "TF3", "TF4"], strict=True))
    spr.pp.reference(adata, network=network, tf_network=network.assign(source=network["source"].map(names)))
    return adata


def tensors(adata):
    cells = Cells.of(adata)
    return cells, *read_reference(adata, cells, verifiers.resolve(OPTIONAL))


def test_nothing_is_computed_that_nobody_needs(screen):
    cells = Cells.of(screen)
    _, reference = read_reference(screen, cells, verifiers.resolve())
    assert dict(reference.prepared) == {}
    _, full = read_reference(screen, cells, verifiers.resolve(OPTIONAL))
    assert set(full.prepared) == {item.name for own in verifiers.resolve(OPTIONAL) for item in own.prepares}


def test_held_out_cells_do_not_matter(screen):
    spoilt = screen.copy()
    values = spoilt.X.toarray()
    values[(spoilt.obs["split"] == "test").to_numpy()] *= 0.3
    spoilt.X = sparse.csr_matrix(values)
    before, after = (tensors(adata)[2].tensors() for adata in (screen, spoilt))
    assert set(before) == set(after)
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)


def test_targets_rivals_and_groups_follow_the_condition_table(screen):
    cells, table, reference = tensors(screen)
    of = cells.table.loc[table.conditions]
    for c, name in enumerate(table.conditions):
        own = [cells.genes[g] for g in reference.targets[c].tolist() if g >= 0]
        assert sorted(own) == sorted(set(of.loc[name, "parts"]) & set(cells.genes))
        rivals = of.index[(of["group"] == of.loc[name, "group"]) & (of["perturbation"] != of.loc[name, "perturbation"])]
        assert set(rivals) == {other for other, yes in zip(table.conditions, reference.rivals[c], strict=True) if yes}
    assert pd.crosstab(of["group"], reference.group.numpy()).astype(bool).sum(axis=1).eq(1).all()


def test_spread_is_that_of_the_control_cells(screen):
    cells, table, reference = tensors(screen)
    row = cells.control_row(cells.rows(table.conditions[:1])[0])
    own = cells.block(np.flatnonzero((cells.codes == row) & cells.is_training()))
    np.testing.assert_allclose(reference.spread[0], own.std(0, ddof=1), rtol=1e-3, atol=1e-5)


def test_components_are_orthonormal_and_their_cells_are_used_for_nothing_else(screen):
    cells, table, reference = tensors(screen)
    np.testing.assert_allclose(reference.projection.T @ reference.projection, np.eye(30), atol=1e-5)
    material = Material(cells, cells.is_training(), table, Networks.of(screen), bank_size=128, seed=0)
    inside = cells.block(np.flatnonzero(for_components(material))) @ material[PROJECTION]
    for points in (*reference.bank_points, *reference.landmarks):
        for point in points[~points.isnan().any(-1)][:5].numpy():
            assert np.abs(inside - point).max(1).min() > 1e-3


def test_the_identity_model_recognises_held_out_cells(screen):
    cells, table, reference = tensors(screen)
    test = np.flatnonzero(cells.split == "test")
    logits = cells.block(test) @ reference.identity_weight.numpy() + reference.identity_bias.numpy()
    names = sorted(set(cells.table.loc[table.conditions, "group"]))
    own = [names.index(name) for name in cells.table["group"].to_numpy()[cells.codes[test]]]
    train = np.flatnonzero(cells.is_training())
    label = [names.index(name) for name in cells.table["group"].to_numpy()[cells.codes[train]]]
    oracle = LogisticRegression(C=0.05, max_iter=500).fit(cells.block(train), label).score(cells.block(test), own)
    assert oracle > 0.55
    assert (logits.argmax(1) == own).mean() > oracle - 0.15


def test_a_targeted_factor_has_no_weight_and_the_response_can_be_read(screen):
    cells, table, reference = tensors(screen)
    response = screen.uns["tf_response"]
    assert list(response.index) == table.conditions
    np.testing.assert_allclose(response, reference.regulon_response, atol=1e-6)
    factor = response.columns[0] if response.columns[0].startswith("GENE") else response.columns[-1]
    column = list(response.columns).index(factor)
    targeted = [factor in cells.table.loc[name, "parts"] for name in table.conditions]
    assert any(targeted)
    assert (reference.regulon_weight[torch.tensor(targeted)][:, column] == 0).all()
    assert (reference.regulon_weight > 0).any()


def test_one_context_has_no_identity_and_says_so(toy):
    spr.tl.score(toy, verifiers=["identity_retention", "rmse_topk"])
    assert toy.obsm["score_observed"]["identity_retention"].isna().all()
    assert toy.obs["observed_reward"].notna().any()


def test_a_reference_without_regulons_leaves_no_old_response(screen):
    adata = screen.copy()
    del adata.uns["tf_network"]
    spr.pp.reference(adata)
    assert "tf_response" not in adata.uns
    spr.tl.score(adata, verifiers=["tf_activity", "rmse_topk"])
    assert adata.obsm["score_observed"]["tf_activity"].isna().all()
