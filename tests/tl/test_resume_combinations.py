"""A run that was killed goes on as if nothing had been, whatever it starts from and wherever it lives."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr

SMALL = {"width": 8, "n_latent": 4, "n_blocks": 1, "batch_size": 16, "progress": False, "n_steps": 105}
SHORT = {"n_iterations": 8, "n_conditions": 2, "group_size": 2, "progress": False}
KINDS = list(product(["gaussian", "control"], ["pca", "genes"]))


class Killed(BaseException):
    """Nothing in the package catches it."""


@pytest.fixture(scope="module")
def bases(ready_toy):
    adata = ready_toy.copy()
    for source, space in KINDS:
        spr.tl.fit_generator(adata, key_added=f"{source} {space}", source=source, space=space, **SMALL | {"n_steps": 5})
    return adata


@pytest.fixture
def killed_at(monkeypatch):
    """Function that makes one function of the package fail at its n-th call."""
    monkeypatch.setattr("scperturbrl._core.files.run_file.RunFile.is_due", lambda self: True)

    def plant(place, n):
        module, name = place.rsplit(".", 1)
        original, calls = getattr(__import__(module, fromlist=[name]), name), []

        def dying(*arguments, **options):
            calls.append(1)
            if len(calls) == n:
                raise Killed
            return original(*arguments, **options)

        monkeypatch.setattr(place, dying)
        return lambda: monkeypatch.setattr(place, original)

    return plant


def interrupted_and_whole(adata, call, folder, revive):
    with pytest.raises(Killed):
        call(key_added="part", checkpoint_dir=folder)
    assert "part" not in adata.uns
    revive()
    call(key_added="resumed", checkpoint_dir=folder, resume=True)
    call(key_added="whole")
    one, other = adata.uns["resumed"], adata.uns["whole"]
    for name, value in one["weights"].items():
        np.testing.assert_array_equal(value, other["weights"][name], err_msg=name)
    pd.testing.assert_frame_equal(one["history"], other["history"], rtol=0, atol=0)
    assert one["fitted"]["self_check"] == other["fitted"]["self_check"]


@pytest.mark.parametrize("further", [False, True], ids=["anew", "init_from"])
@pytest.mark.parametrize(("source", "space"), KINDS)
def test_a_fit(bases, tmp_path, killed_at, source, space, further):
    adata = bases.copy()
    start = {"init_from": f"{source} {space}"} if further else {"source": source, "space": space}
    revive = killed_at("scperturbrl.flow.training.fit.flow_matching_loss", 103)
    interrupted_and_whole(adata, lambda **o: spr.tl.fit_generator(adata, **start, **SMALL, **o), tmp_path, revive)


@pytest.mark.parametrize(("source", "space"), KINDS)
def test_a_post_training(bases, tmp_path, killed_at, source, space):
    adata = bases.copy()
    revive = killed_at("scperturbrl.rl.finetuner.condition_advantage", 7)
    options = {"key": f"{source} {space}", **SHORT}
    interrupted_and_whole(adata, lambda **o: spr.tl.rl_finetune(adata, **options, **o), tmp_path, revive)
