"""The candidates of a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_positive
from scperturbrl.get._read.slots import missing, warn_old_screen

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


@documented
def screen(
    adata: AnnData | MuData, *, n: int | None = None, measured: bool = True, modality: str | None = None
) -> pd.DataFrame:
    """Get the candidates of a screen, best first.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.screen`.
    n
        How many of the best; all by default.
    measured
        Whether to list candidates that have training cells too.
    {modality}

    Returns
    -------
    One row for each candidate, named like a condition:

    ``perturbation``, ``group``, ``dose``
        What it is; doses where they are declared.
    ``rank``, ``value``, ``low``, ``high``
        Rank (1 is best), objective, and its interval at the chosen level. ``value`` is computed from cells if there are
        any, measured or generated (``made_cells``), else by the linear model (``line``). The interval of an unmeasured
        candidate is always around ``line``, because only the errors of the linear model are known. It is NaN if too few
        training conditions could be left out.
    ``top_probability``
        Probability of being among the best, computed from the predictions of the linear model (for measured candidates,
        from their values) and their errors. NaN for candidates that are not calibrated or not supported.
    ``support``, ``kind``, ``reliability``
        ``"supported"``, ``"extrapolating"`` or ``"unsupported"``; the kind of prediction (``"measured"``, ``"dose"``,
        ``"transfer"``, ``"combination"``, ``"perturbation"``, ``"unseen part"``, ``"context"``, ``"several"``); and the
        explained share of the squared effects of left-out training conditions of this kind: supported from 0.5,
        unsupported below 0.1.
    ``expected_error``, ``error_low``, ``error_high``
        Root mean square error over genes of the predicted effect: median of left-out conditions, and its interval.
    ``spread``
        Standard deviation of the objective over cells, generated or measured ones; NaN for candidates without cells.
    ``line``, ``additive``, ``ridge``, ``context_line``, ``mean_response``
        Predictions of the linear model and of simple rules.
    ``value_<term>``
        Each term in its own unit, if the objective has several.
    ``energy_fall``
        With `towards`, for candidates with cells: 1 minus the ratio of their energy distance to the population to that of
        control cells, on up to 200 cells.
    ``made_cells``, ``n_parts``, ``parts_seen``, ``nearest``
        Whether the generator made cells of it, number of its perturbations, number of those in training, and the nearest
        measured conditions.

    Raises
    ------
    KeyError
        If there was no screen.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.simulated_perturbseq(n_genes=60, n_singles=8, n_doubles=20, n_cells_per_condition=30)
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.screen(adata, "pairs", objective="size")
    >>> spr.get.screen(adata, n=3, measured=False)["kind"].unique().tolist()
    ['combination']
    """
    adata = pick(adata, modality)
    if n is not None:
        check_positive(n=n)
    if keys.SCREEN not in adata.uns:
        raise KeyError(missing("uns", keys.SCREEN, "tl.screen(adata)", {}))
    warn_old_screen(adata)
    table = adata.uns[keys.SCREEN]["table"]
    if not measured:
        table = table[table["kind"].astype(str) != "measured"]
    return table.head(len(table) if n is None else n).copy()
