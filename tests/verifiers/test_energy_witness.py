import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from scperturbrl.flow.rollout.energy import energy_distance
from scperturbrl.verifiers import _energy_witness, energy_witness


def test_scores_are_those_of_scipys_distances(world):
    projection = world.reference.projection.numpy()
    for c in range(3):
        own, bank = world.cells[c].numpy() @ projection, world.reference.bank_points[c].numpy()
        among = cdist(own, own).sum(1) / (len(own) - 1)
        expected = among - cdist(own, bank).mean(1)
        np.testing.assert_allclose(energy_witness()(world.cells, world.reference)[c], expected, rtol=1e-5)


@pytest.mark.parametrize("pairs", [1, 100])
def test_blocks_change_no_score_and_no_gradient(world, pairs, monkeypatch):
    cells = world.cells.clone().requires_grad_()
    whole = energy_witness()(cells, world.reference)
    (slope,) = torch.autograd.grad(whole.sum(), cells)
    monkeypatch.setattr(_energy_witness, "MAX_PAIRS", pairs)
    again = energy_witness()(cells, world.reference)
    torch.testing.assert_close(again, whole)
    torch.testing.assert_close(torch.autograd.grad(again.sum(), cells)[0], slope)


def test_padding_of_the_bank_is_ignored(world):
    padded = torch.cat([world.reference.bank_points, torch.full((3, 4, 6), torch.nan, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(
        energy_witness()(world.cells, world.reference.replace(bank_points=padded)),
        energy_witness()(world.cells, world.reference),
    )


def test_its_gradient_descends_the_energy_distance(world):
    cells = world.controls.clone().requires_grad_()
    (climb,) = torch.autograd.grad(energy_witness()(cells, world.reference).sum(), cells)
    energy = energy_distance(cells @ world.reference.projection, world.reference.bank_points)
    (descend,) = torch.autograd.grad(energy.sum(), cells)
    torch.testing.assert_close(climb, -cells.shape[1] / 2 * descend, rtol=1e-3, atol=1e-6)


def test_small_groups_score_as_large_ones_do_on_average(make_world):
    world = make_world(2, n=200, M=200)
    whole = energy_witness()(world.cells, world.reference).mean()
    groups = [energy_witness()(world.cells[:, i : i + 4], world.reference).mean() for i in range(0, 200, 4)]
    assert torch.stack(groups).mean().item() == pytest.approx(whole.item(), abs=0.05)
    assert abs(whole) < 0.1


def test_a_group_of_one_and_a_condition_without_cells_have_no_score(world):
    assert energy_witness()(world.cells[:, :1], world.reference).isnan().all()
    empty = world.reference.replace(bank_points=torch.full_like(world.reference.bank_points, torch.nan))
    assert energy_witness()(world.cells, empty).isnan().all()
