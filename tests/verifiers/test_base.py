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
    assert {value.device.type for value in moved.tensors().values()} == {"meta"}
    assert moved.conditions == world.reference.conditions


@pytest.mark.parametrize("shape", [(3, 60), (2, 5, 60)])
def test_cells_of_another_shape_are_refused(world, shape):
    with pytest.raises(ValueError, match=r"expected \(3, n, n_genes\)"):
        pearson_topk()(torch.zeros(shape), world.reference)


def test_a_verifier_calls_its_score(world):
    verifier = Verifier("mean", lambda cells, reference: cells.mean(-1), "Mean", "Mean expression.", (0, torch.inf))
    torch.testing.assert_close(verifier(world.cells, world.reference), world.cells.mean(-1))


def of(score):
    return Verifier("mine", score, "Mine", "A user's.", (0, torch.inf))


@pytest.mark.parametrize(
    ("score", "error", "message"),
    [
        (
            lambda cells, _: cells.mean((0, 1)),
            ValueError,
            r"returned a tensor of shape \(60,\).*expected a tensor of shape \(3, ",
        ),
        (lambda cells, _: cells.mean(), ValueError, r"returned a tensor of shape \(\)"),
        (
            lambda cells, _: cells.mean(-1).numpy(),
            TypeError,
            r"returned a ndarray.*torch\.as_tensor.*differentiable=False",
        ),
        (lambda cells, _: None, TypeError, "returned a NoneType"),
        (lambda cells, _: cells.mean(-1).to(torch.complex64), TypeError, r"returned a tensor of torch\.complex64"),
        (lambda cells, _: cells.mean(-1).to("meta"), ValueError, "returned.*on meta; expected.*on cpu"),
        (lambda cells, _: 1 / 0, ValueError, "failed on cells of shape.*ZeroDivisionError: division by zero"),
        (lambda cells, _: cells @ torch.ones(7), ValueError, "failed on cells of shape.*RuntimeError"),
    ],
)
def test_a_verifier_of_the_users_that_goes_wrong_is_named(world, score, error, message):
    with pytest.raises(error, match=f"The verifier 'mine' {message}"):
        of(score)(world.cells, world.reference)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_scores_take_the_type_of_the_cells(world, dtype):
    found = of(lambda cells, _: (cells.sum(-1) > 9).to(dtype))(world.cells, world.reference)
    assert found.dtype == world.cells.dtype
    torch.testing.assert_close(found, (world.cells.sum(-1) > 9).to(world.cells.dtype))


def test_memory_that_runs_out_in_a_verifier_is_left_to_the_batch_size(world):
    def greedy(cells, _):
        raise MemoryError

    with pytest.raises(MemoryError):
        of(greedy)(world.cells, world.reference)
