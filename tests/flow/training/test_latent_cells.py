from __future__ import annotations

import itertools

import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.training.latent_cells import CHUNK, transport_partners


def cost(cells, control, partner):
    return (cells - control[partner]).square().sum().item()


def test_a_small_assignment_is_the_best_of_all():
    rng = torch_rng(0, "test")
    cells, control = torch.randn(6, 2, generator=rng), torch.randn(6, 2, generator=rng)
    partner = transport_partners(cells, control, rng)
    best = min(cost(cells, control, torch.tensor(order)) for order in itertools.permutations(range(6)))
    assert cost(cells, control, partner) == pytest.approx(best, rel=1e-5)
    assert sorted(partner.tolist()) == list(range(6))


def test_few_control_cells_are_used_equally_often():
    rng = torch_rng(1, "test")
    partner = transport_partners(torch.randn(40, 3, generator=rng), torch.randn(10, 3, generator=rng), rng)
    assert torch.bincount(partner, minlength=10).tolist() == [4] * 10


def test_many_cells_are_paired_in_chunks_and_closer_than_at_random():
    rng = torch_rng(2, "test")
    cells, control = torch.randn(CHUNK + 100, 2, generator=rng), torch.randn(900, 2, generator=rng)
    partner = transport_partners(cells, control, rng)
    assert len(partner) == len(cells)
    assert cost(cells, control, partner) < 0.3 * cost(cells, control, torch.randint(900, (len(cells),), generator=rng))
