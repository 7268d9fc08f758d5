from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator.depth import depth_ratios, generated_units, measured_ratios, with_ratios
from scperturbrl.data.latent.cells import control_units

DEPTHS = {
    "x": {"control": 2000, "A": 1000, "B": 2000, "C": 500, "D": 1000},
    "y": {"control": 800, "A": 1600, "B": 800, "C": 200, "D": 800},
}
HELD_OUT = {("D", "x"), ("D", "y"), ("B", "y")}


@pytest.fixture(scope="module")
def adata():
    """Cells of one profile, whatever the condition, some conditions thinned; three are held out."""
    rng = np.random.default_rng(0)
    profile = rng.dirichlet(np.full(60, 2.0))
    rows, obs = [], []
    for group, of_group in DEPTHS.items():
        for label, size in of_group.items():
            rows.append(rng.poisson(size * rng.lognormal(0, 0.2, (80, 1)) * profile))
            obs += [(label, group, "test" if (label, group) in HELD_OUT else "train")] * 80
    found = ad.AnnData(sparse.csr_matrix(np.concatenate(rows).astype(np.float32)))
    found.obs = pd.DataFrame(obs, columns=["perturbation", "line", "split"], index=[f"c{i}" for i in range(len(obs))])
    sc.pp.normalize_total(found, target_sum=1e4)
    sc.pp.log1p(found)
    spr.pp.setup_anndata(found, covariate_keys=["line"])
    return found


@pytest.fixture(scope="module")
def cells(adata):
    return Cells.of(adata)


@pytest.fixture(scope="module")
def stored(cells):
    """What is kept of conditions in a generator."""
    table = cells.table
    split = ["test" if tuple(name.split(" | line=")) in HELD_OUT else "train" for name in table.index]
    frame = pd.DataFrame(
        {"perturbation": table["perturbation"], "n_parts": table["parts"].str.len(), "split": split}, index=table.index
    )
    return SimpleNamespace(conditions=with_ratios(frame, cells))


def test_ratios_are_those_by_which_cells_were_thinned(cells):
    found = dict(zip(cells.table.index, measured_ratios(cells), strict=True))
    assert found["A | line=x"] == pytest.approx(0.5, rel=0.1)
    assert found["C | line=x"] == pytest.approx(0.25, rel=0.1)
    assert found["A | line=y"] == pytest.approx(2, rel=0.1)
    # no more than chance
    assert found["B | line=x"] == found["control | line=x"] == found["control | line=y"] == 1
    assert all(np.isnan(found[f"{label} | line={line}"]) for label, line in HELD_OUT)


def shrunk(ratios):
    """Mean log ratio, less the share of its square that is its own noise."""
    logs = np.log(ratios)
    return np.exp(logs.mean() * max(0, 1 - logs.var(ddof=1) / len(logs) / logs.mean() ** 2))


def test_trained_conditions_have_their_own_and_others_the_shrunk_mean(cells, stored):
    found = pd.Series(depth_ratios(stored, cells.table), index=cells.table.index)
    known = stored.conditions["depth_ratio"]
    for name in ("A | line=x", "C | line=x", "A | line=y", "B | line=x"):
        assert found[name] == pytest.approx(known[name])
    perturbed = known[(stored.conditions["n_parts"] > 0) & known.notna()]
    assert len(perturbed) == 5
    everywhere = shrunk(perturbed)
    assert perturbed.min() < everywhere < 1
    assert found["D | line=x"] == found["D | line=y"] == pytest.approx(everywhere)
    # measured in another context, at a ratio of 1
    assert found["B | line=y"] == 1
    assert found["control | line=x"] == 1


def test_one_measured_ratio_is_believed_half(cells, stored):
    alone = SimpleNamespace(conditions=stored.conditions.drop(index="C | line=y"))
    table = cells.table.loc[["C | line=y"]]
    assert depth_ratios(alone, table) == pytest.approx(np.sqrt(stored.conditions.loc["C | line=x", "depth_ratio"]))


def test_the_same_ratio_everywhere_is_kept_whole(cells, stored):
    even = SimpleNamespace(conditions=stored.conditions.assign(depth_ratio=0.5))
    assert depth_ratios(even, cells.table.loc[["D | line=x"]]).tolist() == pytest.approx([0.5])


def units(cells, stored, library_size, names=("A | line=x", "B | line=x", "D | line=x")):
    table = cells.table.loc[list(names)]
    controls = np.flatnonzero(cells.codes == cells.table.index.get_loc("control | line=x"))[:60]
    codes = np.arange(60) % len(names)
    return generated_units(stored, cells, table, codes, controls, library_size), control_units(cells, controls), codes


def test_library_sizes_of_controls_conditions_and_numbers(cells, stored):
    found, control, codes = units(cells, stored, "control")
    np.testing.assert_array_equal(found, control)
    found, control, codes = units(cells, stored, "condition")
    expected = depth_ratios(stored, cells.table.loc[["A | line=x", "B | line=x", "D | line=x"]])
    np.testing.assert_allclose(control / found, expected[codes])
    found, *_ = units(cells, stored, 750)
    # cells add up to 10,000
    np.testing.assert_allclose(found, 1e4 / 750, rtol=1e-4)


@pytest.mark.parametrize("library_size", ["deep", 0.5, -3, True, np.inf, np.nan])
def test_a_library_size_that_is_none_is_refused(cells, stored, library_size):
    with pytest.raises(ValueError, match=r"`library_size` is .*'condition', 'control' or a number"):
        units(cells, stored, library_size)


def test_generated_cells_have_the_counts_asked_for(toy):
    spr.tl.fit_generator(toy, n_steps=10, width=16, n_latent=6, n_blocks=1, batch_size=64)
    new = spr.tl.predict(toy, n_cells=60, library_size=500, output="counts")
    assert np.median(new.X.sum(1).A1) == pytest.approx(500, rel=0.1)
