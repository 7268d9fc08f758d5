from __future__ import annotations

import pytest
import torch

from scperturbrl.flow.velocity_mlp import VelocityMLP
from scperturbrl.flow.velocity_transformer import VelocityTransformer


@pytest.mark.parametrize("kind", [VelocityMLP, VelocityTransformer])
def test_half_the_bits_give_nearly_the_same(kind):
    torch.manual_seed(0)
    model = kind(12, 32, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    inputs = torch.randn(20, 12), torch.rand(20), torch.randn(20, 12), torch.randn(20, 32), torch.randn(20, 32)
    with torch.no_grad():
        exact = model(*inputs)
        model.precision = "bfloat16"
        rough = model(*inputs)
    assert rough.dtype == torch.float32
    error = (rough - exact).norm() / exact.norm()
    assert 1e-5 < error < 0.03


@pytest.mark.parametrize("kind", [VelocityMLP, VelocityTransformer])
def test_weights_and_gradients_stay_in_single_precision(kind):
    model = kind(6, 16, 1, precision="bfloat16")
    torch.nn.init.normal_(model.outlet.weight)
    inputs = torch.randn(4, 6), torch.rand(4), torch.randn(4, 6), torch.randn(4, 16), torch.randn(4, 16)
    model(*inputs).square().mean().backward()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


def test_a_perceptron_needs_all_coordinates():
    model = VelocityMLP(6, 16, 1)
    inputs = torch.randn(4, 6), torch.rand(4), torch.randn(4, 6), torch.randn(4, 16), torch.randn(4, 16)
    with pytest.raises(ValueError, match="'mlp'.*'transformer'"):
        model(*inputs, torch.arange(6))
    assert model.drawn_genes(3, torch.Generator()) is None
