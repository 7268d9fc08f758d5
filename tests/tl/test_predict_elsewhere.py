from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scperturbrl as spr
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.stored import StoredGenerator
from scperturbrl.data.latent.cells import control_units
from scperturbrl.data.transfer.cells import in_genes_of, own_cells
from scperturbrl.data.transfer.genes import match_genes


@pytest.fixture
def saved(fitted, tmp_path):
    spr.tl.save_generator(fitted, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def others(fitted):
    return fitted[fitted.obs["perturbation"] == "control"].copy()


def bare(adata, order=slice(None)):
    """Only expression and names: nothing that this package wrote."""
    return AnnData(adata.X[:, order].copy(), obs=adata.obs[["perturbation"]], var=adata.var[[]].iloc[order])


def test_the_order_of_genes_does_not_matter(saved, others):
    order = np.random.default_rng(0).permutation(others.n_vars)
    one = spr.tl.predict_elsewhere(bare(others), saved, perturbations="GENE014", n_cells=30)
    two = spr.tl.predict_elsewhere(bare(others, order), saved, perturbations="GENE014", n_cells=30)
    assert one.var_names.tolist() == two.var_names.tolist() == others.var_names.tolist()
    np.testing.assert_allclose(one.X.toarray(), two.X.toarray(), atol=1e-5)
    assert one.var["measured"].all()
    assert two.uns["prediction"]["match"]["genes"] == 1
    assert two.uns["prediction"]["match"]["signal"] == pytest.approx(1)


def test_missing_genes_are_average_for_the_generator(fitted, others):
    stored = StoredGenerator.from_uns(fitted.uns["generator"])
    part = bare(others, np.arange(others.n_vars - 1, 5, -1))
    match = match_genes(stored, part.var_names, least=0.8)
    own = own_cells(part, Setup.of(fitted), None)
    cells = in_genes_of(stored, own, match, seed=0)
    filled, mean = cells.expression.toarray()[:, :6], stored.generator.space.mean.numpy()
    np.testing.assert_allclose(np.expm1(filled).mean(0), np.expm1(mean[:6]), rtol=0.3)
    counts = np.expm1(filled) / control_units(own, np.arange(part.n_obs))[:, None]
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
    np.testing.assert_allclose(cells.expression.toarray()[:, 6:], others.X.toarray()[:, 6:])
    loadings = np.square(stored.generator.space.components.numpy()).sum(1)
    assert match.signal == pytest.approx(loadings[6:].sum() / loadings.sum())
    assert match.missing == others.var_names[:6].tolist()
    assert match.share == pytest.approx(54 / 60)


def test_too_few_genes_are_refused(saved, others):
    with pytest.raises(ValueError, match=r"40 of the 60 genes of the generator \(67%\); at least 80%"):
        spr.tl.predict_elsewhere(bare(others, np.arange(40)), saved)
    few = spr.tl.predict_elsewhere(bare(others, np.arange(40)), saved, min_genes=0.5, n_cells=5)
    assert int(few.var["measured"].sum()) == 40


def test_another_spelling_is_named(saved, others):
    lower = bare(others)
    lower.var_names = lower.var_names.str.lower()
    with pytest.raises(ValueError, match="More names match in upper case"):
        spr.tl.predict_elsewhere(lower, saved)
    versions = bare(others)
    versions.var_names = [f"{name}.1" for name in versions.var_names]
    with pytest.raises(ValueError, match="More names match without the suffix after a dot"):
        spr.tl.predict_elsewhere(versions, saved)


def _with_pair(saved, others):
    wanted = ["GENE014", "GENE056", "GENE014+GENE056"]
    return spr.tl.predict_elsewhere(others, saved, perturbations=wanted, n_cells=30)


def test_it_fits_what_the_other_verbs_read(saved, others, fitted):
    new = spr.tl.predict_elsewhere(others, saved, n_cells=20)
    assert sorted(new.obs["perturbation"].unique()) == ["GENE014", "GENE016", "GENE034", "GENE056"]
    (source,) = [name for name in new.obs if name.endswith("_source")]
    assert set(new.obs[source]) <= set(others.obs_names)
    assert (new.obs["origin"] == "generated").all()
    assert not new.uns["prediction"]["conditions"]["new_context"].any()
    joined = spr.get.genetic_interactions(fitted, predictions=_with_pair(saved, others))
    assert set(joined["model"]) == {"observed", "generator"}
    counts = spr.tl.predict_elsewhere(others, saved, n_cells=20, output="counts")
    assert (counts.X.data == np.rint(counts.X.data)).all()


def test_genes_have_the_level_of_the_other_data_set(screen, tmp_path):
    spr.tl.save_generator(screen, tmp_path / "model")
    others = screen[screen.obs["perturbation"] == "control"].copy()
    # as another chemistry would: some genes are seen much less
    rate, weak = np.expm1(others.X.toarray()), np.arange(0, others.n_vars, 5)
    counts = others.layers["counts"].toarray()
    counts[:, weak] = np.random.default_rng(0).binomial(counts[:, weak].astype(int), 0.4)
    others.X = np.log1p(counts * (rate.sum(1) / counts.sum(1))[:, None]).astype(np.float32)
    new = spr.tl.predict_elsewhere(others, tmp_path / "model", perturbations="control", n_cells=300)
    error = np.abs(new.X.toarray().mean(0) - others.X.mean(0))[weak].mean()
    before = np.abs(screen[screen.obs["perturbation"] == "control"].X.toarray().mean(0) - others.X.mean(0))[weak].mean()
    assert error < 0.5 * before


def test_the_generator_is_left_as_it_was(saved, others):
    first = spr.tl.predict_elsewhere(others, saved, n_cells=10, perturbations="GENE014")
    again = spr.tl.predict_elsewhere(others, saved, n_cells=10, perturbations="GENE014")
    np.testing.assert_array_equal(first.X.toarray(), again.X.toarray())


def test_contexts_are_told_by_their_cells(context, tmp_path):
    spr.tl.save_generator(context, tmp_path / "model")
    others = context[context.obs["perturbation"] == "control"].copy()
    others.obs["cell_type"] = np.where(np.arange(others.n_obs) % 2, "T", "NK")
    del others.obs["perturbation"]
    single = next(name for name in context.obs["perturbation"].unique() if name != "control" and "+" not in name)
    new = spr.tl.predict_elsewhere(others, tmp_path / "model", perturbations=single, dose=1.0, n_cells=10)
    table = new.uns["prediction"]["conditions"]
    assert dict(zip(table["group"], table["new_context"], strict=True)) == {"NK": True, "T": False}
    assert sorted(new.obs["cell_type"].unique()) == ["NK", "T"]
    with pytest.raises(ValueError, match="fitted with doses, so `dose` is needed. Measured doses: 1, 10"):
        spr.tl.predict_elsewhere(others, tmp_path / "model", perturbations=single)
    with pytest.warns(UserWarning, match="outside the measured range"):
        spr.tl.predict_elsewhere(others, tmp_path / "model", perturbations=single, dose=99.0, n_cells=5)
    del others.obs["cell_type"]
    with pytest.raises(KeyError, match="cell_type"):
        spr.tl.predict_elsewhere(others, tmp_path / "model", perturbations=single, dose=1.0)


def test_errors_name_what_is_wrong(saved, others, tmp_path):
    labelled = bare(others)
    labelled.obs["perturbation"] = "DMSO"
    with pytest.raises(ValueError, match=r"has no 'control', the label of control cells.*it holds \['DMSO'\]"):
        spr.tl.predict_elsewhere(labelled, saved)
    with pytest.raises(KeyError, match="The perturbation 'NONE' is unknown"):
        spr.tl.predict_elsewhere(others, saved, perturbations="NONE")
    with pytest.raises(ValueError, match="contains no perturbation"):
        spr.tl.predict_elsewhere(others, saved, perturbations="+")
    twice = bare(others)
    twice.var_names = [twice.var_names[1], *twice.var_names[1:]]
    with pytest.raises(ValueError, match="occurs twice"):
        spr.tl.predict_elsewhere(twice, saved)
    with pytest.raises(FileNotFoundError):
        spr.tl.predict_elsewhere(others, tmp_path / "nowhere")


def test_other_scales_are_warned_of(saved, others):
    small = bare(others)
    small.X = np.log1p(np.expm1(small.X.toarray()) / 50).astype(np.float32)
    with pytest.warns(UserWarning, match="times as high as in the training cells"):
        spr.tl.predict_elsewhere(small, saved, n_cells=5, perturbations="GENE014")
    shuffled = pd.Index(np.random.default_rng(0).permutation(others.var_names))
    strange = bare(others)
    strange.var_names = shuffled
    with pytest.warns(UserWarning, match="the generator was trained on different cells"):
        spr.tl.predict_elsewhere(strange, saved, n_cells=5, perturbations="GENE014")
