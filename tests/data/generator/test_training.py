from __future__ import annotations

import numpy as np
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator import training
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.generator.task import build_task
from scperturbrl.flow.rollout.yardstick import Yardstick


def test_the_distance_in_a_validation_context_follows_the_weights_of_the_flow(monkeypatch):
    adata = spr.datasets.simulated_contexts(
        n_genes=60, n_singles=3, n_cell_types=2, n_cells_per_condition=30, n_controls=60, n_programs=9, n_pathways=6
    )
    perturbed, types = adata.obs["perturbation"] != "control", adata.obs["cell_type"].astype(str)
    adata.obs["side"] = np.where(perturbed & (types == "B2"), "validation", "train")
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="column", column="side")
    spr.tl.fit_generator(adata, n_steps=5, width=32, n_latent=6, progress=False)
    stored, cells = read_generator(adata, "generator"), Cells.of(adata)
    made = []
    monkeypatch.setattr(training, "Yardstick", lambda task: made.append(Yardstick(task)) or made[-1])
    assert np.isfinite(training._distance(stored, cells, 0, torch.device("cpu"))(stored.generator))
    of_validation = made[0]
    # otherwise the cells are shifted control cells, whatever the weights
    shifted = Yardstick(build_task(stored, cells, cells.conditions("validation"), "validation", seed=0))
    before = [yardstick.measure(stored.generator, seed=0) for yardstick in (of_validation, shifted)]
    with torch.no_grad():
        for weight in stored.generator.velocity.parameters():
            weight.add_(0.1 * torch.ones_like(weight))
    after = [yardstick.measure(stored.generator, seed=0) for yardstick in (of_validation, shifted)]
    assert abs(after[0] - before[0]) > 0.01
    assert after[1] == before[1]
