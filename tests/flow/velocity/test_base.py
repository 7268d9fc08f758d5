from __future__ import annotations

import pytest
import torch

from scperturbrl.flow.velocity.mlp import VelocityMLP
from scperturbrl.flow.velocity.transformer import VelocityTransformer


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


@pytest.mark.parametrize("n_cells", [20, 2**15])
@pytest.mark.parametrize("kind", [VelocityMLP, VelocityTransformer])
def test_conditions_give_their_cells_what_cells_of_their_own_get(kind, n_cells):
    torch.manual_seed(0)
    model = kind(12, 16, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        # more gene tokens than the transformer takes at a time, in the second case
        x, control, index = torch.randn(n_cells, 12), torch.randn(n_cells, 12), torch.randint(5, (n_cells,))
        code, total, t = torch.randn(5, 16), torch.randn(5, 16), torch.full((1,), 0.3)
        each = model(x, t.expand(n_cells), control, code[index], total[index])
        torch.testing.assert_close(model(x, t, control, code, total, index=index), each, rtol=1e-4, atol=1e-4)
