"""The candidates of a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import keys
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_positive
from scperturbrl.get._read.slots import missing

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


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
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    One row a candidate, named like a condition:

    ``perturbation``, ``group``, ``dose``
        What it is; doses where they are declared.
    ``rank``, ``value``, ``low``, ``high``
        Rank, 1 being best; predicted objective; the interval that holds it with the chosen level, NaN where too few training conditions could be left
        out to tell. Candidates that the generator made cells of come first. Of measured ones the value is that of their cells.
    ``top_probability``
        Probability of being among the best, given the errors of its kind and those of all others; NaN for what is not calibrated or not supported.
    ``support``, ``kind``, ``reliability``
        ``"supported"``, ``"extrapolating"`` or ``"unsupported"``; how it differs from what was measured (``"measured"``, ``"dose"``, ``"transfer"``,
        ``"combination"``, ``"perturbation"``, ``"unseen part"``, ``"context"``, ``"several"``); the share of the squared effects that
        was predicted of training conditions left out in that way. From .5 on it is supported, below .1 unsupported.
    ``expected_error``, ``error_low``, ``error_high``
        Root mean square error over genes of the predicted effect: median of those left out, and the interval that holds it.
    ``spread``
        Standard deviation of the objective over cells, generated or measured ones; NaN for candidates without cells.
    ``line``, ``additive``, ``ridge``, ``context_line``, ``mean_response``
        What the straight line says, and simple rules.
    ``value_<term>``
        Each term in its own unit, where the objective has several.
    ``energy_fall``
        With `towards`, of candidates with cells: 1 minus their energy distance to the population over that of control cells, on up to 200 cells.
    ``made_cells``, ``n_parts``, ``parts_seen``, ``nearest``
        Whether the generator made cells of it; its perturbations, how many of them training saw, and the measured conditions that are nearest.

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
    table = adata.uns[keys.SCREEN]["table"]
    if not measured:
        table = table[table["kind"].astype(str) != "measured"]
    return table.head(len(table) if n is None else n).copy()
