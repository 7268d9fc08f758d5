"""Genetic interactions of pairs, measured and predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_number
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.conditions import find_conditions
from scperturbrl.data.cells.setup import Setup
from scperturbrl.get._fits.sources import Source, control_cells, read_sources, warn_without_rows
from scperturbrl.screen.interactions import N_FOLDS, fit_interaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

_COLUMNS = ["first_coefficient", "first_low", "first_high", "second_coefficient", "second_low", "second_high"]
_MEASURES = ["magnitude", "dominance", "similarity", "fit", "signal"]


@documented
def genetic_interactions(
    adata: AnnData | MuData,
    *,
    pairs: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    predictions: AnnData | None = None,
    min_cells: int = N_FOLDS,
    modality: str | None = None,
) -> pd.DataFrame:
    r"""Fit the effect of every pair of perturbations to the effects of its two parts.

    The mean effect of the pair AB is fitted by :math:`c_A \delta_A + c_B \delta_B` over genes, as in the
    genetic-interaction map of :cite:t:`norman2019`, without the genes that the pair targets. Norman et al. use the
    Theil-Sen estimator, and distance correlation as similarity. Here it is least squares and the cosine, because both
    can be corrected for sampling noise. All cells are compared at :term:`equal depth`. Without the correction, additive pairs with a hundred cells per condition look
    buffered.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata` and :func:`~scperturbrl.pp.split`.
    pairs
        Pairs (``"A+B"``) or names of conditions; by default all for which both parts have cells in the same context
        and, with doses, at the same dose.
    layers
        Layers of generated cells, from :func:`~scperturbrl.tl.generate`.
    predictions
        Cells from :func:`~scperturbrl.tl.predict`, log-normalised, of pairs *and of their parts*: the pairs of a model
        are fitted to its own parts.
    min_cells
        Smallest number of cells of the pair, of each part and of the controls; at least 20. Other pairs are left out.
    {modality}

    Returns
    -------
    One row per pair and model:

    ``condition``, ``split``
        Name of the pair, and whether it was held out; "test" for an unmeasured pair.
    ``model``
        ``"observed"``, the key of a layer, or of the generator behind `predictions`.
    ``first``, ``second``
        The parts.
    ``first_coefficient``, ``second_coefficient``
        :math:`c_A` and :math:`c_B`, both 1 if the effects are additive. Their 90 % intervals ``first_low``,
        ``first_high``, ``second_low``, ``second_high``, from a jackknife over 20 groups of cells.
    ``magnitude``
        :math:`\sqrt{c_A^2 + c_B^2}`, 1.41 if the effects are additive.
    ``dominance``
        :math:`|\log_{10} |c_A / c_B||`, 0 if both coefficients are equal in size.
    ``similarity``
        Cosine of the effects of the parts.
    ``fit``
        Share of the squared effect of the pair that the parts explain.
    ``signal``
        Share of the squared effect that is not noise: the smallest value of the pair and its two parts.
    ``interaction``
        The first of these that applies:

        - *unclear*: ``signal`` below 0.3, or a standard error above 0.3 (unless the parts are similar),
        - *neomorphic*: ``fit`` below 0.75: the pair has an effect that neither part has,
        - *redundant*: ``similarity`` at least 0.7, and the effect of the pair is at most 75 % of the sum,
        - *epistatic*: ``dominance`` above 0.5, one part masks the other (unless the parts are similar),
        - *buffered*: ``magnitude`` below 75 % of 1.41,
        - *synergistic*: ``magnitude`` above 125 % of 1.41,
        - *additive*: otherwise.

        If the similarity is at least 0.7, the data determine only the sum of the coefficients; magnitude then uses half
        of the sum for each. The names are those of Norman et al.; the thresholds are ours.
    ``n_cells``
        Cells of the pair.

    Raises
    ------
    KeyError
        If a layer or a pair does not exist.
    ValueError
        If a pair in `pairs` does not have two parts with enough cells.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> table = spr.get.genetic_interactions(adata)
    >>> table.loc[0, ["condition", "model", "interaction"]].tolist()
    ['GENE014+GENE016', 'observed', 'additive']
    """
    adata = pick(adata, modality)
    check_number(min_cells=min_cells)
    if min_cells < N_FOLDS:
        msg = f"`min_cells` is {min_cells}; the standard errors need at least {N_FOLDS}."
        raise ValueError(msg)
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup)
    cells, sources = read_sources(adata, cells, layers, predictions)
    split = cells.split_of()
    names = None if pairs is None else _wanted(pairs, sources, setup)
    rows = [
        _row(source, cells, name, singles) | {keys.SPLIT: split.get(name, keys.TEST)}
        for source in sources
        for name, singles in _pairs(source, min_cells).items()
        if names is None or name in names
    ]
    needs = f"{min_cells} cells of the pair and of each of its two parts, in the same context and at the same dose"
    _check_complete(rows, names, needs)
    warn_without_rows(sources, {row["model"] for row in rows}, needs)
    order = ["condition", keys.SPLIT, "model", "first", "second", *_COLUMNS, *_MEASURES, "interaction", "n_cells"]
    return pd.DataFrame(rows)[order]


def _wanted(pairs: str | Sequence[str], sources: Sequence[Source], setup: Setup) -> list[str]:
    tables = pd.concat([source.table for source in sources])
    return find_conditions(pairs, tables[~tables.index.duplicated()], setup)


def _pairs(source: Source, min_cells: int) -> dict[str, list[str]]:
    """Names of the pairs with enough cells, each with the names of the conditions of its two parts."""
    table = source.table[source.table["n_cells"] >= min_cells]
    where = zip(table["parts"], table["dose"].astype(float), table["group"], strict=True)
    name_of = dict(zip(where, table.index.astype(str), strict=True))
    found = {}
    for (parts, dose, group), name in name_of.items():
        singles = [name_of.get(((part,), dose, group), "") for part in parts]
        if len(parts) == 2 and all(singles):
            found[name] = singles
    return found


def _check_complete(rows: Sequence[dict[str, Any]], wanted: Sequence[str] | None, needs: str) -> None:
    absent = [name for name in wanted or [] if name not in {row["condition"] for row in rows}]
    if absent:
        msg = f"{absent[0]!r} in `pairs` does not have {needs}. Leave it out, or predict all three in `predictions`."
        raise ValueError(msg)
    if not rows:
        msg = f"No pair has {needs}."
        raise ValueError(msg)


def _row(source: Source, cells: Cells, name: str, singles: Sequence[str]) -> dict[str, Any]:
    record = source.table.loc[name]
    keep = ~np.isin(cells.genes, record["parts"])
    populations = [source.cells(each)[:, keep] for each in (*singles, name)]
    control = control_cells(cells, record["group"])[:, keep]
    found = fit_interaction([*populations, control], shared=not source.generated)
    fit = found.fit
    first = (fit.first, *found.interval(fit.first, found.first_error))
    second = (fit.second, *found.interval(fit.second, found.second_error))
    return {
        "condition": name,
        "model": source.name,
        "first": record["parts"][0],
        "second": record["parts"][1],
        **dict(zip(_COLUMNS, (*first, *second), strict=True)),
        **{measure: getattr(fit, measure) for measure in _MEASURES},
        "interaction": found.kind,
        "n_cells": len(populations[2]),
    }
