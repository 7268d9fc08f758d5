from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scperturbrl.datasets import simulated_perturbseq


def doubles(adata, kind):
    table = adata.uns["truth"]["interaction"]
    return table[table["type"] == kind]


def relative_deviation(adata, double, *, suffix=""):
    effects, first_second = adata.uns["truth"]["effects"], double.split("+")
    total = sum(effects[name + suffix] for name in first_second)
    return np.linalg.norm(effects[double + suffix] - total) / np.linalg.norm(total)


def test_additive_doubles_are_the_sum_of_their_singles(screen):
    deviation = [relative_deviation(screen, name) for name in doubles(screen, "additive").index]
    assert len(deviation) == 9
    assert np.max(deviation) < 1e-12


@pytest.mark.parametrize("kind", ["buffered", "epistatic", "neomorphic"])
def test_other_doubles_are_not(screen, kind):
    deviation = [relative_deviation(screen, name) for name in doubles(screen, kind).index]
    assert len(deviation) >= 3
    assert np.min(deviation) > 0.1


def test_epistatic_double_resembles_one_single(screen):
    activity = screen.uns["truth"]["program_activity"]
    for name, row in doubles(screen, "epistatic").iterrows():
        dominant = row["first"] if row["first_weight"] == 1 else row["second"]
        masked = row["second"] if row["first_weight"] == 1 else row["first"]
        np.testing.assert_allclose(activity.loc[name], activity.loc[dominant] + 0.1 * activity.loc[masked])


def test_buffered_double_points_like_the_sum_but_is_weaker(screen):
    activity = screen.uns["truth"]["program_activity"]
    for name, row in doubles(screen, "buffered").iterrows():
        total = activity.loc[row["first"]] + activity.loc[row["second"]]
        assert np.corrcoef(total, activity.loc[name])[0, 1] == pytest.approx(1)
        assert np.linalg.norm(activity.loc[name]) < 0.7 * np.linalg.norm(total)


def test_neomorphic_double_uses_programs_that_its_singles_do_not(screen):
    activity = screen.uns["truth"]["program_activity"]
    for name, row in doubles(screen, "neomorphic").iterrows():
        unused = (activity.loc[row["first"]] == 0) & (activity.loc[row["second"]] == 0)
        assert (activity.loc[name, unused] != 0).sum() == 2


def test_direct_effects_on_targets_always_add(screen):
    truth = screen.uns["truth"]
    direct = truth["effects"] - truth["program_loadings"] @ truth["program_activity"].T
    for name in truth["interaction"].index:
        targets = name.split("+")
        np.testing.assert_allclose(direct.loc[targets, name], truth["singles"].loc[targets, "target_effect"])
        assert np.allclose(direct[name].drop(targets), 0)


def test_additive_doubles_add_in_the_cells(screen):
    frame, labels = screen.to_df(), screen.obs["perturbation"]
    mean = frame.groupby(labels, observed=True).mean()
    effect = mean - mean.loc["control"]
    agreement = {}
    for kind in ("additive", "epistatic", "neomorphic"):
        rows = doubles(screen, kind)
        totals = [effect.loc[a] + effect.loc[b] for a, b in rows[["first", "second"]].to_numpy()]
        pairs = zip(rows.index, totals, strict=True)
        agreement[kind] = np.mean([stats.pearsonr(effect.loc[name], total)[0] for name, total in pairs])
    assert agreement["additive"] > 0.85
    assert agreement["additive"] > max(agreement["epistatic"], agreement["neomorphic"]) + 0.05


def test_families_share_their_response(screen):
    truth = screen.uns["truth"]
    family = truth["singles"]["family"].to_numpy()
    similarity = np.abs(np.corrcoef(truth["program_activity"].loc[truth["singles"].index]))
    same = family[:, None] == family[None, :]
    off_diagonal = ~np.eye(len(family), dtype=bool)
    assert similarity[same & off_diagonal].mean() > similarity[~same].mean() + 0.2


def test_effect_grows_with_dose(dosed):
    truth = dosed.uns["truth"]
    for name in truth["singles"].index:
        size = [np.linalg.norm(truth["effects"][f"{name}@{dose}"]) for dose in ("0.1", "1", "10")]
        assert size[0] < size[1] < size[2]
        assert size[2] < np.linalg.norm(truth["effects"][f"{name}@1"]) / 0.2


def test_dose_response_is_the_hill_curve(dosed):
    truth = dosed.uns["truth"]
    direct = truth["effects"] - truth["program_loadings"] @ truth["program_activity"].T
    for name, row in truth["singles"].iterrows():
        for dose in (0.1, 1.0, 10.0):
            share = dose ** row["hill"] / (row["ec50"] ** row["hill"] + dose ** row["hill"])
            assert direct.loc[name, f"{name}@{dose:g}"] == pytest.approx(share * row["target_effect"])


def test_cells_show_the_dose(dosed):
    frame, obs = dosed.to_df(), dosed.obs
    assert (obs.loc[obs["perturbation"] == "control", "dose"] == 0).all()
    for gene in dosed.uns["truth"]["singles"].index:
        own = obs["responder"] & (obs["perturbation"] == gene)
        level = frame.loc[own, gene].groupby(obs.loc[own, "dose"]).mean()
        assert list(level.index) == [0.1, 1.0, 10.0]
        assert level.iloc[0] < level.iloc[2]


def test_doubles_are_measured_at_the_highest_dose_and_add_there(dosed):
    doses = dosed.obs.loc[dosed.obs["perturbation"].str.contains("+", regex=False), "dose"]
    assert set(doses) == {10.0}
    additive = doubles(dosed, "additive").index
    assert len(additive) >= 1
    assert max(relative_deviation(dosed, name, suffix="@10") for name in additive) < 1e-12


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 20), st.lists(st.integers(0, 4), min_size=4, max_size=4).filter(any))
def test_shares_of_interactions_are_kept_within_one(n_doubles, parts):
    share = np.array(parts) / sum(parts)
    adata = simulated_perturbseq(
        n_genes=40,
        n_singles=8,
        n_doubles=n_doubles,
        n_cells_per_condition=1,
        n_controls=1,
        n_programs=4,
        n_pathways=2,
        fraction_additive=share[0],
        fraction_buffered=share[1],
        fraction_epistatic=share[2],
    )
    types = adata.uns["truth"]["interaction"]["type"]
    counts = [(types == kind).sum() for kind in ("additive", "buffered", "epistatic", "neomorphic")]
    assert sum(counts) == n_doubles
    assert np.abs(np.array(counts) - n_doubles * share).max() < 1
