"""Write predicted and real cells as the pair of files that cell-eval2 reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core import keys, log
from scperturbrl._core.docs import documented
from scperturbrl._core.machine.own_torch import own_torch
from scperturbrl._core.modality import pick
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.validate import check_choice, near_matches
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.conditions import find_conditions
from scperturbrl.data.cells.counts import count_unit, counts_of
from scperturbrl.data.cells.scale import check_expression
from scperturbrl.data.cells.setup import Setup, expression
from scperturbrl.data.generator.stored import check_genes, generator_keys
from scperturbrl.tl._predict import predict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from mudata import MuData

CONTROL = "non-targeting"
TARGET = "target"


@own_torch
@documented
def to_cell_eval(
    adata: AnnData | MuData,
    path: str | PathLike[str],
    *,
    prediction: str | AnnData,
    conditions: Sequence[str] | str | None = None,
    output: str = "log",
    n_cells: int = 500,
    seed: Seed = 0,
    modality: str | None = None,
) -> pd.DataFrame:
    """Write predicted and real cells for cell-eval2 (``pip install "scperturbrl[eval]"``), an independent evaluation.

    Parameters
    ----------
    adata
        Annotated data with a split.
    path
        Folder for the files; created if it does not exist.
    prediction
        Name of a layer or of a generator of `adata`, or an AnnData of predicted cells with the genes and declared
        columns of `adata`.
    conditions
        Names of conditions, or perturbation labels for all their conditions; the test conditions by default.
    output
        ``"log"`` writes log-normalised values. ``"counts"`` writes the recovered counts, which the competition metrics
        of cell-eval2 need.
    n_cells
        Number of cells that a generator makes for each condition.
    seed
        Seed or NumPy generator of the generated cells.
    {modality}

    Returns
    -------
    One row for each context (combination of covariates), because cell-eval2 compares within a context: ``context``,
    ``pred`` and ``real`` (paths of the h5ad files), ``n_conditions``, and the arguments of ``cell_eval2.EvalConfig``:
    ``pert_col``, ``control`` and ``input_type``. Both files hold the same real control cells. Conditions are named by
    their perturbation, with the dose if one is declared. Controls are called ``"non-targeting"``, or as in `adata` if a
    perturbation has that name.

    Raises
    ------
    KeyError
        If there is no such layer, generator or condition, or the prediction lacks a condition.
    ValueError
        If there is no condition to write, genes differ, or counts cannot be recovered from the values.

    Examples
    --------
    >>> import tempfile
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = spr.tl.to_cell_eval(adata, folder, prediction=adata)
    >>> files[["context", "pert_col", "control", "input_type"]].values.tolist()
    [['all', 'target', 'non-targeting', 'lognorm']]
    """
    adata = pick(adata, modality)
    check_choice("output", output, ["log", "counts"])
    setup, seed = Setup.of(adata), resolve_seed(seed)
    cells = Cells.of(adata, setup)
    table = _wanted(cells, setup, conditions)
    other = _predicted(adata, prediction, list(table.index), n_cells, seed)
    check_genes(list(adata.var_names), other.var_names, whose="`adata` has", other="`prediction`")
    source = Cells.of(_with_split(other), setup)
    check_expression(source.expression, where="`prediction`", cells=cells)
    absent = [name for name in table.index if name not in source.table.index]
    if absent:
        msg = f"The prediction has no cells of condition {absent[0]!r}.{near_matches(absent[0], source.table.index)}"
        raise KeyError(msg)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    rows, names = [], _file_names(sorted(table["group"].unique()))
    control = CONTROL if CONTROL not in set(table["perturbation"]) else setup.control
    for group, part in table.groupby("group", sort=True):
        files = {side: folder / f"{side}_{names[group]}.h5ad" for side in ("pred", "real")}
        controls = _control_cells(cells, part, output, control)
        for side, who in (("pred", source), ("real", cells)):
            _joined([controls, *(_cells(who, row, part, output) for row in part.index)]).write_h5ad(files[side])
        rows.append(
            {"context": str(group), **{side: str(file) for side, file in files.items()}, "n_conditions": len(part)}
        )
    log.note(f"wrote {2 * len(rows)} files for cell-eval2 to {folder}")
    kind = "lognorm" if output == "log" else "counts"
    return pd.DataFrame(rows).assign(pert_col=TARGET, control=control, input_type=kind)


def _file_names(groups: Sequence[str]) -> dict[str, str]:
    """Return a name of letters, digits and underscores for every group; names differ even if case is ignored."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for group in groups:
        plain = "".join(letter if letter.isalnum() else "_" for letter in str(group))
        options = (plain, *(f"{plain}_{number}" for number in range(2, len(groups) + 2)))
        found[group] = next(name for name in options if name.casefold() not in taken)
        taken.add(found[group].casefold())
    return found


def _wanted(cells: Cells, setup: Setup, conditions: Sequence[str] | str | None) -> pd.DataFrame:
    if conditions is not None:
        return cells.table.loc[find_conditions(conditions, cells.table, setup)]
    table = cells.table.loc[cells.conditions(keys.TEST, min_cells=2)]
    if table.empty:
        msg = "There is no perturbed condition to write. Hold some out with `pp.split`, or name `conditions`."
        raise ValueError(msg)
    return table


def _predicted(adata: AnnData, prediction: str | AnnData, conditions: list[str], n_cells: int, seed: int) -> AnnData:
    if not isinstance(prediction, str):
        return prediction
    if prediction not in adata.layers and prediction in generator_keys(adata):
        return predict(adata, conditions=conditions, key=prediction, n_cells=n_cells, seed=seed)
    return ad.AnnData(expression(adata, prediction), obs=adata.obs, var=adata.var[[]])


def _with_split(other: AnnData) -> AnnData:
    """Return the predicted cells with a split, so that they can be read by condition; its labels are ignored."""
    labels = pd.Categorical([keys.TEST] * other.n_obs)
    return ad.AnnData(
        other.X, obs=other.obs.assign(**{keys.SPLIT: labels, keys.ORIGIN: keys.OBSERVED}), var=other.var[[]]
    )


def _cells(who: Cells, condition: str, table: pd.DataFrame, output: str) -> AnnData:
    row = table.loc[condition]
    found = np.flatnonzero(who.codes == who.table.index.get_loc(condition))
    same = (table["perturbation"] == row["perturbation"]).sum() > 1
    label = f"{row['perturbation']} {row['dose']:g}" if same else str(row["perturbation"])
    return _labelled(who, found, label, output)


def _control_cells(cells: Cells, table: pd.DataFrame, output: str, control: str) -> AnnData:
    row = cells.control_row(int(cells.table.index.get_loc(table.index[0])))
    return _labelled(cells, np.flatnonzero(cells.codes == row), control, output)


def _labelled(who: Cells, index: np.ndarray, label: str, output: str) -> AnnData:
    block: Any = who.block(index)
    if output == "counts":
        unit = count_unit(block)
        if np.isnan(unit).any():
            msg = (
                f"Counts cannot be recovered from the values of {int(np.isnan(unit).sum())} cells of {label!r}. Use "
                "`output='log'`."
            )
            raise ValueError(msg)
        block = counts_of(block, unit)
    obs = pd.DataFrame({TARGET: [label] * len(index)}, index=[f"{label}-{name}" for name in who.names[index]])
    return ad.AnnData(sparse.csr_matrix(block), obs=obs, var=pd.DataFrame(index=who.genes))


def _joined(parts: list[AnnData]) -> AnnData:
    joined = ad.concat(parts)
    joined.obs[TARGET] = joined.obs[TARGET].astype("category")
    return joined
