from __future__ import annotations

import decoupler as dc
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse, stats

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.reference.moments import measured_effects
from scperturbrl.data.reference.networks import Networks
from scperturbrl.data.reference.statistics import draw_bank, fit_reference, target_mask
from scperturbrl.data.reference.wilcoxon import wilcoxon_statistic


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=80, n_singles=4, n_doubles=3, n_cells_per_condition=60, n_controls=160, cell_types=("B", "T")
    )
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    # with a gene that no training condition changes, decoupler would leave it out
    spr.pp.split(adata, seed=1)
    return adata


@pytest.fixture(scope="module")
def cells(screen):
    return Cells.of(screen)


@pytest.fixture(scope="module")
def names(cells):
    return cells.conditions("train")


@pytest.fixture(scope="module")
def table(screen, cells, names):
    return fit_reference(cells, cells.is_training(), conditions=names, network=Networks.of(screen).pathways[0])


def groups(screen, name):
    obs = screen.obs
    label, context = name.split(" | cell_type=")
    dense = screen.X.toarray().astype(np.float64)
    inside = (obs["cell_type"] == context) & (obs["split"] == "train")
    return dense[inside & (obs["perturbation"] == label)], dense[inside & (obs["perturbation"] == "control")]


def test_statistics_are_those_of_scipy(screen, table, names):
    for i, name in enumerate(names):
        perturbed, control = groups(screen, name)
        with np.errstate(divide="ignore", invalid="ignore"):
            t, p = stats.ttest_ind(perturbed, control, equal_var=False)
        np.testing.assert_allclose(table.statistic[i], np.nan_to_num(t), rtol=1e-4, atol=1e-5)
        expected = stats.false_discovery_control(np.nan_to_num(p, nan=1))
        np.testing.assert_allclose(table.padj[i], expected, rtol=1e-4, atol=1e-12)
        assert table.n_cells[i] == len(perturbed)


def test_effects_are_differences_of_means_shrunk_by_their_noise(screen, table, names):
    for i, name in enumerate(names):
        perturbed, control = groups(screen, name)
        effect = perturbed.mean(0) - control.mean(0)
        noise = perturbed.var(0, ddof=1) / len(perturbed) + control.var(0, ddof=1) / len(control)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.clip(1 - noise / effect**2, 0, None)
        np.testing.assert_allclose(table.mean_effect[i], effect, atol=1e-6)
        np.testing.assert_allclose(table.control_mean[i], control.mean(0), atol=1e-6)
        np.testing.assert_allclose(table.effect[i], np.where(effect == 0, 0, effect * factor), atol=1e-6)


def test_shrinking_only_brings_effects_nearer_to_zero(table):
    assert (np.abs(table.effect) <= np.abs(table.mean_effect)).all()
    assert (table.effect * table.mean_effect >= 0).all()
    assert (table.effect == 0).any()


def test_sparse_equals_dense(screen, cells, names, table):
    network = Networks.of(screen).pathways[0]
    for form in (np.asarray, sparse.csc_matrix, sparse.csr_array):
        other = screen.copy()
        other.X = form(screen.X.toarray())
        found = Cells.of(other)
        again = fit_reference(found, found.is_training(), conditions=names, network=network)
        for field in ("effect", "statistic", "padj", "control_mean", "pathway_response", "pathway_statistic"):
            np.testing.assert_allclose(
                getattr(again, field), getattr(table, field), rtol=1e-4, atol=1e-5, err_msg=field
            )


def test_pathway_responses_are_correlations_of_decoupler_ulm(screen, table, names):
    effects = pd.DataFrame(table.effect, index=names, columns=screen.var_names)
    t = dc.mt.ulm(effects, screen.uns["pathway_network"], tmin=0)[0]
    degrees = screen.n_vars - 2
    pathways = Networks.of(screen).pathways[1]
    r = (t / np.sqrt(t**2 + degrees))[pathways]
    np.testing.assert_allclose(table.pathway_response, r.to_numpy(), atol=2e-5)


def test_pathway_significance_is_welch_of_the_projections(screen, table, names):
    network = Networks.of(screen).pathways[0].astype(float)
    network -= network.mean(0)
    network /= np.linalg.norm(network, axis=0)
    for i, name in enumerate(names):
        t = stats.ttest_ind(*(group @ network for group in groups(screen, name)), equal_var=False).statistic
        np.testing.assert_allclose(table.pathway_statistic[i], t, rtol=1e-3, atol=1e-3)
    assert ((table.pathway_weight > 0) == (np.abs(table.pathway_statistic) > 2)).all()


def test_pathway_scale_is_the_spread_over_control_cells(screen, table, names):
    network = Networks.of(screen).pathways[0]
    control = groups(screen, names[0])[1]
    effects = control - control.mean(0)
    r = np.array([[np.corrcoef(cell, column)[0, 1] for column in network.T] for cell in effects])
    np.testing.assert_allclose(table.pathway_scale[0], r.std(0, ddof=1), rtol=1e-3)


def test_genes_are_ranked_by_statistic_without_the_targets(screen, table, names):
    ranked = table.ranked_genes()
    for i, name in enumerate(names):
        targets = set(name.split(" | ")[0].split("+"))
        order = screen.var_names[np.argsort(-np.abs(table.statistic[i]), kind="stable")]
        expected = [gene for gene in order if gene not in targets][: ranked.shape[1]]
        assert screen.var_names[ranked[i]].tolist() == expected
        assert table.targets[i].sum() == len(targets)


def test_unused_cells_do_not_matter(screen, cells, names, table):
    changed = screen.copy()
    dense = changed.X.toarray()
    dense[~cells.is_training()] = 7.5
    changed.X = dense
    again = Cells.of(changed)
    found = fit_reference(again, again.is_training(), conditions=names, network=Networks.of(screen).pathways[0])
    np.testing.assert_allclose(found.effect, table.effect, atol=1e-6)


def test_a_gene_without_variance_is_no_discovery():
    labels = ["control"] * 4 + ["A"] * 4
    values = np.random.default_rng(0).gamma(2, size=(8, 3))
    values[:4, 0], values[4:, 0] = 0, 2
    adata = AnnData(values, obs=pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(8)]))
    spr.pp.setup_anndata(adata)
    adata.obs["split"] = "train"
    cells = Cells.of(adata)
    table = fit_reference(cells, cells.is_training(), conditions=["A"], network=np.zeros((3, 0), dtype=np.float32))
    assert table.mean_effect[0, 0] == 2
    assert table.statistic[0, 0] == 0
    assert table.padj[0, 0] == 1


def test_too_few_cells_are_named(cells, names):
    with pytest.raises(ValueError, match="has 30 usable cells .*; at least 31 are needed"):
        fit_reference(
            cells, cells.is_training(), conditions=names, network=np.zeros((80, 0), dtype=np.float32), min_cells=31
        )


def test_the_bank_holds_real_cells_of_the_condition(screen, cells, names, table):
    ranked = table.ranked_genes()
    bank = draw_bank(cells, cells.is_training(), conditions=names, ranked=ranked, size=20, seed=0)
    assert bank.shape == (len(names), 20, min(50, ranked.shape[1]))
    for i, name in enumerate(names):
        own = groups(screen, name)[0][:, ranked[i, : bank.shape[2]]].astype(np.float32)
        assert {tuple(row) for row in bank[i]} <= {tuple(row) for row in own}
        assert len({tuple(row) for row in bank[i]}) == 20


def test_a_bank_larger_than_the_condition_is_padded(cells, names, table):
    bank = draw_bank(cells, cells.is_training(), conditions=names[:1], ranked=table.ranked_genes()[:1], size=99, seed=0)
    assert np.isnan(bank[0]).all(1).sum() == 99 - table.n_cells[0]
    assert not np.isnan(bank[0, : table.n_cells[0]]).any()


def test_wilcoxon_is_that_of_scanpy(screen, cells, names):
    statistic, padj = wilcoxon_statistic(cells, cells.is_training(), names)
    for context in ("B", "T"):
        part = screen[(screen.obs["cell_type"] == context) & (screen.obs["split"] == "train")].copy()
        part.obs["perturbation"] = part.obs["perturbation"].astype(str).astype("category")
        sc.tl.rank_genes_groups(part, "perturbation", reference="control", method="wilcoxon", tie_correct=True)
        for i, name in enumerate(names):
            label, own = name.split(" | cell_type=")
            if own == context:
                frame = sc.get.rank_genes_groups_df(part, label).set_index("names").loc[screen.var_names]
                np.testing.assert_allclose(statistic[i], frame["scores"], rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(padj[i], frame["pvals_adj"], rtol=1e-5, atol=1e-12)


def test_measured_effects_and_targets_are_those_of_the_reference(cells, table, names):
    measured = measured_effects(cells, cells.is_training(), names)
    np.testing.assert_array_equal(measured.effect.astype(np.float32), table.mean_effect)
    np.testing.assert_array_equal(measured.control_mean.astype(np.float32), table.control_mean)
    tested = table.statistic != 0
    np.testing.assert_allclose((measured.effect / np.sqrt(measured.noise))[tested], table.statistic[tested], rtol=1e-4)
    expected = [np.isin(cells.genes, cells.table.loc[name, "parts"]) for name in names]
    np.testing.assert_array_equal(target_mask(cells, cells.rows(names)), expected)
    assert np.any(expected)
