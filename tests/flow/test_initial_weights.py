from __future__ import annotations

import pytest
import torch
from torch import nn

from scperturbrl.flow.condition_encoder import ConditionEncoder
from scperturbrl.flow.initial_weights import OwnDraws
from scperturbrl.flow.velocity.mlp import VelocityMLP
from scperturbrl.flow.velocity.transformer import VelocityTransformer

BUILD = {
    "mlp": lambda: VelocityMLP(3, 8, 1),
    "transformer": lambda: VelocityTransformer(5, 8, 1),
    "encoder": lambda: ConditionEncoder(3, 2, (2,), 8),
    "embedding": lambda: nn.Embedding(3, 4, padding_idx=0),
}


def built(name, seed, device="cpu"):
    with torch.device(device), OwnDraws(torch.Generator().manual_seed(seed)):
        return BUILD[name]().state_dict()


@pytest.mark.parametrize("name", BUILD)
def test_the_first_weights_are_those_of_the_usual_constructor_at_that_seed(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = BUILD[name]().state_dict()
    before = torch.get_rng_state()
    found = built(name, 3)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert any(not torch.equal(found[key], value) for key, value in built(name, 4).items())


def test_modules_without_memory_can_be_built():
    assert all(value.is_meta for value in built("transformer", 0, "meta").values())
