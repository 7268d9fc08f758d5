"""What each further verifier is for: cells that please the first verifiers and should not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

import scperturbrl as spr
from scperturbrl import verifiers
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.reference.stored import read_calibration, read_reference
from scperturbrl.verifiers import calibrate

ALL = [
    *verifiers.DEFAULT,
    "energy_witness",
    "specificity",
    "target_direction",
    "tf_activity",
    "plausibility",
    "identity_retention",
    "nonresponder_stability",
]


@dataclass
class Screen:
    spare: object
    table: object
    reference: object
    calibration: object

    def score(self, made):
        """Mean calibrated score of cells made for each condition, a table conditions x verifiers."""
        chosen, rows = verifiers.resolve(ALL), []
        for c, block in enumerate(made):
            one = torch.tensor([c])
            raw = torch.stack([v(block[None], self.reference.select(one)) for v in chosen], dim=-1)
            rows.append(calibrate(raw, self.calibration.select(one))[0].nanmean(0))
        return pd.DataFrame(np.stack(rows), index=self.table.conditions, columns=ALL)

    def real(self):
        return [self.unused(name) for name in self.table.conditions]

    def controls(self):
        return [self.unused("control | " + name.split(" | ")[1]) for name in self.table.conditions]

    def unused(self, condition):
        """Real cells that the reference never saw."""
        label = self.spare.obs["perturbation"].astype(str) + " | cell_type=" + self.spare.obs["cell_type"].astype(str)
        return torch.as_tensor(self.spare.X[(label == condition).to_numpy()].toarray())


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=300,
        n_singles=6,
        n_doubles=2,
        n_cells_per_condition=160,
        n_controls=300,
        cell_types=("A", "B"),
        library_size=3000,
        effect_size=1.5,
        n_programs=12,
        n_pathways=8,
    )
    mine = np.random.default_rng(0).random(adata.n_obs) < 0.6
    adata, spare = adata[mine].copy(), adata[~mine].copy()
    adata.obs["everything"] = "train"
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="column", column="everything")
    pathways = adata.uns["pathway_network"]
    # each gene is known to pathways or to regulons, so a cell can please one without the other
    own = pathways["target"].str[-1].astype(int) % 2 == 0
    factors = pathways[~own].assign(source=pathways["source"].str.replace("PATHWAY", "TF"))
    spr.pp.reference(adata, network=pathways[own], tf_network=factors)
    cells, chosen = Cells.of(adata), verifiers.resolve(ALL)
    table, reference = read_reference(adata, cells, chosen)
    return Screen(spare, table, reference, read_calibration(adata, cells, table.conditions, chosen))


@pytest.fixture(scope="module")
def real(screen):
    return screen.score(screen.real())


def test_real_cells_pass_every_verifier(real):
    means = real.mean()
    assert (means > 0.3).all()


def test_control_cells_pass_the_safeguards_only(screen):
    scores = screen.score(screen.controls()).mean()
    for name in ALL:
        if verifiers.get(name).safeguard:
            assert scores[name] > 0.4
        else:
            assert abs(scores[name]) < 0.2


@pytest.fixture(scope="module")
def copies_of_the_mean(screen):
    return screen.score([block.mean(0, keepdim=True).expand(40, -1) for block in screen.real()])


def test_the_mean_pleases_the_first_four(copies_of_the_mean, real):
    for name in verifiers.DEFAULT:
        assert copies_of_the_mean[name].mean() > real[name].mean()


@pytest.mark.parametrize("name", ["energy_witness", "plausibility"])
def test_copies_of_the_mean_are_blocked(copies_of_the_mean, name):
    assert copies_of_the_mean[name].mean() < -0.6
    assert copies_of_the_mean[name].max() < 0.2


def test_inflated_effects_are_blocked_by_plausibility_and_witness(screen, real):
    inflated = [
        (block + 2 * effect).clamp_min(0) for block, effect in zip(screen.real(), screen.reference.effect, strict=True)
    ]
    scores = screen.score(inflated)
    for name in ("pearson_topk", "de_spearman", "pathway_activity"):
        assert scores[name].mean() > real[name].mean()
    for name in ("plausibility", "energy_witness"):
        assert scores[name].mean() < real[name].mean() - 0.5


def test_a_shift_of_the_quiet_genes_is_blocked_by_stability(screen, real):
    made = [block + 0.4 * quiet for block, quiet in zip(screen.real(), screen.reference.quiet, strict=True)]
    scores = screen.score(made)
    for name in ("pearson_topk", "rmse_topk"):
        assert scores[name].mean() == pytest.approx(real[name].mean(), abs=0.05)
    assert scores["nonresponder_stability"].mean() < real["nonresponder_stability"].mean() - 0.6


def test_drifting_to_another_cell_type_is_blocked_by_identity(screen, real):
    reference, made = screen.reference, []
    means = torch.stack([reference.control_mean[reference.group == q][0] for q in (0, 1)])
    for c, block in enumerate(screen.real()):
        group = int(reference.group[c])
        drift = means[1 - group] - means[group]
        drift[reference.ranked_genes[c, :50]] = 0
        made.append((block + drift).clamp_min(0))
    scores = screen.score(made)
    for name in ("pearson_topk", "rmse_topk"):
        assert scores[name].mean() == pytest.approx(real[name].mean(), abs=0.05)
    assert scores["identity_retention"].mean() < -0.5


def test_a_response_without_its_cause_is_blocked_by_target_direction(screen, real):
    made = []
    for c, block in enumerate(screen.real()):
        cells, controls = block.clone(), screen.controls()[c]
        genes = screen.reference.targets[c][screen.reference.targets[c] >= 0]
        cells[:, genes] = controls[: len(cells)][:, genes]
        made.append(cells)
    scores = screen.score(made)
    for name in verifiers.DEFAULT:
        assert scores[name].mean() == pytest.approx(real[name].mean(), abs=0.1)
    assert abs(scores["target_direction"].mean()) < 0.25


def test_the_average_response_is_blocked_by_specificity(screen):
    average = screen.reference.effect.mean(0)
    made = [(controls + 5 * average).clamp_min(0) for controls in screen.controls()]
    scores = screen.score(made).mean()
    assert scores["pearson_topk"] > 0.3
    assert scores["specificity"] < 0


def test_marker_genes_of_pathways_are_not_enough_for_regulons(screen, real):
    network, made = screen.reference.network, []
    raised = (network - network[network.abs().sum(1).argmin()]).clamp_min(0)
    for c, controls in enumerate(screen.controls()):
        push = raised @ (screen.reference.pathway_response[c] * (screen.reference.pathway_weight[c] > 0))
        made.append((controls + 3 * push / push.abs().max()).clamp_min(0))
    scores = screen.score(made)
    assert scores["pathway_activity"].mean() > real["pathway_activity"].mean()
    assert scores["tf_activity"].mean() < 0.5
