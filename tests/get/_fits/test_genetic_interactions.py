from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl.screen.interactions import fit_interaction


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=200, n_singles=5, n_doubles=4, n_cells_per_condition=60, n_controls=200, seed=2
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    return adata


def test_coefficients_are_those_of_the_fit(screen):
    frame = spr.get.genetic_interactions(screen)
    assert frame["condition"].tolist() == [name for name in screen.obs["perturbation"].cat.categories if "+" in name]
    row = frame.iloc[0]
    keep = ~screen.var_names.isin([row["first"], row["second"]])
    own = [
        screen[screen.obs["perturbation"] == name].X.toarray()[:, keep]
        for name in (row["first"], row["second"], row["condition"], "control")
    ]
    expected = fit_interaction(own)
    assert row["first_coefficient"] == pytest.approx(expected.fit.first, rel=1e-5)
    assert row["second_high"] == pytest.approx(
        expected.interval(expected.fit.second, expected.second_error)[1], rel=1e-4
    )
    assert row["magnitude"] == pytest.approx(np.hypot(row["first_coefficient"], row["second_coefficient"]))
    assert row["interaction"] == expected.kind
    assert set(frame["split"]) <= {"train", "validation", "test"}
    assert (frame["n_cells"] == 60).all()


def test_layers_are_judged_by_their_own_parts(screen):
    adata = screen.copy()
    # a model in which every pair does what its first part does alone
    label, rng = adata.obs["perturbation"].astype(str).to_numpy(), np.random.default_rng(0)
    rates = {name: np.expm1(adata.X[label == name].toarray()).mean(0) for name in set(label)}
    layer = np.stack([rng.poisson(0.5 * rates[name.split("+")[0]]) / 0.5 for name in label])
    adata.layers["first_only"] = np.log1p(layer)
    frame = spr.get.genetic_interactions(adata, layers="first_only")
    own = frame[frame["model"] == "first_only"]
    assert frame["model"].unique().tolist() == ["observed", "first_only"]
    np.testing.assert_allclose(own["first_coefficient"], 1, atol=0.15)
    np.testing.assert_allclose(own["second_coefficient"], 0, atol=0.15)


def test_pairs_that_nobody_measured_come_from_predictions(screen):
    measured = set(screen.obs["perturbation"])
    singles = sorted(name for name in measured if name != "control" and "+" not in name)
    pair = next(f"{a}+{b}" for a in singles for b in singles if a < b and f"{a}+{b}" not in measured)
    a, b = pair.split("+")
    parts = screen[screen.obs["perturbation"].isin([a, b])].copy()
    made = screen[screen.obs["perturbation"] == a].copy()
    made.obs["perturbation"] = pair
    new = ad.concat([parts, made], index_unique="-")
    new.obs["perturbation"] = new.obs["perturbation"].astype("category")
    frame = spr.get.genetic_interactions(screen, pairs=f"{b}+{a}", predictions=new)
    assert frame[["condition", "model", "split"]].to_numpy().tolist() == [[pair, "prediction", "test"]]


def test_errors_name_what_is_wrong(screen):
    with pytest.raises(KeyError, match="There is no condition 'GENE000"):
        spr.get.genetic_interactions(screen, pairs="GENE000+NONE")
    single = next(name for name in screen.obs["perturbation"].cat.categories if name != "control" and "+" not in name)
    with pytest.raises(ValueError, match=f"'{single}' in `pairs` does not have 20 cells of the pair"):
        spr.get.genetic_interactions(screen, pairs=single)
    with pytest.raises(ValueError, match="`min_cells` is 5; the standard errors need at least 20"):
        spr.get.genetic_interactions(screen, min_cells=5)
    with pytest.raises(ValueError, match="No pair has 500 cells"):
        spr.get.genetic_interactions(screen, min_cells=500)
    with pytest.raises(KeyError, match=r"tl\.generate\(adata, key='mine'\)"):
        spr.get.genetic_interactions(screen, layers="mine")
    with pytest.raises(ValueError, match="`predictions` has 3 genes, `adata` 200"):
        spr.get.genetic_interactions(screen, predictions=screen[:, :3].copy())


def test_nothing_is_claimed_of_weak_real_pairs(norman):
    spr.pp.setup_anndata(norman)
    spr.pp.split(norman)
    frame = spr.get.genetic_interactions(norman)
    assert sorted(frame["condition"]) == [
        "KLF1+MAP2K6",
        "KLF1+TGFBR2",
        "MAP2K3+MAP2K6",
        "MAP2K3+SLC38A2",
        "MAPK1+TGFBR2",
    ]
    # 126 genes that vary, and a hundred control cells
    assert (frame["interaction"] == "unclear").all()
    assert (frame["signal"] < 0.5).all()


def test_a_model_without_its_parts_is_reported(screen):
    pairs = screen[screen.obs["perturbation"].str.contains("+", regex=False)].copy()
    with pytest.warns(UserWarning, match="'prediction' has no rows in the table, because it does not have 20 cells"):
        frame = spr.get.genetic_interactions(screen, predictions=pairs)
    assert frame["model"].unique().tolist() == ["observed"]
