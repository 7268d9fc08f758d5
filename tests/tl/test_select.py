from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr


@pytest.fixture(scope="session")
def scored(fitted_toy):
    conditions = list(fitted_toy.varm["perturbation_effect"])[:2]
    made = spr.tl.predict(fitted_toy, conditions, n_cells=120)
    spr.tl.score(made, reference=fitted_toy)
    return made


@pytest.fixture
def made(scored):
    return scored.copy()


@pytest.mark.parametrize("method", ["best_of", "importance"])
def test_slots_are_as_documented(made, method, tmp_path):
    before = made.copy()
    table = spr.tl.select(made, n=4, method=method)
    assert set(made.obs) - set(before.obs) == {"generated_selected"}
    assert set(made.uns) - set(before.uns) == {"selection_generated"}
    assert made.obs["generated_selected"].dtype == bool
    assert made.obs.groupby("condition", observed=True)["generated_selected"].sum().eq(30).all()
    pd.testing.assert_frame_equal(made.uns["selection_generated"]["cost"], table)
    made.write_h5ad(tmp_path / "made.h5ad")


def test_rewards_rise_and_the_cost_is_told(made, caplog):
    with caplog.at_level("INFO"):
        table = spr.tl.select(made, n=6)
    assert (table["reward_selected"] > table["reward_all"]).all()
    for name, row in table.iterrows():
        own = made.obs[made.obs["condition"] == name]
        kept = own["generated_selected"]
        assert row["reward_all"] == pytest.approx(own["generated_reward"].mean())
        assert row["reward_selected"] == pytest.approx(own.loc[kept, "generated_reward"].mean())
        cells = made[own.index].X.toarray()
        variance, all_ = cells[kept.to_numpy()].var(0, ddof=1), cells.var(0, ddof=1)
        seen = (all_ > 0) & ((cells > 0).mean(0) >= 0.05)
        assert row["variance_ratio"] == pytest.approx(np.median(variance[seen] / all_[seen]), rel=1e-3)


def test_the_same_seed_keeps_the_same_cells(made):
    kept = [spr.tl.select(made, seed=seed) is None or made.obs["generated_selected"].to_numpy() for seed in (0, 0, 1)]
    np.testing.assert_array_equal(kept[0], kept[1])
    assert (kept[0] != kept[2]).any()


def test_a_layer_can_be_selected_from(fitted):
    spr.tl.generate(fitted)
    spr.tl.score(fitted, layer="generator")
    table = spr.tl.select(fitted, key="generator", n=3)
    control = (fitted.obs["perturbation"] == "control").to_numpy()
    assert not fitted.obs.loc[control, "generator_selected"].any()
    without = fitted.uns["score_generator"]["not_scored"]
    assert (table.loc[list(without), "selected_by"] == "chance").all()
    assert (table.loc[~table.index.isin(without), "selected_by"] == "reward").all()


def test_choosing_by_held_out_cells_is_refused(fitted):
    spr.tl.generate(fitted)
    spr.tl.score(fitted, layer="generator", reference="observed")
    with pytest.raises(ValueError, match="held-out cells.*invalid"):
        spr.tl.select(fitted, key="generator")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"key": "generatd"}, KeyError, "no scores named 'generatd'.*'generated'"),
        ({"method": "best"}, ValueError, "`method` is 'best'"),
        ({"n": 0}, ValueError, "`n` is 0"),
        ({"temperature": 0.0}, ValueError, "`temperature` is 0.0"),
    ],
)
def test_errors_name_value_and_remedy(made, options, error, message):
    with pytest.raises(error, match=message):
        spr.tl.select(made, **options)
