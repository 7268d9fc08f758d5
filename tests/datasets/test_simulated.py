from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse, stats
from sklearn.metrics import roc_auc_score

from scperturbrl.datasets import simulated_perturbseq, toy

SMALL = {"n_genes": 60, "n_singles": 4, "n_doubles": 3, "n_cells_per_condition": 10, "n_controls": 20}


def expected_counts(adata):
    # Recomputed from the documented formula and the truth in the object alone.
    truth, obs = adata.uns["truth"], adata.obs
    direct = truth["effects"] - truth["program_loadings"] @ truth["program_activity"].T
    row = obs["perturbation"].astype(str) + (obs["dose"].map("@{:g}".format) if "dose" in obs else "")
    log_rate = truth["baseline"][obs["batch"]].to_numpy().T
    log_rate = log_rate + adata.obsm["program_activity"].to_numpy() @ truth["program_loadings"].to_numpy().T
    own = direct.reindex(columns=row).fillna(0).to_numpy().T
    log_rate = log_rate + obs[["response_strength"]].to_numpy() * own
    rate = np.exp(log_rate)
    return obs[["library_size"]].to_numpy() * rate / rate.sum(axis=1, keepdims=True)


def assert_same(left, right):
    if isinstance(right, dict):
        assert left.keys() == right.keys()
        for name in right:
            assert_same(left[name], right[name])
    elif isinstance(right, pd.DataFrame):
        # text may come back from a file as another type of text
        pd.testing.assert_frame_equal(left, right, check_exact=True, check_index_type=False, check_column_type=False)
    elif sparse.issparse(right):
        assert (left != right).nnz == 0
    else:
        assert np.array_equal(left, right)


def assert_same_object(left, right):
    for part in ("X", "obs", "var"):
        assert_same(getattr(left, part), getattr(right, part))
    for part in ("layers", "obsm", "uns"):
        assert_same(dict(getattr(left, part)), dict(getattr(right, part)))


def effect_projection(adata, perturbation):
    cells = adata.X.toarray()
    center = cells[(adata.obs["perturbation"] == "control").to_numpy()].mean(axis=0)
    effect = adata.uns["truth"]["effects"][perturbation].to_numpy()
    return (cells - center) @ (effect - effect.mean())


def test_same_seed_same_object():
    assert_same_object(simulated_perturbseq(**SMALL, seed=7), simulated_perturbseq(**SMALL, seed=7))


def test_seeds_differ_in_biology_and_in_counts():
    one, two = simulated_perturbseq(**SMALL, seed=7), simulated_perturbseq(**SMALL, seed=8)
    assert (one.layers["counts"] != two.layers["counts"]).nnz > 0
    assert not np.allclose(one.uns["truth"]["program_loadings"], two.uns["truth"]["program_loadings"])


def test_global_random_state_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    simulated_perturbseq(**SMALL)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_number_of_cells_leaves_the_biology_alone():
    one, two = simulated_perturbseq(**SMALL), simulated_perturbseq(**{**SMALL, "n_controls": 30})
    pd.testing.assert_frame_equal(one.uns["truth"]["effects"], two.uns["truth"]["effects"])
    pd.testing.assert_frame_equal(one.uns["pathway_network"], two.uns["pathway_network"])


def test_default_design():
    adata = simulated_perturbseq()
    counts = adata.layers["counts"]
    assert adata.shape == (1200 + 44 * 120, 1000)
    assert adata.obs["perturbation"].value_counts().drop("control").eq(120).all()
    assert 0.25 < 1 - counts.nnz / np.prod(counts.shape) < 0.6
    assert counts.sum(axis=1).mean() == pytest.approx(6000, rel=0.02)
    types = adata.uns["truth"]["interaction"]["type"].value_counts().to_dict()
    assert types == {"additive": 11, "buffered": 6, "epistatic": 4, "neomorphic": 3}


def test_matrices(screen):
    counts = screen.layers["counts"]
    for matrix in (screen.X, counts):
        assert sparse.issparse(matrix)
        assert matrix.format == "csr"
        assert matrix.dtype == np.float32
    assert np.array_equal(counts.data, np.rint(counts.data))
    assert counts.data.min() >= 1


def test_x_is_what_scanpy_makes_of_the_counts(screen):
    other = anndata.AnnData(screen.layers["counts"].copy())
    sc.pp.normalize_total(other, target_sum=1e4)
    sc.pp.log1p(other)
    np.testing.assert_allclose(screen.X.toarray(), other.X.toarray(), rtol=1e-4, atol=1e-5)


def test_perturbations_are_genes(screen):
    names = {part for label in screen.uns["truth"]["conditions"]["perturbation"] for part in label.split("+")}
    assert names <= set(screen.var_names)
    assert screen.uns["truth"]["singles"].index.isin(screen.var_names).all()
    assert screen.obs["perturbation"].cat.categories[0] == "control"


def test_every_condition_has_every_cell_type(screen):
    table = pd.crosstab(screen.obs["perturbation"], screen.obs["cell_type"])
    assert (table["A"] - table["B"]).abs().max() <= 1


def test_counts_follow_the_negative_binomial(screen):
    mean, counts = expected_counts(screen), screen.layers["counts"].toarray()
    theta = screen.uns["truth"]["parameters"]["dispersion"]
    rng = np.random.default_rng(0)
    law = stats.nbinom(theta, theta / (theta + mean))
    below = law.cdf(counts - 1)
    uniform = below + rng.random(counts.shape) * (law.cdf(counts) - below)
    # A million randomised quantiles: a wrong mean or dispersion of 2 % would already exceed this distance.
    assert stats.kstest(uniform.ravel(), "uniform").statistic < 0.003


def test_targeted_genes_have_the_expected_counts(screen):
    mean = pd.DataFrame(expected_counts(screen), index=screen.obs_names, columns=screen.var_names)
    counts = screen.to_df(layer="counts")
    ratio = []
    for label, rows in screen.obs[screen.obs["responder"]].groupby("perturbation", observed=True).groups.items():
        targets = label.split("+")
        ratio.append((counts.loc[rows, targets] / mean.loc[rows, targets]).to_numpy().ravel())
    assert np.concatenate(ratio).mean() == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("dispersion", [1.0, 10.0])
def test_moments_follow_the_dispersion(dispersion):
    adata = simulated_perturbseq(**{**SMALL, "n_controls": 2000}, dispersion=dispersion, library_size=2000)
    mean, counts = expected_counts(adata), adata.layers["counts"].toarray()
    assert counts.sum() == pytest.approx(mean.sum(), rel=0.02)
    pearson = (counts - mean) ** 2 / (mean + mean**2 / dispersion)
    assert pearson.mean() == pytest.approx(1, abs=0.05)


def test_library_sizes_have_the_asked_mean():
    size = simulated_perturbseq(**{**SMALL, "n_controls": 4000}, library_size=800).obs["library_size"]
    assert size.mean() == pytest.approx(800, rel=0.02)
    assert size.std() / size.mean() > 0.2


def test_controls_and_nonresponders_have_no_response(screen):
    obs = screen.obs
    assert not obs.loc[obs["perturbation"] == "control", "responder"].any()
    assert (obs["response_strength"] > 0).eq(obs["responder"]).all()
    perturbed = obs[obs["perturbation"] != "control"]
    assert 1 - perturbed["responder"].mean() == pytest.approx(0.15, abs=0.03)
    assert perturbed.loc[perturbed["responder"], "response_strength"].mean() == pytest.approx(1, abs=0.05)


def test_response_separates_responders_and_nothing_separates_nonresponders_from_controls(screen):
    labels, responder = screen.obs["perturbation"].to_numpy(), screen.obs["responder"].to_numpy()
    separated, null = [], []
    for name in screen.uns["truth"]["effects"]:
        projection, own = effect_projection(screen, name), labels == name
        separated.append(roc_auc_score(responder[own], projection[own]))
        idle, control = projection[own & ~responder], projection[labels == "control"]
        null.append(roc_auc_score(np.repeat([1, 0], [idle.size, control.size]), np.concatenate([idle, control])))
    assert np.mean(separated) > 0.9
    assert np.min(separated) > 0.75
    assert np.mean(null) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("target_effect", [1.5, -1.5])
def test_targeted_gene_follows_the_sign_of_target_effect(target_effect):
    adata = simulated_perturbseq(
        n_genes=200, n_singles=8, n_doubles=0, n_cells_per_condition=100, target_effect=target_effect, n_controls=300
    )
    frame, labels = adata.to_df(), adata.obs["perturbation"]
    changes = []
    for gene in adata.uns["truth"]["singles"].index:
        responders = frame.loc[(labels == gene) & adata.obs["responder"], gene]
        changes.append(responders.mean() - frame.loc[labels == "control", gene].mean())
    assert (np.sign(changes) == np.sign(target_effect)).all()
    assert np.abs(changes).mean() > 0.7


def test_null_screen_has_no_effect():
    adata = simulated_perturbseq(**SMALL, effect_size=0)
    assert (adata.uns["truth"]["effects"] == 0).all(axis=None)


def test_cell_types_differ_at_baseline_and_scale_the_response_mildly(screen):
    truth = screen.uns["truth"]
    modulation = truth["cell_type_modulation"]
    np.testing.assert_allclose(modulation.mean(axis=0), 1)
    assert 0.02 < (modulation - 1).abs().to_numpy().mean() < 0.4
    controls = screen[(screen.obs["perturbation"] == "control").to_numpy()]
    type_a = (controls.obs["cell_type"] == "A").to_numpy()
    pvalue = stats.ttest_ind(controls.X[type_a].toarray(), controls.X[~type_a].toarray()).pvalue
    assert (pvalue < 1e-4).mean() > 0.1


def test_a_single_cell_type_is_not_modulated():
    assert (simulated_perturbseq(**SMALL).uns["truth"]["cell_type_modulation"] == 1).all(axis=None)


def test_program_activity_of_a_cell_is_state_plus_its_response(screen):
    truth, obs = screen.uns["truth"], screen.obs
    control = obs["perturbation"] == "control"
    response = truth["program_activity"].reindex(obs["perturbation"].astype(str)).fillna(0).to_numpy()
    modulation = truth["cell_type_modulation"].loc[obs["cell_type"]].to_numpy()
    rest = screen.obsm["program_activity"] - obs[["response_strength"]].to_numpy() * response * modulation
    rest = rest - truth["cell_type_activity"].loc[obs["cell_type"]].to_numpy()
    assert np.allclose(rest.iloc[:, :16], 0)
    assert rest.iloc[:, 16:].std().between(0.4, 0.6).all()
    assert stats.ks_2samp(rest.loc[control, "program24"], rest.loc[~control, "program24"]).pvalue > 1e-3


def test_toy():
    adata = toy()
    truth = adata.uns["truth"]
    assert adata.shape == (300, 60)
    assert len(truth["singles"]) == 4
    assert sorted(truth["interaction"]["type"]) == ["additive", "buffered", "epistatic"]
    assert adata.uns["pathway_network"].groupby("source").size().ge(5).sum() == 4
    assert (adata.obs["perturbation"] == "control").sum() == 90


@pytest.mark.parametrize("seed", range(4))
def test_toy_singles_move_their_pathways(seed):
    adata = toy(seed)
    net = adata.uns["pathway_network"].pivot(index="target", columns="source", values="weight")
    net = net.reindex(adata.var_names).fillna(0).to_numpy()
    score = adata.X.toarray() @ (net - net.mean(axis=0))
    labels = adata.obs["perturbation"].to_numpy()
    control = score[labels == "control"]
    for name in adata.uns["truth"]["singles"].index:
        assert stats.ttest_ind(score[labels == name], control).pvalue.min() < 1e-3


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("which", ["screen", "dosed", "smallest"])
def test_round_trip(kind, which, tmp_path, request):
    adata = request.getfixturevalue(which)
    path = tmp_path / f"screen.{kind}"
    if kind == "h5ad":
        adata.write_h5ad(path)
        again = anndata.read_h5ad(path)
    else:
        adata.write_zarr(path)
        again = anndata.read_zarr(path)
    assert_same_object(again, adata)
