"""Summarise the training cells of every condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core import keys, log
from scperturbrl._core.docs import documented
from scperturbrl._core.machine.memory_limit import DEFAULT_LIMIT
from scperturbrl._core.machine.own_torch import own_torch
from scperturbrl._core.machine.threads import one_thread
from scperturbrl._core.modality import pick
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.validate import check_choice, check_log_normalised, check_positive
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.depth import condition_depths
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.reference.stored import write_reference
from scperturbrl.pp._depth import report_depths
from scperturbrl.pp._network import fit_network

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

LEAST_CELLS = 4
"""Cells of a condition that can be split into halves with a variance."""


@own_torch
@documented
def reference(
    adata: AnnData | MuData,
    *,
    network: str | pd.DataFrame | None = None,
    tf_network: str | pd.DataFrame | None = None,
    method: str = "welch",
    min_cells: int = 10,
    bank_size: int = 128,
    min_targets: int = 5,
    seed: Seed = 0,
    memory_limit: str | int = DEFAULT_LIMIT,
    modality: str | None = None,
) -> None:
    """Compute the reference that verifiers score and calibrate with, from training cells only.

    Every perturbed training condition is compared with the training control cells of the same covariates. The reference
    holds its mean effect, shrunk by the sampling noise, a test statistic for each gene, and the pathway response. For the
    four default verifiers it also holds the median scores of control and of real perturbed cells. These are cross-fitted:
    no cell is scored against a reference that was computed with it.

    All of this is computed at one sequencing depth for each control group, because depth alone changes log-normalised
    means. If the depth of a condition differs from that of its controls by more than a tenth, and by more than chance,
    cells are thinned: each count is kept with a fixed probability. The common depth is the smallest of the training
    conditions and controls of the group, but at least a quarter of the controls' depth. A warning names conditions
    whose depth differs from the controls' by more than a factor of 1.5.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata` and :func:`~scperturbrl.pp.split`.
    network
        Pathway network for :func:`~scperturbrl.pp.pathway_network`: a resource name or a table with columns source,
        target and weight. By default the one already in ``uns["pathway_network"]``; without any, the pathway verifier
        is skipped.
    tf_network
        Network of transcription factors (``"collectri"``, or a table) for :func:`~scperturbrl.verifiers.tf_activity`. By
        default the one already in ``uns["tf_network"]``.
    method
        Test per gene: ``"welch"`` (Welch's t) or ``"wilcoxon"`` (rank sum, the values of
        :func:`scanpy.tl.rank_genes_groups` with ``tie_correct=True``).
    min_cells
        Conditions with fewer training cells get no reference; a warning lists them. At least 4, because calibration
        compares two halves of the cells of a condition.
    bank_size
        Number of real cells kept for comparison per condition. They are drawn with `seed` and not stored twice.
    min_targets
        Passed to :func:`~scperturbrl.pp.pathway_network`.
    seed
        Seed or NumPy generator of the bank and of the calibration folds.
    memory_limit
        Memory for blocks of cells, such as ``"500 MB"``. Cells in a file are read in blocks of this size.
    {modality}

    Returns
    -------
    Nothing. Writes

    - ``varm["perturbation_effect"]``, ``varm["perturbation_statistic"]``, ``varm["perturbation_padj"]``: genes x
      conditions; effects in log-normalised units,
    - ``varm["control_mean"]``: genes x control groups,
    - ``uns["pathway_response"]``: conditions x pathways, correlation of effect and pathway weights, in [-1, 1],
    - ``uns["tf_response"]``: the same for transcription factors, if there is a network of them,
    - ``uns["pathway_network"]`` and ``uns["tf_network"]`` if they are given,
    - ``uns["scperturbrl"]["reference"]``: settings, cell numbers, calibration, and a table ``"depth"`` with the median
      counts of a cell of each condition, the ratio of its depth to the controls' and the factor of thinning.

    Raises
    ------
    ValueError
        If the data are not set up or split, are no longer log-normalised, or no condition has `min_cells` cells, or if
        `min_cells` is below 4. The data then stay unchanged.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> adata.varm["perturbation_effect"].shape[0] == adata.n_vars
    True
    """
    adata = pick(adata, modality)
    check_choice("method", method, ["welch", "wilcoxon"])
    check_positive(min_cells=min_cells, bank_size=bank_size, min_targets=min_targets)
    if min_cells < LEAST_CELLS:
        msg = f"`min_cells` is {min_cells}, but calibration compares two halves of the cells of a condition. Use at least {LEAST_CELLS}."
        raise ValueError(msg)
    seed = resolve_seed(seed)
    started = log.start("summarising the training cells of every condition")
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup, memory_limit=memory_limit)
    check_log_normalised(cells.expression, where="`X`" if setup.layer is None else f"`layers[{setup.layer!r}]`")
    asked = {keys.PATHWAY_NETWORK: network, keys.TF_NETWORK: tf_network}
    given = {
        slot: fit_network(adata.var_names, found, min_targets=min_targets)[0]
        for slot, found in asked.items()
        if found is not None
    }
    conditions = cells.conditions(keys.TRAIN, min_cells=min_cells)
    _report_left_out(cells, conditions, min_cells)
    params = {"method": method, "bank_size": bank_size, "min_cells": min_cells, "seed": seed}
    with one_thread():
        depths = condition_depths(cells, cells.is_training())
        report_depths(depths)
        write_reference(adata, cells, conditions, params, depths, given)
    tables = [f"varm[{name!r}]" for name in (keys.EFFECT, keys.STATISTIC, keys.PADJ, keys.CONTROL_MEAN)]
    log.finish(
        started,
        [
            *(f"uns[{slot!r}]" for slot in given),
            *tables,
            f"uns[{keys.PATHWAY_RESPONSE!r}]",
            f"uns[{keys.SETUP!r}]['reference']",
        ],
    )


def _report_left_out(cells: Cells, conditions: list[str], min_cells: int) -> None:
    if not conditions:
        perturbed = cells.is_training() & ~cells.table["is_control"].to_numpy()[cells.codes]
        largest = int(np.bincount(cells.codes[perturbed]).max(initial=0))
        msg = f"No perturbed training condition has {min_cells} cells (most: {largest}). Lower `min_cells`."
        raise ValueError(msg)
    left_out = [name for name in cells.conditions(keys.TRAIN) if name not in set(conditions)]
    if left_out:
        msg = (
            f"{len(left_out)} training conditions have fewer than {min_cells} cells and get no reference: "
            f"{left_out[:10]}."
        )
        log.warn(msg)
