"""Statistics of every condition from a set of real cells: effects, tests, pathway responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats

from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.cells.grouping import rows_of
from scperturbrl.data.reference.moments import check_cells, condition_moments, noise_of
from scperturbrl.verifiers._pathway_activity import standardise_network, ulm_correlation
from scperturbrl.verifiers.base import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells

N_RANKED = 200
N_BANK_GENES = 50


@dataclass(frozen=True)
class ReferenceTable:
    """Statistics of C perturbed conditions against the control cells of their group.

    Attributes
    ----------
    conditions
        Names of the conditions.
    control_mean
        ``(C, G)`` mean of the control cells.
    mean_effect
        ``(C, G)`` difference of means.
    effect
        ``(C, G)`` the same, shrunk by its sampling noise.
    statistic, padj
        ``(C, G)`` test statistic and false discovery rate (Benjamini-Hochberg) per gene.
    n_cells
        ``(C,)`` number of perturbed cells.
    targets
        ``(C, G)`` whether the gene is perturbed in the condition.
    pathway_response, pathway_statistic, pathway_scale
        ``(C, P)`` correlation of the effect with the network, Welch t of the cells' projections on it, and the
        spread of that correlation over single control cells.
    """

    conditions: list[str]
    control_mean: np.ndarray
    mean_effect: np.ndarray
    effect: np.ndarray
    statistic: np.ndarray
    padj: np.ndarray
    n_cells: np.ndarray
    targets: np.ndarray
    pathway_response: np.ndarray
    pathway_statistic: np.ndarray
    pathway_scale: np.ndarray

    @property
    def pathway_weight(self) -> np.ndarray:
        """``(C, P)`` absolute response of the pathways that respond (absolute t above 2), else 0."""
        return np.where(np.abs(self.pathway_statistic) > 2, np.abs(self.pathway_response), 0).astype(np.float32)

    def ranked_genes(self) -> np.ndarray:
        """``(C, R)`` genes by descending absolute statistic, without targets of the condition.

        Raises
        ------
        ValueError
            If a condition targets every gene.
        """
        return self._ranked

    @cached_property
    def _ranked(self) -> np.ndarray:
        strength = np.where(self.targets, -1.0, np.nan_to_num(np.abs(self.statistic), nan=-0.5))
        n_ranked = min(N_RANKED, strength.shape[1] - int(self.targets.sum(1).max(initial=0)))
        if not n_ranked:
            name = self.conditions[int(self.targets.sum(1).argmax())]
            msg = f"Every gene of `adata` is a target of condition {name!r}, so no gene is left to compare. Keep more genes."
            raise ValueError(msg)
        return np.argsort(-strength, axis=1, kind="stable")[:, :n_ranked]

    def to_tensors(self, bank: np.ndarray, network: np.ndarray) -> Reference:
        """Convert the table, the bank and the network to the tensors of verifiers."""
        ranked = self.ranked_genes()
        significant = np.take_along_axis(self.padj, ranked, 1) < 0.05
        as_tensor = lambda values: torch.as_tensor(np.array(values, dtype=np.float32))
        return Reference(
            conditions=tuple(self.conditions),
            control_mean=as_tensor(self.control_mean),
            effect=as_tensor(self.effect),
            ranked_genes=torch.as_tensor(ranked),
            n_significant=torch.as_tensor(significant.sum(1)),
            bank=as_tensor(bank),
            network=standardise_network(as_tensor(network)),
            pathway_response=as_tensor(self.pathway_response),
            pathway_weight=as_tensor(self.pathway_weight),
            pathway_scale=as_tensor(self.pathway_scale),
        )


def fit_reference(
    cells: Cells, use: np.ndarray, *, conditions: Sequence[str], network: np.ndarray, min_cells: int = 2
) -> ReferenceTable:
    """Compute the reference of `conditions` from the cells marked in `use`.

    The effect is shrunk gene by gene towards zero with the positive-part rule
    ``effect * max(0, 1 - noise / effect ** 2)``, where ``noise`` is the sampling variance of the difference of
    means: a difference that is not larger than its noise becomes 0. The statistic is Welch's t.

    Parameters
    ----------
    cells
        Expression and conditions.
    use
        ``(n_cells,)`` booleans; the other cells are not used.
    conditions
        Which conditions to summarise.
    network
        ``(n_genes, P)`` pathway weights.
    min_cells
        Conditions and control groups with fewer cells raise an error.

    Raises
    ------
    ValueError
        If a condition or its control group has fewer than `min_cells` usable cells.
    """
    rows = cells.rows(conditions)
    controls = [cells.control_row(row) for row in rows]
    moments = condition_moments(cells, use)
    check_cells(cells, moments[0], [*rows, *controls], min_cells)
    (n_p, mean_p, var_p), (n_c, mean_c, var_c) = ([x[of] for x in moments] for of in (rows, controls))
    effect, noise = mean_p - mean_c, noise_of(n_p, var_p, n_c, var_c)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic, p = stats.ttest_ind_from_stats(
            mean_p, np.sqrt(var_p), n_p[:, None], mean_c, np.sqrt(var_c), n_c[:, None], equal_var=False
        )
        shrunk = np.where(effect != 0, effect * np.maximum(0, 1 - noise / effect**2), 0)
    # without variance there is no test
    tested = np.isfinite(statistic)
    statistic, p = np.where(tested, statistic, 0), np.where(tested, p, 1)
    return ReferenceTable(
        conditions=list(conditions),
        control_mean=mean_c.astype(np.float32),
        mean_effect=effect.astype(np.float32),
        effect=shrunk.astype(np.float32),
        statistic=statistic.astype(np.float32),
        padj=stats.false_discovery_control(p, axis=1).astype(np.float32),
        n_cells=n_p.astype(int),
        targets=target_mask(cells, rows),
        **set_response(cells, use, network, shrunk, mean_c, rows, controls),
    )


def target_mask(cells: Cells, rows: Sequence[int]) -> np.ndarray:
    """``(C, G)`` whether a gene is perturbed in the condition at each of `rows`."""
    parts = cells.table["parts"].to_numpy()[list(rows)]
    number = np.repeat(np.arange(len(rows)), [len(own) for own in parts])
    gene = cells.genes.get_indexer([part for own in parts for part in own])
    found = np.zeros((len(rows), len(cells.genes)), dtype=bool)
    found[number[gene >= 0], gene[gene >= 0]] = True
    return found


def draw_bank(
    cells: Cells,
    use: np.ndarray,
    *,
    conditions: Sequence[str],
    ranked: np.ndarray,
    size: int,
    seed: int,
    share: float = 1.0,
) -> np.ndarray:
    """Draw up to `size` real cells of each condition, at its first ranked genes; ``(C, size, K)`` padded with NaN.

    No more than `share` of the cells of a condition are drawn.
    """
    genes = ranked[:, : min(N_BANK_GENES, ranked.shape[1])]
    bank = np.full((len(conditions), size, genes.shape[1]), np.nan, dtype=np.float32)
    members = rows_of(cells.codes, len(cells.table), use)
    for i, row in enumerate(cells.rows(conditions)):
        found = members[row]
        n = min(size, max(1, round(share * len(found))))
        drawn = shuffled(cells, found, seed, "bank")[:n]
        bank[i, : len(drawn)] = cells.block(drawn)[:, genes[i]]
    return bank


def set_response(
    cells: Cells,
    use: np.ndarray,
    network: np.ndarray,
    effect: np.ndarray,
    control_mean: np.ndarray,
    rows: Sequence[int],
    controls: Sequence[int],
) -> dict[str, np.ndarray]:
    """Response, its significance and its spread over control cells; see :class:`ReferenceTable`."""
    weights = standardise_network(torch.tensor(network))
    n, mean, variance = condition_moments(cells, use, along=weights.numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = variance[rows] / n[rows][:, None] + variance[controls] / n[controls][:, None]
        statistic = (mean[rows] - mean[controls]) / np.sqrt(noise)
    scale = control_scale(cells, use, weights, controls, control_mean)
    return {
        "pathway_response": ulm_correlation(torch.tensor(effect, dtype=torch.float32), weights).numpy(),
        "pathway_statistic": np.nan_to_num(statistic).astype(np.float32),
        "pathway_scale": scale,
    }


def control_scale(
    cells: Cells, use: np.ndarray, weights: torch.Tensor, controls: Sequence[int], control_mean: np.ndarray
) -> np.ndarray:
    """Spread ``(C, P)`` over single control cells of the correlation with standardised `weights` ``(G, P)``."""
    scale = {}
    for control in set(controls):
        found = np.flatnonzero((cells.codes == control) & use)
        found = shuffled(cells, found, 0, "spread of controls")[:500]
        centre = torch.tensor(control_mean[list(controls).index(control)], dtype=torch.float32)
        scale[control] = ulm_correlation(torch.as_tensor(cells.block(found)) - centre, weights).numpy().std(0, ddof=1)
    return np.stack([scale[control] for control in controls]).astype(np.float32)
