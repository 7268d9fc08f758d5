from __future__ import annotations

import re

import pytest

import scperturbrl as spr


def test_summary_of_a_fit(adata):
    summary = spr.get.generator(adata, key="generator")
    weights = adata.uns["generator"]["weights"]
    assert summary.n_parameters == sum(value.size for value in weights.values())
    assert (summary.n_genes, summary.n_latent) == (adata.n_vars, 8)
    text = repr(summary)
    assert text.startswith("Generator 'generator'\n")
    assert re.search(r"Kept state +step \d+ of at most 30 steps", text)
    split = adata.obs.loc[adata.obs["perturbation"] != "control"].groupby("split", observed=True)["perturbation"]
    assert f"{split.nunique()['train']} train" in text
    assert f"{split.nunique()['test']} test" in text


def test_summary_of_post_training(adata):
    text = repr(spr.get.generator(adata, key="generator_rl"))
    assert re.search(r"Parent +generator\n", text)
    assert "rmse_topk" in text
    assert re.search(r"iteration \d of 4, \d+ alarms? of the guard", text)
    assert re.search(r"Outcome +Post-training (helped|changed nothing|was undone|was not guarded)", text)


def test_html_is_escaped(adata):
    adata.uns["<b>"] = adata.uns["generator"]
    html = spr.get.generator(adata, key="<b>")._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert html.count("<tr>") == len(spr.get.generator(adata, key="generator").rows())


def test_it_survives_a_file(adata, tmp_path):
    import anndata as ad

    before = repr(spr.get.generator(adata, key="generator_rl"))
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert repr(spr.get.generator(ad.read_h5ad(tmp_path / "a.h5ad"), key="generator_rl")) == before


def test_missing_generator(adata, bare):
    with pytest.raises(KeyError, match="`uns` has no generator 'generator_r'.*'generator_rl'"):
        spr.get.generator(adata, key="generator_r")
    with pytest.raises(KeyError, match="fit_generator"):
        spr.get.generator(bare)


def test_an_energy_distance_below_0_is_explained(adata):
    measured = adata.uns["generator"]["fitted"]["self_check"]
    for value, explained in ((-0.01, True), (0.01, False)):
        measured.update(energy=value, energy_control=0.4, energy_halves=0.02)
        told = spr.get.generator(adata, key="generator").rows()["Energy distance, trained conditions"]
        assert told.startswith(f"{value:.3g} (controls 0.4, halves of the real cells 0.02")
        assert ("below 0: no difference was found" in told) == explained
