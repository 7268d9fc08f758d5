from __future__ import annotations

import numpy as np
import pytest
from anndata import read_h5ad

import scperturbrl as spr


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=150, n_singles=8, n_doubles=12, n_cells_per_condition=40, n_controls=120, library_size=3000, seed=1
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, fraction=0.6)
    spr.pp.reference(adata)
    return adata


@pytest.fixture(scope="module")
def prediction(screen):
    """Cells of the other conditions in half of the rows: right in part."""
    rng = np.random.default_rng(0)
    made = screen[screen.obs["split"] == "test"].copy()
    order = np.arange(made.n_obs)
    wrong = np.flatnonzero(rng.random(made.n_obs) < 0.5)
    order[wrong] = rng.permutation(wrong)
    made.X = made.X[order]
    return made


@pytest.fixture(scope="module")
def files(screen, prediction, tmp_path_factory):
    return spr.tl.to_cell_eval(screen, tmp_path_factory.mktemp("pair") / "new", prediction=prediction)


def test_both_files_hold_the_same_controls_and_the_conditions(screen, prediction, files):
    row = files.iloc[0]
    pred, real = read_h5ad(row["pred"]), read_h5ad(row["real"])
    test = set(screen.obs.loc[screen.obs["split"] == "test", "perturbation"])
    for side, cells in ((pred, prediction), (real, screen)):
        assert set(side.obs[row["pert_col"]]) == test | {row["control"]}
        assert side.var_names.tolist() == screen.var_names.tolist()
        for name in test:
            expected = cells[cells.obs["perturbation"] == name].X.toarray()
            np.testing.assert_array_equal(side[side.obs[row["pert_col"]] == name].X.toarray(), expected)
    controls = [side[side.obs[row["pert_col"]] == row["control"]].X.toarray() for side in (pred, real)]
    np.testing.assert_array_equal(*controls)
    assert len(controls[0]) == 120


def test_counts_are_the_counts(screen, tmp_path):
    row = spr.tl.to_cell_eval(screen, tmp_path, prediction=screen, output="counts").iloc[0]
    assert row["input_type"] == "counts"
    real = read_h5ad(row["real"])
    name = str(screen.uns["scperturbrl"]["split"]["test"][0])
    expected = screen[screen.obs["perturbation"] == name].layers["counts"].toarray()
    np.testing.assert_array_equal(real[real.obs["target"] == name].X.toarray(), expected)


def test_a_generator_and_a_layer_can_be_named(screen, tmp_path):
    adata = screen.copy()
    spr.tl.fit_generator(adata, n_steps=3, width=16, n_latent=6)
    adata.layers["copy"] = adata.X.copy()
    made = spr.tl.to_cell_eval(adata, tmp_path / "g", prediction="generator", n_cells=7).iloc[0]
    assert set(read_h5ad(made["pred"]).obs["target"].value_counts()) == {7, 120}
    layer = spr.tl.to_cell_eval(adata, tmp_path / "l", prediction="copy").iloc[0]
    np.testing.assert_array_equal(read_h5ad(layer["pred"]).X.toarray(), read_h5ad(layer["real"]).X.toarray())


def test_one_pair_of_files_a_context(context, tmp_path):
    spr.pp.split(context, holdout="cell_type", values=["B"])
    with pytest.raises(KeyError, match="no cells of condition"):
        spr.tl.to_cell_eval(context, tmp_path / "none", prediction=context[context.obs["cell_type"] == "T"].copy())
    assert not (tmp_path / "none").exists()
    files = spr.tl.to_cell_eval(context, tmp_path, prediction=context)
    assert files["context"].tolist() == ["B"]
    labels = set(read_h5ad(files["real"].iloc[0]).obs["target"])
    assert any(label.endswith(" 10") for label in labels)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"conditions": ["nobody"]}, KeyError, "no condition 'nobody'"),
        ({"conditions": ["control"]}, ValueError, "names control cells"),
        ({"prediction": "nothing"}, KeyError, "no 'nothing'"),
        ({"output": "raw"}, ValueError, "`output` is 'raw'"),
    ],
)
def test_what_cannot_be_written_is_refused(screen, tmp_path, options, error, match):
    with pytest.raises(error, match=match):
        spr.tl.to_cell_eval(screen, tmp_path, **{"prediction": screen} | options)


def test_corrected_values_have_no_counts(screen, tmp_path):
    other = screen.copy()
    other.X = other.X.toarray() * 0.9
    with pytest.raises(ValueError, match="Counts cannot be recovered"):
        spr.tl.to_cell_eval(screen, tmp_path, prediction=other, output="counts")


@pytest.mark.filterwarnings("ignore")
def test_cell_eval2_agrees_where_it_computes_the_same(screen, prediction, files):
    cell_eval2 = pytest.importorskip("cell_eval2")
    row = files.iloc[0]
    config = cell_eval2.EvalConfig(
        metrics=["expr_mae", "expr_mse", "delta_pearson", "pds_l1", "pds_l2", "pds_cosine"],
        pert_col=row["pert_col"],
        control=row["control"],
        input_type=row["input_type"],
        device="cpu",
        num_threads=1,
        target_gene_map={"*": None},
        discrimination=cell_eval2.DiscriminationParams(exclude_target_gene=False),
    )
    theirs = cell_eval2.compute_metrics(row["pred"], row["real"], config=config).to_pandas()
    theirs = theirs.pivot(index="perturbation", columns="metric", values="value")
    ours = spr.tl.evaluate(screen, keys=[], predictions={"p": prediction}, verifiers=["rmse_topk"], max_cells=120)
    ours = ours[ours["model"] == "p"].pivot(index="condition", columns="metric", values="value").loc[theirs.index]
    for name, other in {"mae": "expr_mae", "mse": "expr_mse", "pearson_delta": "delta_pearson"}.items():
        np.testing.assert_allclose(ours[name], theirs[other], rtol=1e-5, atol=1e-6, err_msg=name)
    # cell-eval2 ranks among the conditions of the file, with every gene
    effects = [_effects(side, row) for side in ("pred", "real")]
    for metric in ("l1", "l2", "cosine"):
        scores = spr.metrics.discrimination_score(effects[0], effects[1], metric=metric)
        np.testing.assert_allclose(scores, theirs[f"pds_{metric}"], atol=1e-6, err_msg=metric)


def _effects(side, row):
    cells = read_h5ad(row[side]).to_df().groupby(read_h5ad(row[side]).obs[row["pert_col"]], observed=True).mean()
    effects = cells - cells.loc[row["control"]]
    return effects.drop(row["control"]).sort_index().to_numpy()


@pytest.fixture(scope="module")
def two_likely_names():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=40, n_singles=2, n_doubles=1, n_cells_per_condition=12, n_controls=24, cell_types=("CD4+", "CD4-")
    )
    first = next(label for label in adata.obs["perturbation"].unique() if label != "control" and "+" not in label)
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace({first: "non-targeting"})
    with pytest.warns(UserWarning, match="'non-targeting' in addition to the control"):
        spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="nothing")
    return adata


def test_names_that_would_collide_stay_apart(two_likely_names, tmp_path):
    adata = two_likely_names
    names = [str(name) for name in adata.uns["scperturbrl"]["split"]["train"] if not str(name).startswith("control")]
    files = spr.tl.to_cell_eval(adata, tmp_path, prediction=adata, conditions=names)
    assert files["context"].tolist() == ["CD4+", "CD4-"]
    assert files["pred"].nunique() == files["real"].nunique() == 2
    for row in files.itertuples():
        real = read_h5ad(row.real)
        own = adata[adata.obs["cell_type"] == row.context]
        assert row.control == "control"
        for label in ("control", "non-targeting"):
            assert (real.obs["target"] == label).sum() == (own.obs["perturbation"] == label).sum()


def test_conditions_are_named_as_everywhere(screen, tmp_path):
    pair = next(name for name in screen.uns["scperturbrl"]["split"]["test"] if "+" in name)
    for name in (pair, "+".join(reversed(pair.split("+"))), [pair, pair]):
        row = spr.tl.to_cell_eval(screen, tmp_path, prediction=screen, conditions=name).iloc[0]
        assert set(read_h5ad(row["pred"]).obs["target"]) == {pair, row["control"]}
