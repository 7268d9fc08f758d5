import pytest
import torch

from scperturbrl.verifiers import Verifier, pearson_topk


def test_select_may_repeat_and_reorder(world):
    chosen = world.reference.select(torch.tensor([2, 0, 2]))
    assert chosen.conditions == ("gene2", "gene0", "gene2")
    assert len(chosen) == 3
    torch.testing.assert_close(chosen.bank, world.reference.bank[[2, 0, 2]])
    assert chosen.network is world.reference.network


def test_to_moves_every_tensor(world):
    moved = world.reference.to("meta")
    assert {value.device.type for value in vars(moved).values() if isinstance(value, torch.Tensor)} == {"meta"}
    assert moved.conditions == world.reference.conditions


@pytest.mark.parametrize("shape", [(3, 60), (2, 5, 60)])
def test_cells_of_another_shape_are_refused(world, shape):
    with pytest.raises(ValueError, match=r"expected \(3, n, n_genes\)"):
        pearson_topk()(torch.zeros(shape), world.reference)


def test_a_verifier_calls_its_score(world):
    verifier = Verifier("mean", lambda cells, reference: cells.mean(-1), "Mean", "Mean expression.", (0, torch.inf))
    torch.testing.assert_close(verifier(world.cells, world.reference), world.cells.mean(-1))
