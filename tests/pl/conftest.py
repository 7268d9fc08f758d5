from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scperturbrl as spr


@pytest.fixture
def adata(finished):
    return finished.copy()


@pytest.fixture
def crowd():
    rng = np.random.default_rng(0)
    labels = np.repeat(["control", *(f"GENE{i:03d}+GENE{i + 100:03d}" for i in range(60))], 8)
    adata = AnnData(
        rng.gamma(1, size=(len(labels), 5)).astype(np.float32),
        obs=pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(len(labels))]),
    )
    spr.pp.setup_anndata(adata)
    for key in ("observed", "generator"):
        scores = rng.normal(size=(len(labels), 2))
        adata.obsm[f"score_{key}"] = pd.DataFrame(scores, index=adata.obs_names, columns=["rmse_topk", "de_spearman"])
    return adata


@pytest.fixture
def drawn():

    def find(ax, gid):
        return [artist for artist in ax.get_children() if artist.get_gid() == gid]

    return find


@pytest.fixture
def apart():

    def check(figure, texts):
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        return not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])

    return check


@pytest.fixture
def inside():

    def check(figure):
        figure.canvas.draw()
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        slack = 0.02
        return drawn.x0 > -slack and drawn.y0 > -slack and drawn.x1 < width + slack and drawn.y1 < height + slack

    return check
