"""Whatever mode of PyTorch a user is in: the same results, or an error that says which one to leave."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import scperturbrl as spr

MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def work(adata):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata, seed=1)
        spr.tl.fit_generator(adata, n_steps=4, width=16, n_latent=4, n_blocks=1, batch_size=32, progress=False)
        spr.tl.rl_finetune(adata, n_iterations=1, n_conditions=2, group_size=4, progress=False)
        spr.tl.generate(adata)
        spr.tl.score(adata, layer="generator_rl")
        one = adata.obs["perturbation"].astype(str)[adata.obs["split"] == "test"].iloc[0]
        spr.tl.evaluate(adata, n_cells=20, conditions=[one])
    return adata


@pytest.fixture(scope="module")
def plain(ready_toy):
    return work(ready_toy.copy())


@pytest.mark.parametrize("mode", MODES)
def test_results_do_not_depend_on_it(toy, plain, mode):
    with MODES[mode]():
        found = work(toy)
    for name, value in plain.uns["generator_rl"]["weights"].items():
        np.testing.assert_array_equal(found.uns["generator_rl"]["weights"][name], value, err_msg=name)
    assert (found.layers["generator_rl"] != plain.layers["generator_rl"]).nnz == 0
    np.testing.assert_array_equal(found.obs["generator_rl_reward"], plain.obs["generator_rl_reward"])
    np.testing.assert_array_equal(found.uns["evaluation"]["value"], plain.uns["evaluation"]["value"])


@pytest.mark.parametrize(
    "verb",
    [
        spr.pp.reference,
        spr.tl.fit_generator,
        spr.tl.rl_finetune,
        spr.tl.predict,
        spr.tl.generate,
        spr.tl.score,
        spr.tl.evaluate,
    ],
)
def test_another_default_dtype_is_refused(plain, digest, verb):
    before = digest(plain)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(RuntimeError, match=r"default dtype of PyTorch is torch\.float64.*set_default_dtype"):
            verb(plain)
    finally:
        torch.set_default_dtype(torch.float32)
    assert digest(plain) == before
