import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from scperturbrl.verifiers import pearson_topk


def slow(cells, reference, *, n_genes, n_cells=None):
    def score(c, x):
        limit = reference.bank.shape[2] if n_cells else None
        genes = reference.ranked_genes[c, :limit][:n_genes].numpy()
        control, x = reference.control_mean[c, genes].numpy(), x[genes].numpy()
        if n_cells is None:
            return pearsonr(x - control, reference.effect[c, genes].numpy())[0]
        bank = reference.bank[c, :, : len(genes)].numpy()
        others = [y for y in bank if not np.isnan(y).any() and np.abs(x - y).max() >= 1e-6]
        return np.mean(sorted(pearsonr(x - control, y - control)[0] for y in others)[-n_cells:])

    return [[score(c, x) for x in cells[c]] for c in range(len(reference))]


@pytest.mark.parametrize("n_cells", [1, 4, 100])
@pytest.mark.parametrize("n_genes", [3, 12, 500])
def test_cells_mode_is_the_slow_loop(world, n_genes, n_cells):
    got = pearson_topk(n_genes=n_genes, n_cells=n_cells)(world.cells, world.reference)
    np.testing.assert_allclose(got, slow(world.cells, world.reference, n_genes=n_genes, n_cells=n_cells), atol=1e-12)


@pytest.mark.parametrize("n_genes", [3, 12, 500])
def test_genes_mode_is_the_slow_loop(world, n_genes):
    got = pearson_topk(reference="genes", n_genes=n_genes)(world.cells, world.reference)
    np.testing.assert_allclose(got, slow(world.cells, world.reference, n_genes=n_genes), atol=1e-12)


def test_single_precision_is_close(make_world):
    world, precise = make_world(dtype=torch.float32), make_world()
    got = pearson_topk(n_cells=3)(world.cells, world.reference)
    torch.testing.assert_close(
        got.double(), pearson_topk(n_cells=3)(precise.cells, precise.reference), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bank_cell_is_not_compared_with_itself(make_world, dtype):
    world = make_world(dtype=dtype)
    got = pearson_topk(n_cells=2)(world.bank_cells, world.reference)
    np.testing.assert_allclose(got, slow(world.bank_cells, world.reference, n_genes=50, n_cells=2), atol=1e-5)
    assert (got < 0.999).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_near_copy_of_a_bank_cell_is_compared_with_it(make_world, dtype):
    world = make_world(dtype=dtype)
    got = pearson_topk(n_cells=1)(world.bank_cells + 1e-3 * torch.rand_like(world.bank_cells), world.reference)
    assert (got > 0.999).all()


def test_padding_rows_of_the_bank_do_not_count(world):
    bank = torch.cat([world.reference.bank, torch.full_like(world.reference.bank, torch.nan)], dim=1)
    order = torch.randperm(bank.shape[1], generator=torch.Generator().manual_seed(0))
    padded = world.reference.replace(bank=bank[:, order])
    verifier = pearson_topk(n_cells=20)
    torch.testing.assert_close(verifier(world.cells, padded), verifier(world.cells, world.reference))


def test_no_bank_and_too_few_genes_are_nan(world):
    bank = world.reference.bank.clone()
    bank[1] = torch.nan
    got = pearson_topk()(world.cells, world.reference.replace(bank=bank))
    assert got.isnan().all(-1).tolist() == [False, True, False]
    assert got[[0, 2]].isfinite().all()
    few = world.reference.replace(ranked_genes=world.reference.ranked_genes[:, :2], bank=bank[..., :2])
    assert pearson_topk()(world.cells, few).isnan().all()
    assert pearson_topk(reference="genes")(world.cells, few).isnan().all()


def test_a_bank_of_only_the_cell_itself_is_nan(world):
    alone = world.reference.replace(bank=world.reference.bank[:, :1])
    assert pearson_topk()(world.bank_cells[:, :1], alone).isnan().all()


@pytest.mark.parametrize("mode", ["cells", "genes"])
def test_a_cell_without_effect_scores_zero_without_gradient(world, mode):
    cells = (world.reference.control_mean.unsqueeze(1) + 0.3).requires_grad_()
    score = pearson_topk(reference=mode)(cells, world.reference)
    score.sum().backward()
    assert (score == 0).all()
    assert (cells.grad == 0).all()


@pytest.mark.parametrize("settings", [{"reference": "cell"}, {"n_genes": 2}, {"n_cells": 0}])
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        pearson_topk(**settings)
