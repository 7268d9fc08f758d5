from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.depth import Depths, at_depths, condition_depths, equal_depth
from scperturbrl.data.cells.row_blocks import RowBlocks

GROUPS = {"x": {"control": 2000, "A": 2000, "B": 1000}, "y": {"control": 800, "A": 3200, "B": 100}}


def screen(sizes=GROUPS, *, n=80, n_genes=60, seed=0):
    """Cells of one profile, whatever the condition, with the given median counts."""
    rng = np.random.default_rng(seed)
    profile = rng.dirichlet(np.full(n_genes, 2.0))
    rows, obs = [], []
    for group, of_group in sizes.items():
        for label, size in of_group.items():
            rows.append(rng.poisson(size * rng.lognormal(0, 0.2, (n, 1)) * profile))
            obs += [(label, group)] * n
    adata = ad.AnnData(sparse.csr_matrix(np.concatenate(rows).astype(np.float32)))
    adata.obs = pd.DataFrame(obs, columns=["perturbation", "line"], index=[f"c{i}" for i in range(len(obs))])
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obs["split"] = "train"
    spr.pp.setup_anndata(adata, covariate_keys=["line"])
    return adata


@pytest.fixture(scope="module")
def cells():
    return Cells.of(screen())


def factors(depths):
    return {(row.group, name.split(" | ")[0]): row.factor for name, row in depths.table.iterrows()}


def test_every_group_is_brought_to_its_smallest_depth_but_a_quarter_of_the_controls(cells):
    depths = condition_depths(cells)
    assert depths.readable
    assert depths.common_total
    found = factors(depths)
    assert found["x", "B"] == 1
    assert found["x", "control"] == found["x", "A"] == pytest.approx(0.5, rel=0.08)
    # B has an eighth of the controls' counts
    assert found["y", "B"] == 1
    assert found["y", "control"] == pytest.approx(0.25)
    assert found["y", "A"] == pytest.approx(1 / 16, rel=0.1)
    counts = depths.table["counts"]
    assert counts["A | line=y"] == pytest.approx(3200, rel=0.08)
    assert depths.table.loc["A | line=y", "ratio"] == pytest.approx(4, rel=0.1)
    assert depths.target("y") == pytest.approx(depths.table.loc["control | line=y", "depth"] / 4)
    assert depths.target_of("A | line=y", "y") == pytest.approx(depths.target("y"))
    assert depths.target_of("new", "y") == depths.target("y")
    assert np.isnan(depths.target_of("new", "z"))


def test_afterwards_nothing_differs_and_means_agree():
    cells = Cells.of(screen({"x": GROUPS["x"]}, n=250, n_genes=400))
    equal = equal_depth(cells)
    again = condition_depths(equal)
    assert not again.table["differs"].any()
    mean = lambda own, name: own.block(np.flatnonzero(own.codes == own.table.index.get_loc(name))).mean(0)
    raw, fair = (np.square(mean(own, "B | line=x") - mean(own, "control | line=x")).mean() for own in (cells, equal))
    assert fair < 0.2 * raw


def test_cells_of_one_depth_are_not_touched():
    cells = Cells.of(screen({"x": {"control": 900, "A": 900, "B": 930}}))
    assert condition_depths(cells).equal
    assert equal_depth(cells) is cells


def test_few_cells_have_to_differ_by_more_than_chance():
    sizes = {"x": {"control": 900, "A": 1150}}
    assert not condition_depths(Cells.of(screen(sizes, n=6))).table["differs"].any()
    assert condition_depths(Cells.of(screen(sizes, n=300))).table["differs"].sum() == 1


def test_the_order_of_cells_does_not_matter(cells):
    adata = screen()
    order = np.random.default_rng(1).permutation(adata.n_obs)
    expected = equal_depth(cells).expression.toarray()[order]
    np.testing.assert_array_equal(equal_depth(Cells.of(adata[order].copy())).expression.toarray(), expected)


def test_targets_of_a_fit_come_from_training_cells_alone():
    adata = screen()
    adata.obs["split"] = np.where(adata.obs["perturbation"] == "B", "test", "train")
    cells = Cells.of(adata)
    depths = condition_depths(cells, cells.is_training())
    assert depths.table.loc[["B | line=x", "B | line=y"], "depth"].isna().all()
    found = factors(depths)
    assert found["x", "control"] == found["x", "A"] == found["x", "B"] == 1
    assert found["y", "A"] == pytest.approx(0.25, rel=0.1)
    sizes = {"x": {"control": 1000, "A": 1000, "B": 3000}}
    adata = screen(sizes)
    adata.obs["split"] = np.where(adata.obs["perturbation"] == "B", "test", "train")
    cells = Cells.of(adata)
    depths = condition_depths(cells, cells.is_training())
    assert depths.equal
    assert factors(depths.completed(cells))["x", "B"] == pytest.approx(1 / 3, rel=0.08)
    assert factors(depths.completed(cells))["x", "A"] == 1
    # of cells that came later too
    later = Depths(depths.table.drop(index="B | line=x"), depths.common_total, depths.readable)
    assert factors(later.completed(cells)) == factors(depths.completed(cells))
    everything = condition_depths(cells)
    assert everything.completed(cells) is everything


def test_a_lower_target_can_be_asked_for(cells):
    depths = condition_depths(cells)
    lower = depths.lowered({"x": depths.target("x") / 2})
    assert factors(lower)["x", "B"] == pytest.approx(0.5, rel=1e-6)
    assert factors(lower)["x", "control"] == pytest.approx(factors(depths)["x", "control"] / 2)
    assert factors(lower)["y", "A"] == factors(depths)["y", "A"]
    # a quarter of the controls' is the least
    assert factors(depths.lowered({"x": 1e-9}))["x", "control"] == pytest.approx(0.25)
    assert depths.lowered({"x": 1e9}).table.equals(depths.table)


def test_values_that_are_no_counts_are_left_alone_and_that_is_known(cells):
    rng = np.random.default_rng(0)
    adata = screen()
    adata.X = rng.gamma(2, size=adata.shape).astype(np.float32)
    smooth = Cells.of(adata)
    depths = condition_depths(smooth)
    assert not depths.readable
    assert at_depths(smooth, depths) is smooth


def test_cells_in_a_file_are_thinned_alike(cells, tmp_path):
    adata = screen()
    adata.write_h5ad(tmp_path / "a.h5ad")
    streamed = equal_depth(Cells.of(ad.read_h5ad(tmp_path / "a.h5ad", backed="r")))
    assert isinstance(streamed.expression, RowBlocks)
    some = np.arange(0, adata.n_obs, 7)
    np.testing.assert_array_equal(streamed.block(some), equal_depth(cells).block(some))


def test_a_record_gives_the_same_depths_back(cells, tmp_path):
    depths = condition_depths(cells)
    ad.AnnData(np.ones((1, 1), np.float32), uns={"depth": depths.to_uns()}).write_h5ad(tmp_path / "a.h5ad")
    again = Depths.from_uns(ad.read_h5ad(tmp_path / "a.h5ad").uns["depth"])
    assert (again.common_total, again.readable) == (True, True)
    np.testing.assert_array_equal(
        at_depths(cells, again).block(np.arange(200)), equal_depth(cells).block(np.arange(200))
    )


def test_the_outlier_of_zhao_is_one_of_depth(zhao):
    zhao.obs["split"] = "train"
    spr.pp.setup_anndata(zhao, covariate_keys=["patient_id"])
    table = condition_depths(Cells.of(zhao)).table
    assert table.loc["control | patient_id=PW040", "counts"] == pytest.approx(128, abs=1)
    assert table.loc["panobinostat | patient_id=PW040", "counts"] == pytest.approx(596, abs=1)
    assert table.loc["panobinostat | patient_id=PW040", "factor"] == pytest.approx(128 / 596, rel=0.02)


def test_conditions_that_are_not_looked_at_do_not_count_among_those_of_a_group():
    sizes = {"control": 1000, "A": 400} | {f"new{i}": 1000 for i in range(20)}
    adata = screen({"x": sizes}, n=40)
    adata.obs["split"] = np.where(adata.obs["perturbation"].str.startswith("new"), "test", "train")
    cells = Cells.of(adata)
    found = factors(condition_depths(cells, cells.is_training()))
    # of two conditions that were looked at the shallower one sets the depth, whatever is held out
    assert found["x", "control"] == pytest.approx(0.4, rel=0.15)
    assert all(found["x", name] == 1 for name in sizes if name != "control")


@pytest.mark.filterwarnings("ignore:Some cells have zero counts")
@pytest.mark.filterwarnings("ignore:.*zero in every gene")
def test_empty_cells_differ_from_nothing():
    depths = condition_depths(Cells.of(screen({"x": {"control": 1000, "A": 400, "empty": 0}}, n=40)))
    assert depths.readable
    assert factors(depths)["x", "control"] == pytest.approx(0.4, rel=0.15)
    assert factors(depths)["x", "empty"] == 1
    assert not depths.table.loc["empty | line=x", "differs"]


def test_one_cell_a_condition_differs_from_nothing():
    depths = condition_depths(Cells.of(screen({"x": {"control": 3000, "A": 500}}, n=1)))
    assert depths.equal
    assert not depths.table["differs"].any()
