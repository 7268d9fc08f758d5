from __future__ import annotations

import decoupler as dc
import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score


def network_matrix(adata):
    network = adata.uns["pathway_network"].pivot(index="target", columns="source", values="weight")
    return network.reindex(adata.var_names).fillna(0)


def test_loadings_are_sparse_and_signed(screen):
    loadings = screen.uns["truth"]["program_loadings"]
    assert (loadings != 0).sum().eq(18).all()
    assert 0.2 < (loadings < 0).to_numpy().sum() / (loadings != 0).to_numpy().sum() < 0.5


def test_network_is_a_table_of_known_genes(screen):
    network = screen.uns["pathway_network"]
    assert list(network.columns) == ["source", "target", "weight"]
    assert network["target"].isin(screen.var_names).all()
    assert not network.duplicated(["source", "target"]).any()
    assert network["source"].nunique() == 14
    assert network.groupby("source").size().min() >= 5
    assert network["weight"].ne(0).all()


def test_network_misses_targets_and_invents_some(screen):
    truth, network = screen.uns["truth"], network_matrix(screen)
    for pathway, program in truth["pathways"]["program"].items():
        member, known = truth["program_loadings"][program] != 0, network[pathway] != 0
        assert 0.1 < (member & ~known).sum() / member.sum() < 0.4
        assert 0.05 < (known & ~member).sum() / known.sum() < 0.3


def test_every_pathway_resembles_its_program_and_no_other(screen):
    truth, network = screen.uns["truth"], network_matrix(screen)
    programs = truth["program_loadings"]
    similarity = np.corrcoef(network.T, programs.T)[: network.shape[1], network.shape[1] :]
    own = truth["pathways"].loc[network.columns, "program"]
    assert programs.columns[similarity.argmax(axis=1)].tolist() == own.tolist()
    best = similarity.max(axis=1)
    assert 0.6 < best.mean() < 0.9
    assert best.max() < 0.98
    # Some signs are wrong.
    both = programs[own].to_numpy() * network.to_numpy()
    assert 0 < (both < 0).sum() / (both != 0).sum() < 0.15


def test_decoupler_scores_see_the_truth(screen):
    adata = screen.copy()
    dc.mt.ulm(adata, screen.uns["pathway_network"], tmin=5)
    score, labels = adata.obsm["score_ulm"], adata.obs["perturbation"]
    pathways, activity = screen.uns["truth"]["pathways"]["program"], screen.uns["truth"]["program_activity"]
    observed, true = [], []
    for name in screen.uns["truth"]["singles"].index:
        responders = score[(labels == name) & adata.obs["responder"]]
        observed.append(responders.mean() - score[labels == "control"].mean())
        true.append(activity.loc[name, pathways].to_numpy())
    observed, true = np.concatenate(observed), np.concatenate(true)
    strong = np.abs(true) > 0.5
    assert strong.sum() > 10
    assert (np.sign(observed[strong]) == np.sign(true[strong])).mean() > 0.9
    assert stats.pearsonr(observed, true)[0] > 0.8


def test_network_scores_order_single_cells_by_program_activity(screen):
    network = network_matrix(screen)
    score = screen.X.toarray() @ (network - network.mean()).to_numpy()
    auroc = []
    for column, program in enumerate(screen.uns["truth"]["pathways"]["program"]):
        activity = screen.obsm["program_activity"][program].to_numpy()
        extreme = np.abs(activity) > 0.8
        if np.unique(activity[extreme] > 0).size == 2:
            auroc.append(roc_auc_score(activity[extreme] > 0, score[extreme, column]))
    assert len(auroc) >= 5
    assert np.min(auroc) > 0.9
