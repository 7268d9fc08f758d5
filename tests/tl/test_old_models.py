from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

import scperturbrl as spr
from scperturbrl.data.generator.stored import read_generator

MODELS = Path(__file__).parent / "models"


def test_a_model_of_version_0_1_loads_and_is_the_same(toy):
    spr.tl.load_generator(toy, MODELS / "v0_1", key_added="old")
    record = toy.uns["old"]
    assert record["params"]["versions"]["scperturbrl"] == "0.1.0"
    assert record["params"]["parent"] == "generator"
    assert list(record["history"]["iteration"]) == [0, 2]
    x, code = torch.linspace(-1, 1, 12).view(2, 6), torch.linspace(-1, 1, 32).view(2, 16)
    generator = read_generator(toy, "old").generator
    with torch.no_grad():
        velocity = generator.velocity(x, torch.tensor([0.2, 0.7]), -x, code, code.flip(0))
    expected = json.loads((MODELS / "v0_1_velocity.json").read_text())
    np.testing.assert_allclose(velocity.numpy(), expected, atol=1e-5)


def test_it_still_predicts(toy):
    spr.tl.load_generator(toy, MODELS / "v0_1", key_added="old")
    new = spr.tl.predict(toy, key="old", n_cells=100)
    assert np.isfinite(new.X.toarray()).all()
    effect = np.asarray(new.X.mean(0)).ravel() - np.asarray(toy.X.mean(0)).ravel()
    assert np.abs(effect).mean() < 0.2
