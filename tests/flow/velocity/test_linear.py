from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from scperturbrl.flow.velocity import linear
from scperturbrl.flow.velocity.linear import Linear


def both(bias=True):
    """A layer, and the same as PyTorch has it."""
    torch.manual_seed(0)
    ours, theirs = Linear(30, 20, bias=bias), nn.Linear(30, 20, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 30), (2, 3, 30), (0, 30), (1, 30)])
def test_values_and_gradients_are_those_of_torch(shape, bias):
    ours, theirs = both(bias)
    x, y = (torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True) for _ in range(2))
    found, expected = ours(x), theirs(y)
    assert (found.shape, found.dtype, found.layout) == (expected.shape, expected.dtype, torch.strided)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, dict(theirs.named_parameters())[name].grad)


@torch.no_grad()
def test_a_cell_does_not_depend_on_the_others():
    ours, _ = both()
    x = torch.randn(50, 30, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x)[:13], ours(x[:13]), rtol=0, atol=0)
    # a part of the columns of something larger
    torch.testing.assert_close(ours(torch.cat([x, x], 1)[:, 30:]), ours(x), rtol=0, atol=0)


def test_it_is_copied_and_frozen_as_every_layer():
    ours, _ = both()
    frozen = copy.deepcopy(ours).requires_grad_(False)
    x = torch.randn(4, 30, requires_grad=True)
    frozen(x).sum().backward()
    assert frozen.weight.grad is None
    torch.testing.assert_close(x.grad, ours.weight.sum(0).expand(4, -1))


def test_other_precisions_are_left_to_torch():
    ours, theirs = both()
    x = torch.randn(4, 30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = ours(x), theirs(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(copy.deepcopy(ours).double()(x.double()), copy.deepcopy(theirs).double()(x.double()))


def test_without_onednn_it_is_the_layer_of_torch(monkeypatch):
    monkeypatch.setattr(linear, "_ONEDNN", False)
    ours, theirs = both()
    x = torch.randn(4, 30)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
