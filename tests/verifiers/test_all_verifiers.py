import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scperturbrl.verifiers.bank as _bank
from scperturbrl.verifiers import (
    de_spearman,
    energy_witness,
    identity_retention,
    nonresponder_stability,
    pathway_activity,
    pearson_topk,
    plausibility,
    rmse_topk,
    specificity,
    target_direction,
    tf_activity,
)

VERIFIERS = {
    "pearson-cells": pearson_topk(n_genes=20, n_cells=5),
    "pearson-genes": pearson_topk(reference="genes", n_genes=20),
    "rmse-cells": rmse_topk(n_genes=20, n_cells=5),
    "rmse-genes": rmse_topk(reference="genes", n_genes=20),
    "spearman-hard": de_spearman(),
    "spearman-soft": de_spearman(soft=True),
    "pathway": pathway_activity(),
    "specificity": specificity(n_genes=20),
    "target": target_direction(),
    "tf": tf_activity(),
    "plausibility": plausibility(n_neighbours=3),
    "identity": identity_retention(),
    "stability": nonresponder_stability(),
    "witness": energy_witness(),
}
GENE_FIRST = ("network", "regulon", "projection", "identity_weight")
GENE_LAST = ("control_mean", "effect", "all_effects", "spread", "quiet")
each_verifier = pytest.mark.parametrize("verifier", VERIFIERS.values(), ids=VERIFIERS.keys())
fuzz = settings(deadline=None, max_examples=10)
seeds = st.integers(0, 2**16)


def permutation(size, seed):
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


@each_verifier
@fuzz
@given(seed=seeds)
def test_scores_follow_the_order_of_cells(make_world, verifier, seed):
    world = make_world(seed)
    order = permutation(world.cells.shape[1], seed)
    torch.testing.assert_close(
        verifier(world.cells[:, order], world.reference), verifier(world.cells, world.reference)[:, order]
    )


@each_verifier
@fuzz
@given(seed=seeds)
def test_names_of_genes_do_not_matter(make_world, verifier, seed):
    world = make_world(seed)
    order = permutation(world.cells.shape[2], seed)
    place, own = order.argsort(), world.reference
    reference = own.replace(
        ranked_genes=place[own.ranked_genes],
        targets=torch.where(own.targets < 0, -1, place[own.targets.clamp_min(0)]),
        **{name: getattr(own, name)[order] for name in GENE_FIRST},
        **{name: getattr(own, name)[:, order] for name in GENE_LAST},
    )
    torch.testing.assert_close(verifier(world.cells[..., order], reference), verifier(world.cells, world.reference))


@pytest.mark.parametrize("verifier", [v for k, v in VERIFIERS.items() if k != "witness"], ids=lambda v: v.name)
@fuzz
@given(seed=seeds)
def test_batches_do_not_matter(make_world, verifier, seed):
    world = make_world(seed)
    whole = verifier(world.cells, world.reference)
    by_cell = torch.cat([verifier(world.cells[:, [i]], world.reference) for i in range(world.cells.shape[1])], dim=1)
    by_condition = [verifier(world.cells[[c]], world.reference.select(torch.tensor([c]))) for c in range(3)]
    torch.testing.assert_close(by_cell, whole)
    torch.testing.assert_close(torch.cat(by_condition), whole)


@each_verifier
@fuzz
@given(seed=seeds, scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_scores_stay_in_their_range(make_world, verifier, seed, scale):
    world = make_world(seed, dtype=torch.float32)
    copies = torch.cat(
        [world.cells, world.bank_cells, (world.reference.control_mean + world.reference.effect)[:, None]], 1
    )
    scores = verifier(copies * scale, world.reference)
    low, high = verifier.range
    assert ((scores >= low) & (scores <= high)).all()


@each_verifier
def test_the_order_of_the_bank_does_not_matter(world, verifier):
    order = permutation(world.reference.bank.shape[1], 3)
    shuffled = world.reference.replace(
        bank=world.reference.bank[:, order], bank_points=world.reference.bank_points[:, order]
    )
    torch.testing.assert_close(verifier(world.cells, shuffled), verifier(world.cells, world.reference))


@each_verifier
def test_only_declared_fields_are_read(world, verifier):
    optional = {
        name: torch.zeros_like(value) for name, value in world.reference.tensors().items() if name not in verifier.reads
    }
    torch.testing.assert_close(
        verifier(world.cells, world.reference.replace(**optional)), verifier(world.cells, world.reference)
    )


@pytest.mark.parametrize("verifier", [v for v in VERIFIERS.values() if not v.safeguard], ids=lambda v: v.name)
def test_real_like_cells_score_above_controls_and_shuffled_cells(make_world, verifier):
    world = make_world(1, n=60)
    shuffled = world.cells[..., permutation(world.cells.shape[2], 0)]
    real = verifier(world.cells, world.reference).mean(1)
    assert (real > verifier(world.controls, world.reference).mean(1)).all()
    # one gene alone may be right by chance
    if verifier.name != "target_direction":
        assert (real > verifier(shuffled, world.reference).mean(1)).all()


@each_verifier
def test_a_cell_of_nan_scores_nan_and_leaves_the_others_alone(world, verifier):
    cells = world.cells.clone()
    cells[:, 2] = torch.nan
    scores = verifier(cells, world.reference)
    assert scores[:, 2].isnan().all()
    kept = [i for i in range(cells.shape[1]) if i != 2]
    torch.testing.assert_close(scores[:, kept], verifier(world.cells[:, kept], world.reference))


@each_verifier
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(make_world, verifier, dtype):
    world = make_world(dtype=dtype)
    assert verifier(world.cells, world.reference).dtype == dtype


@each_verifier
@fuzz
@given(seed=seeds)
def test_precision_does_not_matter_beyond_rounding(make_world, verifier, seed):
    world = make_world(seed, dtype=torch.float64)
    halves = {
        name: value.float() if value.is_floating_point() else value for name, value in world.reference.tensors().items()
    }
    single = verifier(world.cells.float(), world.reference.replace(**halves))
    double = verifier(world.cells, world.reference)
    torch.testing.assert_close(single.double(), double, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("verifier", [v for v in VERIFIERS.values() if v.differentiable], ids=lambda v: v.name)
def test_gradients_are_finite_and_not_zero(make_world, verifier):
    world = make_world(dtype=torch.float32)
    bank = world.reference.bank.clone()
    bank[0, 3:] = torch.nan
    cells = torch.cat([world.cells, world.bank_cells, world.reference.control_mean.unsqueeze(1)], 1).requires_grad_()
    verifier(cells, world.reference.replace(bank=bank)).sum().backward()
    assert cells.grad.isfinite().all()
    moved = (cells.grad[:, : world.cells.shape[1]] != 0).any(-1)
    # beyond real cells there is no credit, so no slope either
    assert moved.any() if verifier.name == "target_direction" else moved.all()


@pytest.mark.parametrize("verifier", [v for v in VERIFIERS.values() if v.differentiable], ids=lambda v: v.name)
def test_conditions_without_an_answer_give_no_nan_gradient(world, verifier):
    reference = world.reference.replace(
        bank=torch.full_like(world.reference.bank, torch.nan),
        pathway_weight=torch.zeros_like(world.reference.pathway_weight),
        regulon_weight=torch.zeros_like(world.reference.regulon_weight),
        bank_points=torch.full_like(world.reference.bank_points, torch.nan),
        rivals=torch.zeros_like(world.reference.rivals),
        quiet=torch.zeros_like(world.reference.quiet),
        targets=torch.full_like(world.reference.targets, -1),
    )
    cells = world.cells.clone().requires_grad_()
    verifier(cells, reference).nan_to_num().sum().backward()
    assert cells.grad.isfinite().all()


@pytest.mark.parametrize(
    "name", [name for name in VERIFIERS if name not in {"spearman-hard", "plausibility", "witness"}]
)
def test_gradients_are_those_of_finite_differences(make_world, name):
    world = make_world(C=2, n=2, G=12, R=8, K=8, M=5)
    cells = world.cells.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: VERIFIERS[name](x, world.reference), (cells,))


@pytest.mark.parametrize("verifier", [VERIFIERS["pearson-cells"], VERIFIERS["rmse-cells"]], ids=lambda v: v.name)
def test_many_cells_much_alike_are_compared_in_parts(make_world, verifier, monkeypatch):
    world = make_world(dtype=torch.float32)
    alike = world.bank_cells[:, :1] + 0.01 * torch.rand(3, 15, 60, generator=torch.Generator().manual_seed(0))
    bank = alike.gather(2, world.reference.ranked_genes[:, None, :30].expand(-1, 15, -1))
    reference = world.reference.replace(bank=bank)
    whole = verifier(alike, reference)
    monkeypatch.setattr(_bank, "MAX_PAIRS", 7)
    torch.testing.assert_close(verifier(alike, reference), whole)
    alone = torch.cat([bank[:, [0]], torch.full_like(bank[:, 1:], torch.nan)], dim=1)
    scores = verifier(alike, reference.replace(bank=alone))
    assert scores[:, 0].isnan().all()
    assert scores[:, 1:].isfinite().all()
