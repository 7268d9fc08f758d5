import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from scperturbrl.verifiers import de_spearman


def slow(cells, reference, *, min_genes=20, max_genes=200):
    def score(c, x):
        k = max(min_genes, min(int(reference.n_significant[c]), max_genes))
        genes = reference.ranked_genes[c, :k]
        return spearmanr(x[genes] - reference.control_mean[c, genes], reference.effect[c, genes])[0]

    return [[score(c, x) for x in cells[c]] for c in range(len(reference))]


@pytest.mark.parametrize("limits", [{}, {"min_genes": 3, "max_genes": 200}, {"min_genes": 5, "max_genes": 8}])
@pytest.mark.parametrize("significant", [[0, 25, 40], [7, 7, 7], [1000, 3, 0]])
def test_score_is_the_slow_loop(world, limits, significant):
    reference = world.reference.replace(n_significant=torch.tensor(significant))
    np.testing.assert_allclose(
        de_spearman(**limits)(world.cells, reference), slow(world.cells, reference, **limits), atol=1e-12
    )


def test_ties_share_ranks(world):
    flat = world.reference.replace(control_mean=torch.ones_like(world.reference.control_mean))
    cells = world.cells.mul(2).round().div(2)
    np.testing.assert_allclose(de_spearman()(cells, flat), slow(cells, flat), atol=1e-12)


def test_soft_ranks_tend_to_hard_ones(world):
    hard = de_spearman()(world.cells, world.reference)
    soft = [de_spearman(soft=True, temperature=t)(world.cells, world.reference) for t in (1.0, 0.1, 1e-4)]
    errors = [(score - hard).abs().max() for score in soft]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-2


def test_climbing_the_soft_gradient_raises_the_hard_score(world):
    cells = world.controls.clone().requires_grad_()
    soft, hard = de_spearman(soft=True), de_spearman()
    (gradient,) = torch.autograd.grad(soft(cells, world.reference).sum(), cells)
    step = cells.detach() + 0.5 * gradient / gradient.norm(dim=-1, keepdim=True)
    assert (hard(step, world.reference) > hard(cells, world.reference)).all()


def test_a_monotone_change_of_the_effect_does_not_matter(world):
    control = world.reference.control_mean.unsqueeze(1)
    changed = control + 3 * (world.cells - control) ** 3 + (world.cells - control)
    torch.testing.assert_close(de_spearman()(changed, world.reference), de_spearman()(world.cells, world.reference))


@pytest.mark.parametrize("soft", [False, True])
def test_a_cell_without_effect_scores_zero(world, soft):
    reference = world.reference.replace(control_mean=torch.ones_like(world.reference.control_mean))
    cells = torch.full_like(world.cells, 1.7).requires_grad_()
    score = de_spearman(soft=soft)(cells, reference)
    assert (score == 0).all()
    if soft:
        score.sum().backward()
        assert cells.grad.isfinite().all()


@pytest.mark.parametrize("soft", [False, True])
def test_too_few_genes_are_nan(world, soft):
    few = world.reference.replace(ranked_genes=world.reference.ranked_genes[:, :2])
    assert de_spearman(soft=soft)(world.cells, few).isnan().all()
    some = world.reference.replace(n_significant=torch.tensor([2, 3, 9]))
    got = de_spearman(soft=soft, min_genes=1)(world.cells, some)
    assert got.isnan().all(-1).tolist() == [True, False, False]
    assert got[1:].isfinite().all()


def test_limits_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="min_genes"):
        de_spearman(min_genes=30, max_genes=10)
