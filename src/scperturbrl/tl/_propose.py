"""Propose what to measure next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core import keys, log
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import counted, same_split, split_hash
from scperturbrl._core.validate import check_choice, check_positive
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.screen.candidates import screened_table
from scperturbrl.data.screen.known import design_of
from scperturbrl.get._screen import screen as screen_frame
from scperturbrl.screen.batch import STRATEGIES, choose_batch
from scperturbrl.screen.conformal import UNSUPPORTED

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


@documented
def propose(
    adata: AnnData | MuData, *, n: int = 10, strategy: str = "balanced", modality: str | None = None
) -> pd.DataFrame:
    """Propose a batch of perturbations to measure next, from the candidates of a screen.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.screen`.
    n
        Number of perturbations to propose.
    strategy
        ``"exploit"``: the highest predicted objective. ``"explore"``: the widest intervals, so that the next screen
        predicts better. ``"balanced"``: the highest objective plus interval. Intervals shrink with every measured or
        proposed perturbation that shares a part, which makes the batch diverse in the last two.
    {modality}

    Returns
    -------
    The proposed rows of :func:`scperturbrl.get.screen`, in the order of choice, with ``strategy``. Nothing is written.
    Measured candidates are not proposed again.

    Raises
    ------
    KeyError
        If there is no screen.
    ValueError
        If the data were split again since the screen, the strategy is unknown, or all candidates are measured.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.simulated_perturbseq(n_genes=60, n_singles=8, n_doubles=20, n_cells_per_condition=30)
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.screen(adata, "pairs", objective="size")
    >>> len(spr.tl.propose(adata, n=4))
    4
    """
    adata = pick(adata, modality)
    check_positive(n=n)
    check_choice("strategy", strategy, STRATEGIES)
    made_under = str(adata.uns.get(keys.SCREEN, {}).get("params", {}).get("split_hash", ""))
    wrong = same_split({"The screen": made_under}, split_hash(adata))
    if wrong:
        msg = f"{wrong}. Call `scperturbrl.tl.screen(adata, ...)` again."
        raise ValueError(msg)
    frame = screen_frame(adata, measured=False)
    frame = frame[frame["value"].notna()]
    if not len(frame):
        msg = (
            "There is nothing to propose: every candidate is measured or has no value. Run a screen with other "
            "candidates."
        )
        raise ValueError(msg)
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup)
    candidates, measured = design_of(cells, screened_table(frame, cells, setup))
    value = frame["value"].to_numpy(float)
    # half the interval around the line; a bound of the objective may have cut one side, so the longer one is taken
    line = frame["line"].to_numpy(float)
    width = np.fmax(frame["high"].to_numpy(float) - line, line - frame["low"].to_numpy(float))
    chosen = choose_batch(candidates, measured, value, width, n=n, strategy=strategy)
    if len(chosen) < n:
        log.note(f"only {len(chosen)} of the {n} requested perturbations are left")
    batch = frame.iloc[np.asarray(chosen)].assign(strategy=strategy)
    unsupported = batch.index[batch["support"].astype(str) == UNSUPPORTED]
    if len(unsupported):
        log.tell(
            f"{len(unsupported)} of {len(batch)} proposed perturbations are unsupported ({counted(unsupported)}): the "
            "training data do not predict their effects, so their order is meaningless."
        )
    return batch
