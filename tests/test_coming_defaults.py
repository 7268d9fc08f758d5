"""What anndata, pandas and scanpy offer today and will do by default tomorrow: the whole road, written and read."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import scperturbrl as spr

SMALL = {"n_steps": 3, "width": 16, "n_latent": 4, "n_blocks": 1, "batch_size": 32, "progress": False}
# anndata writes both formats of zarr with a warning of its own; nothing here is written by this package
pytestmark = [
    pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part"),
    pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning"),
    # anndata 0.13 on settings that its next release will have no other value of
    pytest.mark.filterwarnings("ignore:This (setting )?will be removed in 0.14:DeprecationWarning"),
]


@contextmanager
def settings(**wanted):
    """Settings of anndata; the test is skipped where this version does not know one."""
    for name in wanted:
        if not hasattr(ad.settings, name):
            pytest.skip(f"this anndata has no setting {name}")
    with ad.settings.override(**wanted):
        yield


@contextmanager
def preset():
    """Everything that scanpy announces for its next major version."""
    if not hasattr(sc, "Preset"):
        pytest.skip("this scanpy has no presets")
    before = sc.settings.preset
    sc.settings.preset = sc.Preset.ScanpyV2Preview
    yield
    sc.settings.preset = before


@contextmanager
def nullable():
    with settings(allow_write_nullable_strings=True), pd.option_context("future.infer_string", True):
        yield


COMING = {
    "nullable": nullable,
    "copy-on-write": lambda: settings(copy_on_write_X=True),
    "zarr-v3": lambda: settings(zarr_write_format=3, auto_shard_zarr_v3=True),
    "preset": preset,
}


def cells(toy, text):
    """Cells with labels and names of cells and genes as plain, nullable or arrow strings."""
    obs = pd.DataFrame({"perturbation": toy.obs["perturbation"].astype(text)})
    obs.index, var = toy.obs_names.astype(text), pd.DataFrame(index=toy.var_names.astype(text))
    return ad.AnnData(toy.X.copy(), obs=obs, var=var)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize(("name", "text"), [(name, str) for name in COMING] + [("nullable", "string")])
def test_the_whole_road(toy, tmp_path, name, text, suffix):
    with ExitStack() as stack:
        stack.enter_context(COMING[name]())
        adata = cells(toy, text)
        expression = adata.X.copy()
        spr.pp.setup_anndata(adata)
        spr.pp.split(adata, validation_fraction=0)
        spr.pp.reference(adata)
        spr.tl.fit_generator(adata, **SMALL)
        spr.tl.generate(adata)
        spr.tl.score(adata, layer="generator")
        spr.tl.evaluate(adata, n_cells=40, max_cells=40)
        spr.tl.screen(adata, "pairs", objective="size", n_refine=2, n_cells=10)
        getattr(adata, f"write_{suffix}")(tmp_path / f"a.{suffix}")
        back = getattr(ad, f"read_{suffix}")(tmp_path / f"a.{suffix}")
        before, after = spr.get.evaluation(adata), spr.get.evaluation(back)
        pd.testing.assert_frame_equal(after, before, check_dtype=False, check_categorical=False)
        assert spr.get.screen(back).index.tolist() == spr.get.screen(adata).index.tolist()
        # what was read is as good as what was written
        made, again = spr.tl.predict(adata, n_cells=5), spr.tl.predict(back, n_cells=5)
        np.testing.assert_allclose(made.X.toarray(), again.X.toarray(), rtol=1e-5, atol=1e-6)
        spr.tl.evaluate(back, n_cells=40, max_cells=40)
        assert abs(adata.X - expression).max() == 0
