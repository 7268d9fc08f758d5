from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from scperturbrl.flow.velocity.differential_attention import DifferentialAttention, initial_share


def by_hand(layer, tokens, others):
    tokens, others = (value.double().numpy() for value in (tokens, others))
    weight = {name: value.detach().double().numpy() for name, value in layer.state_dict().items()}
    n, length, width = tokens.shape
    head = width // layer.n_heads
    query, key, value = np.split(tokens @ weight["first.weight"].T, 3, axis=-1)
    second_query, second_key = np.split(others @ weight["second.weight"].T, 2, axis=-1)
    a, b, c, d = weight["share"]
    share = np.exp(a @ b) - np.exp(c @ d) + layer.initial
    found = np.zeros((n, length, width))
    for cell in range(n):
        for number in range(layer.n_heads):
            own = slice(number * head, (number + 1) * head)
            maps = [
                softmax(q[cell][:, own] @ k[cell][:, own].T / np.sqrt(head), axis=1)
                for q, k in ((query, key), (second_query, second_key))
            ]
            mixed = (maps[0] - share * maps[1]) @ value[cell][:, own]
            mixed /= np.sqrt(np.square(mixed).mean(1, keepdims=True) + 1e-5)
            found[cell][:, own] = mixed * weight["norm"] * (1 - layer.initial)
    return found @ weight["outlet.weight"].T + weight["outlet.bias"]


@pytest.mark.parametrize(("n_heads", "depth", "crossed"), [(1, 0, False), (2, 1, True), (4, 3, True)])
def test_it_is_the_difference_of_two_maps(n_heads, depth, crossed):
    torch.manual_seed(0)
    layer = DifferentialAttention(8, n_heads, depth)
    tokens, others = torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    with torch.no_grad():
        found = layer(tokens, others) if crossed else layer(tokens)
    np.testing.assert_allclose(found, by_hand(layer, tokens, others if crossed else tokens), atol=1e-5)


def test_the_share_grows_with_depth():
    assert initial_share(0) == pytest.approx(0.2)
    assert 0.2 < initial_share(1) < initial_share(4) < 0.8


def test_tokens_have_no_order():
    torch.manual_seed(1)
    layer, tokens, order = DifferentialAttention(8, 2, 0), torch.randn(2, 6, 8), torch.randperm(6)
    with torch.no_grad():
        torch.testing.assert_close(layer(tokens[:, order]), layer(tokens)[:, order], atol=1e-6, rtol=1e-5)
