"""The four default verifiers and their forms against the mean effect, written with scipy and decoupler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import decoupler as dc
import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import pearsonr, spearmanr

if TYPE_CHECKING:
    from scperturbrl.verifiers.base import Reference

_K, _NEAREST = 50, 10


def four_verifiers(cells: np.ndarray, condition: np.ndarray, reference: Reference, *, genes: int = 0) -> np.ndarray:
    """Scores ``(n, 4)`` of cells ``(n, G)`` of the conditions at `condition` ``(n,)``, cell by cell.

    With `genes` the first two compare with the mean effect at so many genes, and the third ranks them; otherwise with the
    bank of real cells, and the significant genes.
    """
    control, effect = reference.control_mean.numpy(), reference.effect.numpy()
    ranked, bank = reference.ranked_genes.numpy(), reference.bank.numpy()
    wanted = np.full(len(ranked), genes) if genes else reference.n_significant.numpy().clip(20, 200)
    scores = np.empty((len(cells), 4))
    for i, (cell, c) in enumerate(zip(cells, condition, strict=True)):
        change = cell - control[c]
        if genes:
            top = ranked[c, :genes]
            scores[i, 0] = pearsonr(change[top], effect[c, top]).statistic
            scores[i, 1] = 1 / (1 + np.sqrt(np.mean((change[top] - effect[c, top]) ** 2)))
        else:
            top = ranked[c, :_K]
            real = bank[c][np.isfinite(bank[c]).all(1)] - control[c, top]
            # a cell is never compared with itself
            real = real[np.abs(real - change[top]).max(1) >= 1e-6]
            alike = 1 - cdist(change[None, top], real, "correlation")[0]
            apart = cdist(change[None, top], real)[0] / np.sqrt(_K)
            scores[i, 0] = np.sort(alike)[-_NEAREST:].mean()
            scores[i, 1] = 1 / (1 + np.sort(apart)[:_NEAREST].mean())
        ordered = ranked[c, : wanted[c]]
        scores[i, 2] = spearmanr(change[ordered], effect[c, ordered]).statistic
    scores[:, 3] = _pathways(cells - control[condition], condition, reference)
    return scores


def _pathways(effects: np.ndarray, condition: np.ndarray, reference: Reference) -> np.ndarray:
    t = ulm(effects, reference.network.numpy()).to_numpy()
    correlation = t / np.sqrt(t**2 + effects.shape[1] - 2)
    response, weight, scale = (
        getattr(reference, f"pathway_{name}").numpy()[condition] for name in ("response", "weight", "scale")
    )
    agreement = np.tanh(np.sign(response) * correlation / np.maximum(scale, 1e-6))
    total = weight.sum(1)
    with np.errstate(invalid="ignore"):
        return (agreement * weight).sum(1) / np.where(total > 0, total, np.nan)


def ulm(effects: np.ndarray, network: np.ndarray) -> pd.DataFrame:
    """Decoupler's t-values ``(n, P)`` of effects ``(n, G)``."""
    genes = [f"g{i}" for i in range(effects.shape[1])]
    target, source = np.nonzero(network - np.median(network, axis=0))
    net = pd.DataFrame(
        {
            "source": [f"p{i:03d}" for i in source],
            "target": [genes[i] for i in target],
            "weight": (network - np.median(network, axis=0))[target, source],
        }
    )
    data = pd.DataFrame(effects, index=[f"c{i}" for i in range(len(effects))], columns=genes)
    return dc.mt.ulm(data, net, tmin=0)[0]
