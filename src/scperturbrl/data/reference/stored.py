"""Write the reference to the AnnData, and read it for verifiers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from scperturbrl._core import keys, log
from scperturbrl._core.provenance import counted, same_split, split_hash
from scperturbrl._core.write import ABSENT, write
from scperturbrl.data.cells.depth import Depths, at_depths
from scperturbrl.data.reference.cross_fit import N_FOLDS, CrossFit
from scperturbrl.data.reference.material import Material
from scperturbrl.data.reference.networks import Networks, check_networks
from scperturbrl.data.reference.same_cells import check_same_cells, record_cells
from scperturbrl.data.reference.statistics import ReferenceTable, draw_bank, fit_reference, target_mask
from scperturbrl.verifiers.calibration import Calibration
from scperturbrl.verifiers.registry import DEFAULT, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.verifiers.base import Reference, Verifier

_CALIBRATION_FIELDS = ("control_median", "real_median", "auroc", "weight")


def write_reference(
    adata: AnnData,
    cells: Cells,
    conditions: Sequence[str],
    params: dict[str, Any],
    depths: Depths,
    given: Mapping[str, pd.DataFrame],
) -> None:
    """Fit the reference of the training cells, at `depths`, and write it; see :func:`scperturbrl.pp.reference`.

    Networks that are `given`, by slot, replace the stored ones. Nothing is written before everything is computed.
    """
    cells, networks = at_depths(cells, depths), Networks.of(adata, given)
    network, pathways = networks.pathways
    use = cells.is_training()
    table = fit_reference(cells, use, conditions=conditions, network=network)
    if params["method"] == "wilcoxon":
        table = _with_wilcoxon(table, cells, use)
    verifiers = resolve(DEFAULT)
    calibration = cross_fit(adata, cells, use, conditions, verifiers, params, networks).calibration()
    by_condition = lambda values: pd.DataFrame(values.T, index=adata.var_names, columns=list(conditions))
    groups = cells.table["group"].iloc[cells.rows(conditions)].str.replace("/", "∕")
    by_gene = {
        keys.EFFECT: by_condition(table.effect),
        keys.STATISTIC: by_condition(table.statistic),
        keys.PADJ: by_condition(table.padj),
        keys.CONTROL_MEAN: by_condition(table.control_mean).T.groupby(groups.to_numpy()).first().T,
    }
    by_set = {
        **given,
        keys.PATHWAY_RESPONSE: pd.DataFrame(table.pathway_response, index=list(conditions), columns=pathways),
        **_regulon_response(cells, use, table, networks),
    }
    record = {
        "params": params,
        "split_hash": split_hash(adata),
        "cells": record_cells(adata, cells, use),
        "networks": networks.hashes,
        "n_cells": pd.Series(table.n_cells, index=list(conditions)).rename("n_cells").to_frame(),
        "group": groups.to_numpy().astype(str),
        "mean_effect": table.mean_effect,
        "pathway_statistic": table.pathway_statistic,
        "pathway_scale": table.pathway_scale,
        "calibration": _calibration_frame(calibration, conditions, [verifier.name for verifier in verifiers]),
        "depth": depths.to_uns(),
    }
    setup = {**adata.uns[keys.SETUP], "reference": record}
    write(adata, varm=by_gene, uns={keys.TF_RESPONSE: ABSENT, **by_set, keys.SETUP: setup})


def _regulon_response(
    cells: Cells, use: np.ndarray, table: ReferenceTable, networks: Networks
) -> dict[str, pd.DataFrame]:
    regulons, factors = networks.regulons
    if not factors:
        return {}
    response = Material(cells, use, table, networks, bank_size=0, seed=0).response(regulons).response
    return {keys.TF_RESPONSE: pd.DataFrame(response, index=table.conditions, columns=factors)}


def reference_depths(adata: AnnData) -> Depths | None:
    """The depths of the stored reference, for conditions with training cells; None if there are none."""
    record = adata.uns.get(keys.SETUP, {}).get("reference", {})
    return Depths.from_uns(record["depth"]) if "depth" in record else None


def at_reference_depth(adata: AnnData, cells: Cells) -> Cells:
    """Thin `cells` of `adata` to the depths of its reference."""
    depths = reference_depths(adata)
    return cells if depths is None else at_depths(cells, depths.completed(cells))


def read_reference(
    adata: AnnData, cells: Cells, verifiers: Sequence[Verifier] = ()
) -> tuple[ReferenceTable, Reference]:
    """Read the stored reference as a table and as tensors.

    If `adata` is a subset of the original cells, only conditions that still have training cells and controls are read;
    the others are listed in a message. Tensors that `verifiers` prepare are computed from the training cells. `cells`
    are those of :func:`at_reference_depth`.

    Raises
    ------
    ValueError
        If there is none, none of its conditions has training cells here, or the pathway network changed.
    """
    record = check_reference(adata, cells)
    networks = Networks.of(adata)
    kept = _present(cells, [str(name) for name in adata.varm[keys.EFFECT].columns])
    conditions = [str(name) for name in adata.varm[keys.EFFECT].columns[kept]]
    rows = cells.rows(conditions)
    by_gene = lambda name: adata.varm[name].to_numpy(dtype=np.float32).T[kept]
    groups = [str(group) for group in np.asarray(record["group"])[kept]]
    table = ReferenceTable(
        conditions=conditions,
        control_mean=adata.varm[keys.CONTROL_MEAN][groups].to_numpy(dtype=np.float32).T,
        mean_effect=np.asarray(record["mean_effect"]),
        effect=by_gene(keys.EFFECT),
        statistic=by_gene(keys.STATISTIC),
        padj=by_gene(keys.PADJ),
        n_cells=record["n_cells"]["n_cells"].to_numpy()[kept],
        targets=target_mask(cells, rows),
        pathway_response=adata.uns[keys.PATHWAY_RESPONSE].to_numpy(dtype=np.float32)[kept],
        pathway_statistic=np.asarray(record["pathway_statistic"])[kept],
        pathway_scale=np.asarray(record["pathway_scale"])[kept],
    )
    use, params = cells.is_training(), record["params"]
    reference = bank_and_tensors(table, cells, use, networks.pathways[0], params)
    material = Material(cells, use, table, networks, bank_size=int(params["bank_size"]), seed=int(params["seed"]))
    return table, material.complete(reference, verifiers)


def check_reference(adata: AnnData, cells: Cells) -> dict[str, Any]:
    """Return the record of the stored reference if it matches the split, the network and the cells.

    Raises
    ------
    ValueError
        If there is none, or the split, the pathway network or the cells changed.
    """
    record = adata.uns.get(keys.SETUP, {}).get("reference")
    if record is None or keys.EFFECT not in adata.varm:
        msg = "`adata` has no reference. Call `scperturbrl.pp.reference(adata, network=...)` first."
        raise ValueError(msg)
    check_networks(adata, record.get("networks", {}))
    conditions = [str(name) for name in adata.varm[keys.EFFECT].columns]
    _check_split(adata, cells, conditions, str(record.get("split_hash", "")))
    if "cells" not in record:
        msg = (
            "The reference does not record the cells from which it was computed. Call "
            "`scperturbrl.pp.reference(adata)` again."
        )
        raise ValueError(msg)
    check_same_cells(adata, cells, record["cells"])
    return dict(record)


def _present(cells: Cells, conditions: Sequence[str]) -> np.ndarray:
    """``(C,)`` whether a condition has training cells and controls here; the others are listed in a message."""
    training = set(cells.conditions(keys.TRAIN, min_cells=2))
    controls = set(cells.table.loc[cells.table["is_control"], "group"])
    kept = np.array(
        [name in training and cells.table.loc[name, "group"] in controls for name in conditions], dtype=bool
    )
    lost = [name for name, here in zip(conditions, kept, strict=True) if not here]
    remedy = "Pass the whole data to `tl.score(reference=...)`, or call `pp.reference` on this subset"
    if not kept.any():
        msg = (
            "No condition of the reference has training cells and controls in this subset of the data (missing: "
            f"{counted(lost)}). {remedy}."
        )
        raise ValueError(msg)
    if lost:
        log.tell(
            f"{len(lost)} of {len(conditions)} conditions of the reference have no training cells or no controls in "
            f"this subset of the data and are left out ({counted(lost)}). {remedy}."
        )
    return kept


def _check_split(adata: AnnData, cells: Cells, conditions: Sequence[str], made_under: str) -> None:
    now, other = cells.split_of(), same_split({"The reference": made_under}, split_hash(adata))
    moved = [name for name in conditions if now.get(name, keys.TRAIN) != keys.TRAIN]
    if other or moved:
        why = other or f"The reference was computed from {counted(moved)}, which `obs['split']` holds out now"
        msg = f"{why}. Call `scperturbrl.pp.reference(adata)` again."
        raise ValueError(msg)


def bank_and_tensors(
    table: ReferenceTable, cells: Cells, use: np.ndarray, network: np.ndarray, params: dict[str, Any]
) -> Reference:
    """Draw the bank of real cells for `table` and bring both to tensors.

    The bank has the same size as in calibration with one fold left out, because nearest cells are closer in a larger
    bank.
    """
    bank = draw_bank(
        cells,
        use,
        conditions=table.conditions,
        ranked=table.ranked_genes(),
        size=int(params["bank_size"]),
        seed=int(params["seed"]),
        share=1 - 1 / N_FOLDS,
    )
    return table.to_tensors(bank, network)


def read_calibration(
    adata: AnnData,
    cells: Cells,
    conditions: Sequence[str],
    verifiers: Sequence[Verifier],
    fitted: CrossFit | None = None,
) -> Calibration:
    """Calibration of `verifiers`: stored for the defaults, otherwise fitted to the training cells.

    Cross-fitted references in `fitted` are used if they have the same cells, conditions and verifiers.
    """
    record = adata.uns[keys.SETUP]["reference"]
    frame = record["calibration"]
    if _specification(verifiers) == _specification(resolve(DEFAULT)):
        shape = (len(conditions), len(verifiers))
        frame = frame[frame["condition"].astype(str).isin(conditions)]
        return Calibration(
            **{name: torch.tensor(frame[name].to_numpy().reshape(shape)) for name in _CALIBRATION_FIELDS}
        )
    fitted = fitted or cross_fit(adata, cells, cells.is_training(), conditions, verifiers, record["params"])
    return fitted.calibration()


def cross_fit(
    adata: AnnData,
    cells: Cells,
    use: np.ndarray,
    conditions: Sequence[str],
    verifiers: Sequence[Verifier],
    params: dict[str, Any],
    networks: Networks | None = None,
) -> CrossFit:
    """Cross-fitted references with the settings of the stored reference, and by default the stored networks."""
    networks = networks or Networks.of(adata)
    return CrossFit(
        cells,
        use,
        conditions=conditions,
        networks=networks,
        verifiers=verifiers,
        bank_size=int(params["bank_size"]),
        seed=int(params["seed"]),
    )


def _specification(verifiers: Sequence[Verifier]) -> list[tuple[str, dict[str, Any]]]:
    return [(verifier.name, dict(verifier.params)) for verifier in verifiers]


def _calibration_frame(calibration: Calibration, conditions: Sequence[str], verifiers: Sequence[str]) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([list(conditions), list(verifiers)], names=["condition", "verifier"])
    values = {name: getattr(calibration, name).numpy().ravel() for name in _CALIBRATION_FIELDS}
    frame = pd.DataFrame(values, index=index).reset_index()
    frame.index = frame.index.astype(str)
    return frame


def _with_wilcoxon(table: ReferenceTable, cells: Cells, use: np.ndarray) -> ReferenceTable:
    """Replace the statistic by the rank-sum z score of each condition against its control group."""
    from scperturbrl.data.reference.wilcoxon import wilcoxon_statistic

    statistic, padj = wilcoxon_statistic(cells, use, table.conditions)
    return replace(table, statistic=statistic, padj=padj)
