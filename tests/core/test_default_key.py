from __future__ import annotations

import inspect

import anndata as ad
import pytest

import scperturbrl as spr
from scperturbrl._core.default_key import default_key

POST = {"n_iterations": 1, "n_conditions": 2, "group_size": 4, "reward_steps": 1, "energy_steps": 1}


@pytest.fixture(scope="module")
def several(ready_toy, tmp_path_factory):
    """The default key after each step, also after a file."""
    adata, keys = ready_toy.copy(), []
    small = {"n_steps": 3, "width": 16, "n_latent": 4}
    steps = [
        lambda: spr.tl.fit_generator(adata, key_added="zebra", **small),
        lambda: spr.tl.fit_generator(adata, **small),
        lambda: spr.tl.fit_generator(adata, key_added="other", **small),
        lambda: spr.tl.rl_finetune(adata, key_added="z_first", **POST),
        lambda: spr.tl.rl_finetune(adata, key_added="a_second", **POST),
    ]
    for step in steps:
        step()
        keys.append(default_key(adata))
    path = tmp_path_factory.mktemp("file") / "a.h5ad"
    adata.write_h5ad(path)
    return ad.read_h5ad(path), keys


def test_the_newest_post_trained_one_else_the_generator(several):
    adata, keys = several
    assert keys == ["zebra", "generator", "generator", "z_first", "a_second"]
    assert default_key(adata) == "a_second"
    assert default_key(adata, "other") == "other"


def test_every_verb_that_takes_a_generator_takes_the_same_one(several, tmp_path):
    adata = several[0].copy()
    spr.tl.generate(adata)
    assert "a_second" in adata.layers
    made = spr.tl.predict(adata, n_cells=2)
    assert str(made.uns["prediction"]["params"]["key"]) == "a_second"
    assert spr.get.generator(adata).key == "a_second"
    spr.tl.save_generator(adata, tmp_path / "model")
    spr.tl.load_generator(adata, tmp_path / "model", key_added="loaded")
    assert str(adata.uns["loaded"]["params"]["parent"]) == "generator"


@pytest.mark.parametrize("room", [spr.tl, spr.get, spr.pl])
def test_no_other_default_is_written_anywhere(room):
    own = {
        name: inspect.signature(getattr(room, name)).parameters["key"].default
        for name in room.__all__
        if inspect.isfunction(getattr(room, name)) and "key" in inspect.signature(getattr(room, name)).parameters
    }
    # these start from a pretrained generator, or from scores
    assert {name: default for name, default in own.items() if default is not None} == (
        {"rl_finetune": "generator", "select": "generated"} if room is spr.tl else {}
    )


def test_without_generators_the_error_is_of_the_usual_one(toy):
    with pytest.raises(KeyError, match="no generator 'generator'. Call `scperturbrl.tl.fit_generator"):
        spr.tl.predict(toy)
