"""Hill curves of measured and predicted dose responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import near_matches
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.get._fits.objective import Objective, cell_values
from scperturbrl.get._fits.sources import Source, control_cells, read_sources, warn_without_rows
from scperturbrl.screen.dose_response import MIN_DOSES, Response, fit_hill, own_directions, own_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anndata import AnnData
    from mudata import MuData

MIN_CELLS = 4
FITTED, NOTHING, BEYOND = "fitted", "no response", "beyond the doses"
_P_VALUE = 0.01


@documented
def dose_response(
    adata: AnnData | MuData,
    *,
    objective: Objective | None = None,
    perturbations: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    predictions: AnnData | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    r"""Fit a Hill curve to the response of every perturbation to its doses.

    The mean response relative to control cells, which is 0 at dose 0, is fitted by :math:`T d^h / (E^h + d^h)` with
    :func:`scipy.optimize.least_squares`, each dose weighted by its standard error. Cells of all doses are compared at
    :term:`equal depth`, because treated cells often have fewer counts, which would look like a response. The slope has a log-normal prior
    around 1.5 (90 % from 0.7 to 3.4), which matters with three or four doses.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata` with `dose_key`, and :func:`~scperturbrl.pp.split`.
    objective
        Response of a cell:

        - None: the length of the effect along the direction in which the perturbation changes measured cells. The
          direction is estimated from cells other than those projected onto it,
        - a gene, or a pathway of ``uns["pathway_network"]``: mean expression, weighted by the network,
        - genes, or a table of genes and weights: mean expression, weighted (divided by the sum of absolute weights),
        - a function from cells ``(n, G)``, log-normalised, to numbers ``(n,)``.
    perturbations
        Labels; by default all with at least three doses of at least four cells.
    layers
        Layers of generated cells, from :func:`~scperturbrl.tl.generate`.
    predictions
        Cells from :func:`~scperturbrl.tl.predict`, log-normalised. Join several doses by ``anndata.concat``.
    {modality}

    Returns
    -------
    One row per perturbation, context and model:

    ``perturbation``, ``context``, ``model``
        Label, covariates ("all" without any), and ``"observed"``, the key of a layer, or of the generator behind
        `predictions`.
    ``ec50``, ``slope``, ``top``
        EC50, Hill coefficient, and response at a very high dose, each with the 90 % interval
        ``<name>_low``, ``<name>_high``.
    ``r2``
        Share of the variance over doses that the curve explains.
    ``p_value``
        p-value of the test for a response at any dose.
    ``status``
        ``"fitted"``; ``"no response"`` if the p-value is above 0.01, without a curve; ``"beyond the doses"`` if the
        EC50 is outside of the measured doses and thus uncertain.
    ``n_doses``, ``n_cells``
        Number of doses and cells of the fit.

    Raises
    ------
    KeyError
        If a layer, perturbation, gene or pathway does not exist.
    ValueError
        If no dose was declared, or a perturbation has fewer than three doses with four cells.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.simulated_perturbseq(
    ...     n_genes=60, n_singles=2, n_doubles=0, n_cells_per_condition=40, n_controls=80, doses=[0.1, 1, 10]
    ... )
    >>> spr.pp.setup_anndata(adata, dose_key="dose")
    >>> spr.pp.split(adata, holdout="perturbations", fraction=0.5)
    >>> spr.get.dose_response(adata)["status"].tolist()
    ['fitted', 'fitted']
    """
    return _fits(_series(adata, objective, perturbations, layers, predictions, modality))


def dose_values(
    adata: AnnData | MuData,
    *,
    objective: Objective | None = None,
    perturbations: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    predictions: AnnData | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    """Collect the mean response at every dose: the points that :func:`dose_response` fits.

    Parameters
    ----------
    adata, objective, perturbations, layers, predictions, modality
        See :func:`dose_response`.

    Returns
    -------
    One row per perturbation, context, model and dose: ``perturbation``, ``context``, ``model``, ``dose``, ``response``
    (mean relative to control cells), ``error`` (its standard error) and ``n_cells``.

    Raises
    ------
    KeyError
        See :func:`dose_response`.
    ValueError
        See :func:`dose_response`.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.simulated_perturbseq(
    ...     n_genes=60, n_singles=2, n_doubles=0, n_cells_per_condition=40, n_controls=80, doses=[0.1, 1, 10]
    ... )
    >>> spr.pp.setup_anndata(adata, dose_key="dose")
    >>> spr.pp.split(adata, holdout="perturbations", fraction=0.5)
    >>> spr.get.dose_values(adata)["dose"].tolist()
    [0.1, 1.0, 10.0, 0.1, 1.0, 10.0]
    """
    return _points(_series(adata, objective, perturbations, layers, predictions, modality))


def both_tables(*given: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of :func:`dose_values` and :func:`dose_response` for the same arguments, in this order."""
    series = _series(*given)
    return _points(series), _fits(series)


class _Series(NamedTuple):
    """One perturbation in one context by one model, over its doses."""

    name: dict[str, str]
    doses: np.ndarray
    response: Response
    n_cells: list[int]


def _points(series: Sequence[_Series]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(each.name | {"dose": each.doses, "response": each.response.value, "error": each.response.error})
        for each in series
    ]
    counts = [n for each in series for n in each.n_cells]
    return pd.concat(parts, ignore_index=True).assign(n_cells=counts)


def _fits(series: Sequence[_Series]) -> pd.DataFrame:
    return pd.DataFrame([_fitted(each) for each in series])


def _series(
    adata: AnnData | MuData,
    objective: Objective | None,
    perturbations: str | Sequence[str] | None,
    layers: str | Sequence[str] | None,
    predictions: AnnData | None,
    modality: str | None,
) -> list[_Series]:
    adata = pick(adata, modality)
    setup = Setup.of(adata)
    if setup.dose_key is None:
        msg = "No dose was declared. Call `scperturbrl.pp.setup_anndata(adata, dose_key=...)` with the column that holds it."
        raise ValueError(msg)
    cells = Cells.of(adata, setup)
    values = None if objective is None else cell_values(adata, objective)
    cells, sources = read_sources(adata, cells, layers, predictions)
    wanted = [perturbations] if isinstance(perturbations, str) else perturbations
    _check_known(wanted, sources)
    found = [
        _one(source, sources[0], cells, rows, values)
        for source in sources
        for rows in _curves(source)
        if wanted is None or rows["perturbation"].iloc[0] in wanted
    ]
    absent = sorted(set(wanted or []) - {each.name["perturbation"] for each in found})
    if absent or not found:
        msg = f"{absent[0]!r} does not have" if absent else "No perturbation has"
        msg += f" {MIN_DOSES} doses with {MIN_CELLS} cells each in one context, which a curve needs."
        raise ValueError(msg)
    needs = f"{MIN_DOSES} doses with {MIN_CELLS} cells each in one context"
    warn_without_rows(sources, {each.name["model"] for each in found}, needs)
    return found


def _check_known(wanted: Sequence[str] | None, sources: Sequence[Source]) -> None:
    known = {str(name) for source in sources for name in source.table["perturbation"]}
    for name in wanted or []:
        if name not in known:
            msg = f"There is no perturbation {name!r} in `perturbations`.{near_matches(name, sorted(known))}"
            raise KeyError(msg)


def _curves(source: Source) -> Iterator[pd.DataFrame]:
    """Rows of the condition table, by rising dose, of each perturbation and context that has enough doses."""
    table = source.table[(source.table["n_cells"] >= MIN_CELLS) & ~source.table["is_control"].astype(bool)]
    for _, rows in table.groupby(["perturbation", "group"], sort=True):
        if rows["dose"].nunique() >= MIN_DOSES:
            yield rows.sort_values("dose")


def _one(
    source: Source,
    measured: Source,
    cells: Cells,
    rows: pd.DataFrame,
    values: Callable[[np.ndarray], np.ndarray] | None,
) -> _Series:
    label, group = str(rows["perturbation"].iloc[0]), str(rows["group"].iloc[0])
    blocks, control = [source.cells(str(name)) for name in rows.index], control_cells(cells, group)
    same = measured.table[(measured.table["perturbation"] == label) & (measured.table["group"] == group)]
    if values is None and source.generated and len(same):
        # the mean of the two, so that generated and measured cells are measured along equally noisy directions
        direction = np.mean(own_directions([measured.cells(str(name)) for name in same.index], control), axis=0)
        values = lambda block: block @ direction
    response = (
        own_response(blocks, control) if values is None else Response.of([values(b) for b in blocks], values(control))
    )
    name = {"perturbation": label, "context": group, "model": source.name}
    return _Series(name, rows["dose"].to_numpy(float), response, [len(block) for block in blocks])


def _fitted(series: _Series) -> dict[str, Any]:
    response, names = series.response, ("top", "ec50", "slope")
    fit = fit_hill(series.doses, response.value, response.error, shared=response.shared)
    responds = response.p_value <= _P_VALUE
    inside = series.doses[0] <= fit.ec50 <= series.doses[-1]
    found: dict[str, Any] = dict(series.name)
    for name, (low, high) in zip(names, fit.intervals(), strict=True):
        own = (getattr(fit, name), low, high) if responds else (np.nan, np.nan, np.nan)
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), map(float, own), strict=True))
    found |= {"r2": fit.r2 if responds else np.nan, "p_value": response.p_value}
    found["status"] = (FITTED if inside else BEYOND) if responds else NOTHING
    return found | {"n_doses": len(series.doses), "n_cells": sum(series.n_cells)}
