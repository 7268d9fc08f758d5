"""Scoring: batched code compared with loops over cells; equal values are asserted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

import scperturbrl as spr
from benchmarks.speed.by_hand import four_verifiers, ulm
from benchmarks.speed.memory import peak
from benchmarks.speed.row import Row, at_least, compare, limit, seconds
from scperturbrl import verifiers
from scperturbrl._core.stats import spearman
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.components import training_components
from scperturbrl.data.reference.stored import read_reference
from scperturbrl.metrics import energy_distance, mean_pairwise_distance
from scperturbrl.verifiers._pathway_activity import ulm_t

if TYPE_CHECKING:
    import pandas as pd

    from scperturbrl.verifiers.base import Reference, Verifier

PART = "scoring"
_BATCH = 256
_LAYER = "scored"


class Scored(NamedTuple):
    """Cells ``(C, n, G)`` of the conditions of `reference`."""

    cells: torch.Tensor
    reference: Reference

    @property
    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Cells ``(C * n, G)`` and their conditions."""
        c, n, g = self.cells.shape
        return self.cells.reshape(c * n, g).numpy(), np.repeat(np.arange(c), n)


def measure(adata: ad.AnnData, *, n_loop: int = 600, repeats: int = 5) -> list[Row]:
    """Rows of what scores cells; loops over cells run on `n_loop` cells and are compared per cell."""
    spr.pp.reference(adata)
    cells = Cells.of(adata)
    _, reference = read_reference(adata, cells, verifiers.registry.resolve())
    scored = take(cells, reference)
    paper = [
        verifiers.pearson_topk(reference="genes", n_genes=100),
        verifiers.rmse_topk(reference="genes", n_genes=100),
        verifiers.de_spearman(min_genes=100, max_genes=100),
        verifiers.pathway_activity(),
    ]
    default = verifiers.registry.resolve()
    name = "four verifiers, against"
    return [
        *_four(f"{name} real cells (defaults)", default, scored, genes=0, stated=30, n_loop=n_loop, repeats=repeats),
        *_four(f"{name} mean effects", paper, scored, genes=100, stated=60, n_loop=n_loop, repeats=repeats),
        _ulm(scored, repeats),
        _spearman(scored, n_loop, repeats),
        _verb(adata, repeats),
    ]


def take(cells: Cells, reference: Reference, n: int = 100) -> Scored:
    """Up to `n` cells of every condition that has as many as the others."""
    rows = [np.flatnonzero(cells.codes == row)[:n] for row in cells.rows(reference.conditions)]
    full = [i for i, own in enumerate(rows) if len(own) == len(max(rows, key=len))]
    block = torch.as_tensor(np.stack([cells.block(rows[i]) for i in full]))
    return Scored(block, reference.select(torch.tensor(full)))


def _four(
    stage: str, chosen: list[Verifier], scored: Scored, *, genes: int, stated: float, n_loop: int, repeats: int
) -> list[Row]:
    flat, condition = scored.flat
    some = np.linspace(0, len(flat) - 1, min(n_loop, len(flat))).astype(int)
    ours = lambda: torch.stack([verifier(scored.cells, scored.reference) for verifier in chosen], -1)
    theirs = lambda: four_verifiers(flat[some], condition[some], scored.reference, genes=genes)
    np.testing.assert_allclose(ours().reshape(len(flat), -1)[some], theirs(), atol=2e-4)
    mine, loop = compare(ours, theirs, repeats=repeats)
    speed, reference = len(flat) / mine, len(some) / loop
    return [
        Row(PART, stage, speed, "cells/s", f"scipy and decoupler, {reference:,.0f} cells/s", speed / reference, stated),
        at_least(PART, f"{stage}, one core", speed, "cells/s", least=60_000),
    ]


def _ulm(scored: Scored, repeats: int) -> Row:
    flat, condition = scored.flat
    effects = flat - scored.reference.control_mean.numpy()[condition]
    ours = lambda: ulm_t(torch.as_tensor(effects), scored.reference.network)
    theirs = lambda: ulm(effects, scored.reference.network.numpy())
    np.testing.assert_allclose(ours().numpy(), theirs().to_numpy(), atol=2e-3, rtol=1e-3)
    mine, other = compare(ours, theirs, repeats=repeats)
    reference = f"decoupler.mt.ulm, {len(flat) / other:,.0f} cells/s"
    return Row(PART, "ulm", len(flat) / mine, "cells/s", reference, other / mine, 15)


def _spearman(scored: Scored, n_loop: int, repeats: int) -> Row:
    """Each cell's effect with its condition's mean effect; scipy ranks the latter anew for every cell, as loops do."""
    effects = scored.cells - scored.reference.control_mean.unsqueeze(1)
    targets = scored.reference.effect.unsqueeze(1)
    blocks = [(part, targets[i : i + 1]) for i in range(len(effects)) for part in effects[i : i + 1].split(_BATCH, 1)]
    pairs = [(cell.numpy(), targets[i, 0].numpy()) for i, own in enumerate(effects) for cell in own]
    some = np.linspace(0, len(pairs) - 1, min(n_loop, len(pairs))).astype(int)
    ours = lambda: torch.cat([spearman(part, target)[0] for part, target in blocks])
    theirs = lambda: [spearmanr(*pairs[i]).statistic for i in some]
    np.testing.assert_allclose(ours()[some], theirs(), atol=1e-5)
    mine, loop = compare(ours, theirs, repeats=repeats)
    speed, reference = len(pairs) / mine, len(some) / loop
    return Row(PART, "full-gene Spearman", speed, "cells/s", f"scipy, {reference:,.0f} cells/s", speed / reference, 10)


def energy_row(adata: ad.AnnData, *, repeats: int = 3) -> Row:
    """Every condition against the control cells on 50 components."""
    import pertpy as pt

    points = np.asarray(adata.X @ training_components(Cells.of(adata), n_components=50).loadings)
    sub = ad.AnnData(np.zeros((len(points), 1), np.float32), adata.obs[["perturbation"]].copy(), obsm={"X_pca": points})
    group = sub.obs["perturbation"].to_numpy()
    names = [name for name in sub.obs["perturbation"].cat.categories if name != "control"]
    of = {name: points[group == name] for name in [*names, "control"]}
    distance = pt.tl.Distance("edistance", obsm_key="X_pca")

    def theirs() -> pd.Series:
        # clear its cache of distances, which would make the next turn trivial
        sub.obsp.clear()
        return distance.onesided_distances(
            sub, groupby="perturbation", selected_group="control", groups=names, show_progressbar=False, n_jobs=1
        )

    def ours() -> np.ndarray:
        within = mean_pairwise_distance(of["control"])
        return np.array([energy_distance(of[name], of["control"], within_y=within) for name in names])

    # pertpy includes each cell's distance to itself
    own = {name: pdist(values).mean() / len(values) for name, values in of.items()}
    biased = ours() + [own[name] + own["control"] for name in names]
    np.testing.assert_allclose(biased, theirs()[names], rtol=1e-4, atol=1e-4)
    mine, other = compare(ours, theirs, repeats=repeats)
    speed, reference = len(names) / mine, len(names) / other
    return Row(
        PART, "energy distance", speed, "conditions/s", f"pertpy, {reference:,.1f} conditions/s", speed / reference, 20
    )


def _verb(adata: ad.AnnData, repeats: int) -> Row:
    """The function as users call it, on a sparse layer."""
    adata.layers[_LAYER] = adata.X.copy()
    work = lambda: spr.tl.score(adata, layer=_LAYER)
    return Row(PART, "tl.score", adata.n_obs / seconds(work, repeats=min(repeats, 3)), "cells/s")


def witness_memory(n_cells: int = 100_000) -> Row:
    """Memory that the energy witness takes for one condition of many cells."""
    witness, points = (
        verifiers.energy_witness(),
        torch.randn(1, n_cells, 50, generator=torch.Generator().manual_seed(0)),
    )
    reference = _empty_reference(points)
    with peak() as found:
        witness(points, reference)
    return limit(PART, f"memory of the energy witness, {n_cells:,} cells", found.extra, "MB", most=500)


def _empty_reference(points: torch.Tensor) -> Reference:
    from scperturbrl.verifiers import Reference

    d, none = points.shape[-1], torch.zeros(1, 0)
    return Reference(
        conditions=("one",),
        control_mean=torch.zeros(1, d),
        effect=torch.zeros(1, d),
        ranked_genes=torch.zeros(1, 3, dtype=torch.int64),
        n_significant=torch.zeros(1, dtype=torch.int64),
        bank=torch.zeros(1, 1, 3),
        network=torch.zeros(d, 0),
        pathway_response=none,
        pathway_weight=none,
        pathway_scale=none,
        projection=torch.eye(d),
        bank_points=points[:, :128].clone(),
    )
