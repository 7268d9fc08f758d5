"""Identity retention, target direction, non-responder stability, specificity, TF activity."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import special, stats

from scperturbrl.verifiers import (
    identity_retention,
    nonresponder_stability,
    pathway_activity,
    specificity,
    target_direction,
    tf_activity,
)


def test_identity_is_the_probability_of_the_own_group(world):
    reference = world.reference
    logits = world.cells.numpy() @ reference.identity_weight.numpy() + reference.identity_bias.numpy()
    probability = special.softmax(logits, axis=-1)
    expected = np.stack([probability[c, :, c % 2] for c in range(3)])
    np.testing.assert_allclose(identity_retention()(world.cells, reference), expected)


def test_one_group_has_no_identity(world):
    nothing = world.reference.replace(identity_weight=torch.zeros(60, 0), identity_bias=torch.zeros(0))
    assert identity_retention()(world.cells, nothing).isnan().all()


def test_target_direction_is_the_clipped_share_of_the_mean_effect(world):
    reference = world.reference
    targets = torch.tensor([[4, 7], [9, -1], [-1, -1]])
    effect = reference.effect.clone()
    effect[0, 7] = 0
    found = target_direction()(world.cells, reference.replace(targets=targets, effect=effect)).numpy()
    for c, gene in ((0, 4), (1, 9)):
        share = (world.cells[c, :, gene] - reference.control_mean[c, gene]) / effect[c, gene]
        np.testing.assert_allclose(found[c], np.clip(share.numpy(), -1, 1))
    assert np.isnan(found[2]).all()


def test_two_targets_are_averaged(world):
    reference = world.reference.replace(targets=torch.tensor([[4, 7]] * 3))
    single = [target_direction()(world.cells, reference.replace(targets=torch.tensor([[g]] * 3))) for g in (4, 7)]
    torch.testing.assert_close(target_direction()(world.cells, reference), (single[0] + single[1]) / 2)


def test_stability_is_that_of_scipys_huber_loss(world):
    reference = world.reference
    z = ((world.cells - reference.control_mean[:, None]) / reference.spread[:, None]).numpy()
    for c in range(3):
        quiet = z[c][:, reference.quiet[c].numpy()]
        expected = 1 / (1 + special.huber(1.0, quiet).mean(1) + np.abs(quiet.mean(1)))
        np.testing.assert_allclose(nonresponder_stability()(world.cells, reference)[c], expected)


def test_a_gene_without_variance_does_not_blow_up(world):
    flat = world.reference.replace(spread=torch.zeros_like(world.reference.spread))
    assert nonresponder_stability()(world.cells, flat).isfinite().all()


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_specificity_is_the_lead_over_the_soft_maximum(world, temperature):
    reference = world.reference
    found = specificity(n_genes=20, temperature=temperature)(world.cells, reference).numpy()
    for c in range(3):
        genes = reference.ranked_genes[c, :20].numpy()
        effects = reference.all_effects.numpy()[:, genes]
        for i, cell in enumerate((world.cells[c] - reference.control_mean[c]).numpy()[:, genes]):
            r = np.array([stats.pearsonr(cell, effect).statistic for effect in effects])
            rivals = np.delete(r, c) / temperature
            expected = r[c] - temperature * (special.logsumexp(rivals) - np.log(2))
            assert found[c, i] == pytest.approx(expected, abs=1e-9)


def test_without_rivals_nothing_is_specific(world):
    rivals = world.reference.rivals.clone()
    rivals[1] = False
    found = specificity()(world.cells, world.reference.replace(rivals=rivals))
    assert found.isnan().all(1).tolist() == [False, True, False]


@pytest.mark.parametrize("settings", [{"n_genes": 2}, {"temperature": 0.0}])
def test_settings_that_cannot_be_meant_are_refused(settings):
    with pytest.raises(ValueError, match="`temperature`"):
        specificity(**settings)


def test_tf_activity_is_pathway_activity_of_another_network(world):
    own = world.reference
    swapped = own.replace(
        network=own.regulon,
        pathway_response=own.regulon_response,
        pathway_weight=own.regulon_weight,
        pathway_scale=own.regulon_scale,
    )
    torch.testing.assert_close(tf_activity()(world.cells, own), pathway_activity()(world.cells, swapped))


@pytest.mark.parametrize("verifier", [tf_activity(), target_direction(), specificity()], ids=lambda v: v.name)
def test_a_reference_made_without_what_is_needed_says_so(world, verifier):
    without = replace(world.reference, prepared={})
    with pytest.raises(ValueError, match="List it in `prepares`"):
        verifier(world.cells, without)
