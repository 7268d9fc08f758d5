"""Which control cells go in, which conditions come out: the bridge to :meth:`Generator.generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl._core.random import numpy_rng
from scperturbrl._core.threads import one_thread
from scperturbrl._core.validate import check_number
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.conditions import condition_record, parse_perturbation
from scperturbrl.data.generator.latents import Controls, control_units
from scperturbrl.data.generator.linear import recentred

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.setup import Setup
    from scperturbrl.data.generator.stored import StoredGenerator


def draw_controls(cells: Cells, groups: Sequence[str], batches: Sequence[str] | None, *, seed: int) -> np.ndarray:
    """Rows of control cells, one for each wanted cell, drawn within its group (and batch) without needless repeats."""
    controls = Controls.of(cells)
    labels = list(zip(groups, batches if batches is not None else [""] * len(groups), strict=True))
    chosen = np.empty(len(labels), dtype=int)
    codes, unique = pd.factorize(pd.Series(labels))
    for number, pair in enumerate(unique):
        start, count = controls.run(*pair)
        wanted = np.flatnonzero(codes == number)
        rng = numpy_rng(seed, "control cells", number)
        rounds = [rng.permutation(count) for _ in range(-(-len(wanted) // count))]
        chosen[wanted] = controls.rows[start + np.concatenate(rounds)[: len(wanted)]]
    return chosen


def generate_cells(
    stored: StoredGenerator,
    cells: Cells,
    table: pd.DataFrame,
    codes: np.ndarray,
    controls: np.ndarray,
    *,
    output: Literal["log", "counts"] = "log",
    unit: np.ndarray | None = None,
    seed: int,
    device: torch.device,
) -> sparse.csr_matrix:
    """Generate one cell for every row of `codes` (into `table`) from the control cells at `controls`.

    `unit` ``(n,)`` is the normalised value of one count in each generated cell (the larger, the shallower the cell); by
    default that of its control cell.

    Returns
    -------
    Log-normalised cells, or their counts, ``(n, G)`` float32. Only some hundred cells are dense at a time.
    """
    with one_thread(device):
        conditions = recentred(stored, cells, table, seed=seed, device=device)
        generator = stored.generator.to(device)
        own = control_units(cells, controls) if unit is None else unit
        blocks = generator.blocks(
            _control_cells(cells, controls),
            torch.as_tensor(own, dtype=torch.float32),
            conditions.to(device),
            torch.as_tensor(codes),
            seed=seed,
        )
        made = [sparse.csr_matrix(block[output == "counts"].numpy()) for block in blocks]
        generator.cpu()
    return sparse.vstack(made, format="csr") if made else sparse.csr_matrix((0, len(cells.genes)), dtype=np.float32)


def _control_cells(cells: Cells, controls: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Function from indices into `controls` to those cells, dense; each cell is kept once."""
    rows, place = np.unique(controls, return_inverse=True)
    kept = cells.expression[rows]
    return lambda index: torch.as_tensor(dense(kept[place[index.numpy()]]))


def wanted_conditions(
    conditions: Sequence[str] | pd.DataFrame | None,
    cells: Cells,
    setup: Setup,
    covariates: dict[str, str] | None,
    dose: float | None,
) -> pd.DataFrame:
    """Condition table of what a user asks for: names of known conditions, perturbation labels, or None for the test ones.

    Raises
    ------
    ValueError
        If a covariate is none that was declared, a label names nothing, or the dose is negative.
    TypeError
        If the dose is no number.
    """
    if dose is not None:
        check_number(dose=dose)
        if not 0 <= dose < np.inf:
            msg = f"`dose` is {dose!r}; it must be at least 0 and finite."
            raise ValueError(msg)
    if conditions is None:
        return cells.table.loc[cells.conditions(keys.TEST)]
    records = []
    for name in [conditions] if isinstance(conditions, str) else conditions:
        if name in cells.table.index and covariates is None and dose is None:
            records.append({"condition": name, **cells.table.loc[name, list(cells.table.columns[:-1])].to_dict()})
            continue
        if not str(name).replace(setup.perturbation_sep, "").strip():
            msg = f"{name!r} in `conditions` names nothing. Ask for {setup.control!r} to get control cells."
            raise ValueError(msg)
        parts = parse_perturbation(str(name), control=setup.control, sep=setup.perturbation_sep)
        contexts = _covariate_combinations(cells, setup, covariates)
        records += [
            condition_record(parts, dose=float(dose or 0), covariates=list(values), setup=setup) for values in contexts
        ]
    if not records:
        return cells.table.iloc[:0]
    return pd.DataFrame(records).drop_duplicates("condition").set_index("condition")


def _covariate_combinations(cells: Cells, setup: Setup, given: dict[str, str] | None) -> list[tuple[str, ...]]:
    """Covariates to predict for: those that control cells have and that agree with `given`."""
    given = given or {}
    for key in given:
        if key not in setup.covariate_keys:
            msg = f"`covariates` names {key!r}, which is not a declared covariate ({list(setup.covariate_keys)})."
            raise ValueError(msg)
    found = cells.table.loc[cells.table["is_control"], "covariates"]
    wanted = [given.get(key) for key in setup.covariate_keys]
    chosen = [row for row in found if all(w is None or w == v for w, v in zip(wanted, row, strict=True))]
    if not chosen:
        msg = f"No control cells have the covariates {given}; available: {sorted(set(found))[:10]}."
        raise ValueError(msg)
    return chosen
