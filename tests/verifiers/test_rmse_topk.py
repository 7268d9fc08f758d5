import numpy as np
import pytest
import torch
from sklearn.metrics import root_mean_squared_error as rmse

from scperturbrl.verifiers import rmse_topk


def slow(cells, reference, *, n_genes, n_cells=None):
    def score(c, x):
        limit = reference.bank.shape[2] if n_cells else None
        genes = reference.ranked_genes[c, :limit][:n_genes].numpy()
        x = x[genes].numpy()
        if n_cells is None:
            return 1 / (1 + rmse(x, (reference.control_mean + reference.effect)[c, genes].numpy()))
        bank = reference.bank[c, :, : len(genes)].numpy()
        others = [y for y in bank if not np.isnan(y).any() and np.abs(x - y).max() >= 1e-6]
        return 1 / (1 + np.mean(sorted(rmse(x, y) for y in others)[:n_cells]))

    return [[score(c, x) for x in cells[c]] for c in range(len(reference))]


@pytest.mark.parametrize("n_cells", [1, 4, 100])
@pytest.mark.parametrize("n_genes", [3, 12, 500])
def test_cells_mode_is_the_slow_loop(world, n_genes, n_cells):
    got = rmse_topk(n_genes=n_genes, n_cells=n_cells)(world.cells, world.reference)
    np.testing.assert_allclose(got, slow(world.cells, world.reference, n_genes=n_genes, n_cells=n_cells), atol=1e-12)


@pytest.mark.parametrize("n_genes", [3, 12, 500])
def test_genes_mode_is_the_slow_loop(world, n_genes):
    got = rmse_topk(reference="genes", n_genes=n_genes)(world.cells, world.reference)
    np.testing.assert_allclose(got, slow(world.cells, world.reference, n_genes=n_genes), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bank_cell_is_not_compared_with_itself(make_world, dtype):
    world = make_world(dtype=dtype)
    got = rmse_topk(n_cells=2)(world.bank_cells, world.reference)
    np.testing.assert_allclose(got, slow(world.bank_cells, world.reference, n_genes=50, n_cells=2), atol=1e-5)
    assert (got < 0.9).all()


@pytest.mark.parametrize("shift", [1e-4, 1e-3, 1e-2, 1e-1])
def test_a_near_copy_survives_the_rounding_of_the_expanded_square(make_world, shift):
    world = make_world(dtype=torch.float32)
    got = rmse_topk(n_cells=1)(world.bank_cells + shift, world.reference)
    torch.testing.assert_close(got, torch.full_like(got, 1 / (1 + shift)), atol=1e-3, rtol=0)


def test_a_shift_of_all_expression_loses_no_precision(make_world):
    world, shift = make_world(dtype=torch.float32), 1000
    far = world.reference.replace(control_mean=world.reference.control_mean + shift, bank=world.reference.bank + shift)
    got = rmse_topk()(world.cells + shift, far)
    torch.testing.assert_close(got, rmse_topk()(world.cells, world.reference), atol=1e-3, rtol=0)


def test_closer_is_better(world):
    target = world.bank_cells[:, :1]
    steps = torch.tensor([3.0, 1.0, 0.3, 0.1, 0.0], dtype=target.dtype)
    score = rmse_topk(reference="genes")(
        (world.reference.control_mean + world.reference.effect).unsqueeze(1) + steps.view(1, -1, 1), world.reference
    )
    assert (score.diff(dim=1) > 0).all()
    torch.testing.assert_close(score[:, -1], torch.ones_like(score[:, -1]), atol=1e-5, rtol=0)


def test_padding_rows_of_the_bank_do_not_count(world):
    bank = torch.cat([torch.full_like(world.reference.bank, torch.nan), world.reference.bank], dim=1)
    verifier = rmse_topk(n_cells=20)
    torch.testing.assert_close(
        verifier(world.cells, world.reference.replace(bank=bank)), verifier(world.cells, world.reference)
    )


def test_no_bank_and_no_genes_are_nan(world):
    bank = world.reference.bank.clone()
    bank[1] = torch.nan
    got = rmse_topk()(world.cells, world.reference.replace(bank=bank))
    assert got.isnan().all(-1).tolist() == [False, True, False]
    assert got[[0, 2]].isfinite().all()
    none = world.reference.replace(ranked_genes=world.reference.ranked_genes[:, :0], bank=bank[..., :0])
    assert rmse_topk()(world.cells, none).isnan().all()
    assert rmse_topk(reference="genes")(world.cells, none).isnan().all()


@pytest.mark.parametrize("mode", ["cells", "genes"])
def test_gradient_is_finite_where_the_distance_is_zero(world, mode):
    reference = world.reference.replace(bank=world.reference.bank[:, [0, 0, 1]])
    cells = (reference.control_mean + reference.effect).unsqueeze(1).repeat(1, 2, 1)
    cells[:, 0] = world.bank_cells[:, 0]
    cells.requires_grad_()
    rmse_topk(reference=mode)(cells, reference).sum().backward()
    assert cells.grad.isfinite().all()
