from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.legend import Legend
from matplotlib.testing.compare import compare_images
from matplotlib.testing.decorators import remove_ticks_and_titles

import scperturbrl as spr

EXPECTED = Path(__file__).parent / "expected"
# set to any value to draw the expected images anew; then look at them before they are committed
WRITE = "SCPERTURBRL_WRITE_IMAGES"
# root mean square over the pixels, of 255; other fonts and releases of matplotlib give 0, other data at least 11
TOLERANCE = 5

PLOTS = {
    "verifier_scores": {},
    "embedding": {"basis": "umap"},
    "training_history": {},
    "reward_shift": {},
    "evaluation": {},
    "effects": {},
}


def painted(seed=0):
    """All that the plots read, drawn from NumPy's generator, which is the same everywhere: nothing is trained."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(["control", "A", "B", "A+B", "C"], 30)
    kind = pd.Categorical(labels).codes.astype(float)
    n = len(labels)
    adata = AnnData(
        rng.gamma(2, size=(n, 40)).astype(np.float32) + 0.02 * kind[:, None] * np.arange(40) % 2,
        obs=pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(n)]),
    )
    spr.pp.setup_anndata(adata)
    adata.obs["part"] = np.where(labels == "A+B", "test", "train")
    spr.pp.split(adata, holdout="column", column="part")
    adata.obsm["X_umap"] = rng.normal(size=(n, 2)) + kind[:, None]
    for shift, key in enumerate(("observed", "generator", "generator_rl")):
        scores = 0.5 + 0.05 * shift + rng.normal(scale=0.1, size=(n, 2))
        adata.obsm[f"score_{key}"] = pd.DataFrame(scores, index=adata.obs_names, columns=["rmse_topk", "de_spearman"])
        adata.obs[f"{key}_reward"] = 0.4 + 0.1 * shift + 0.1 * kind * rng.uniform(size=5)[kind.astype(int)]
        adata.obsm[f"X_umap_{key}"] = adata.obsm["X_umap"] + rng.normal(scale=0.3, size=(n, 2))
        adata.layers[key] = np.clip(adata.X + rng.normal(scale=0.3, size=adata.shape), 0, None)
    adata.uns["generator_rl"] = history(rng)
    adata.uns["evaluation"] = table(rng)
    return adata


def history(rng):
    columns = ["reward", "reward_sd", "distance", "check_energy", "check_validation_energy", "check_spread"]
    columns += ["check_drift", "check_reward", "rmse_topk", "de_spearman"]
    frame = pd.DataFrame(rng.uniform(0.1, 0.9, size=(6, len(columns))), columns=columns)
    alarms = ["iteration 40: spread is 0.80 of it"]
    params = {
        "method": "rl_finetune",
        "verifiers": ["rmse_topk", "de_spearman"],
        "limits": {"spread": 0.1, "drift": 0.1},
    }
    fitted = {"kept_iteration": 30, "alarms": alarms, "outcome": ""}
    # a generator of which only the history is drawn
    parts = {"params": params, "fitted": fitted, "weights": {}, "space": {}}
    return {"history": frame.assign(iteration=np.arange(6) * 10), **parts}


def table(rng):
    models = {"generator": "generator", "generator_rl": "generator", "additive": "baseline", "split_half": "ceiling"}
    metrics = {"score_rmse_topk": "rewarded", "mse": "related", "mmd": "held-out", "variance_ratio": "held-out"}
    rows = [
        {"model": model, "kind": kind, "condition": condition, "metric": metric, "role": role, "n_cells": 9}
        for model, kind in models.items()
        for metric, role in metrics.items()
        for condition in "ABC"
    ]
    return pd.DataFrame(rows).assign(value=0.0, scaled=rng.uniform(-0.9, 1.9, size=len(rows)))


def draw(name, adata, path):
    figure = getattr(spr.pl, name)(adata, return_fig=True, **PLOTS[name])
    # letters differ between machines, and the place that the layout leaves for them between releases; what they say,
    # and that they do not overlap, is tested in the files of the plots
    remove_ticks_and_titles(figure)
    for legend in figure.findobj(Legend):
        legend.remove()
    for text in figure.findobj(plt.Text):
        text.set_text("")
    figure.set_layout_engine("none")
    # whole inches are whole pixels, however a release rounds
    figure.set_size_inches(*np.ceil(figure.get_size_inches()))
    figure.savefig(path, dpi=40, metadata={"Software": None})
    plt.close(figure)


@pytest.mark.parametrize("name", PLOTS)
def test_the_picture_is_the_expected_one(name, tmp_path):
    expected = EXPECTED / f"{name}.png"
    if os.environ.get(WRITE):
        EXPECTED.mkdir(exist_ok=True)
        draw(name, painted(), expected)
    draw(name, painted(), tmp_path / "found.png")
    difference = compare_images(str(expected), str(tmp_path / "found.png"), tol=TOLERANCE)
    assert difference is None, difference


@pytest.mark.parametrize("name", PLOTS)
def test_other_data_are_another_picture(name, tmp_path):
    draw(name, painted(seed=1), tmp_path / "other.png")
    assert compare_images(str(EXPECTED / f"{name}.png"), str(tmp_path / "other.png"), tol=TOLERANCE) is not None
