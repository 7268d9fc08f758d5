"""Check that a matrix has the expected scale: the natural logarithm of normalised counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scperturbrl._core import log
from scperturbrl._core.validate import check_log_normalised
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.counts import count_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scperturbrl.data.cells.cells import Cells

N_CELLS = 200
# another scale is reported only if it fits this many times better than the right one
_CLEARLY = 4.0
# and the mean profile is off by at least this share of its own size
_OFF = 0.02
# share by which the total of normalised cells may differ
_OTHER_TOTAL = 0.1
# a total so many times as large is no effect, because effects of normalised cells leave the total as it is
_FAR_LARGER = 3.0

# possible transformations of counts, and their inverse to the right scale
_UNDO: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the logarithm was taken twice": np.expm1,
    "the logarithm has base 2": lambda values: values * np.log(2),
    "the logarithm has base 10": lambda values: values * np.log(10),
    "no logarithm was taken": np.log1p,
    "the square root was taken": lambda values: np.log1p(np.square(values)),
}


def check_expression(values: Any, *, where: str, cells: Cells | None = None, genes: np.ndarray | None = None) -> None:
    """Raise unless the matrix is log1p-normalised expression, on the scale of the control cells of `cells` if given.

    Parameters
    ----------
    values
        ``(n, G)``, sparse, dense or in a file.
    where
        Name of the matrix in messages.
    cells
        Cells whose controls define the scale; without them, only `values` themselves are checked.
    genes
        Columns of `values` in the order of the genes of `cells`; the same order by default.

    Raises
    ------
    TypeError
        If the matrix is absent or not numeric.
    ValueError
        If it has another scale; the message names it.
    """
    check_log_normalised(values, where=where)
    wrong = other_scale(values) if cells is None else unlike_controls(values, cells, genes)
    if wrong:
        remedy = (
            "Start from the counts, and call `sc.pp.normalize_total(adata)` and `sc.pp.log1p(adata)` once."
            if cells is None
            else "Transform it to the scale of the control cells."
        )
        msg = f"{where} does not have the scale of log1p-normalised counts: {wrong}. {remedy}"
        raise ValueError(msg)
    if cells is not None:
        _warn_total(values, cells, genes, where)


def check_like_controls(values: Any, *, where: str, cells: Cells) -> None:
    """Raise unless a sample of rows of `values` has the scale of the control cells; see :func:`check_expression`."""
    wrong = unlike_controls(values, cells, None)
    if wrong:
        msg = f"{where} does not have the scale of the control cells: {wrong}. Transform it to their scale."
        raise ValueError(msg)
    _warn_total(values, cells, None, where)


def other_scale(values: Any) -> str:
    """Name a wrong transformation of the counts; "" if it is normalisation and one natural logarithm, or unclear.

    Examples
    --------
    >>> import numpy as np
    >>> logs = np.log1p(10.0 * np.array([[1, 0, 3, 7], [2, 4, 5, 1]]))
    >>> other_scale(logs), other_scale(np.log1p(logs)), other_scale(logs / np.log(2))
    ('', 'the logarithm was taken twice', 'the logarithm has base 2')
    """
    rows = _some(values)
    rows = rows[(rows > 0).sum(1) > 1].astype(np.float64)
    if not len(rows):
        return ""
    if _is_read(rows):
        return "library sizes were not normalised" if _is_not_normalised(rows) else ""
    undone = {what: undo(rows) for what, undo in _UNDO.items()}
    return next((what for what, found in undone.items() if found.max() < 25 and _is_read(found)), "")


def unlike_controls(values: Any, cells: Cells, genes: np.ndarray | None) -> str:
    """Name the scale of `values` if it differs from that of the control cells; "" if it does not, or is unclear.

    The mean of `values` over cells is compared with that of the control cells, transformed to every other scale.
    Perturbations change some genes; another scale changes all genes in a characteristic way.
    """
    rows = _some(values)
    if not cells.table["is_control"].any() or not len(rows):
        return ""
    rows = rows if genes is None else rows[:, genes]
    mean, controls = rows.mean(0, dtype=np.float64), _some_controls(cells)
    # a smooth profile has a smaller total than the cells of which it is the mean
    total, expected = _common_total(rows) if _is_read(rows) else 0.0, _common_total(controls)
    if total and expected and abs(total / expected - 1) > _OTHER_TOTAL:
        return f"its cells have {total / expected:.3g} times the total of control cells"
    own = _distance(mean, controls.mean(0))
    if own < _OFF:
        return ""
    found = {what: _distance(mean, other.mean(0)) for what, other in _logarithms(controls, rows)}
    for what, other in _unlogged(controls):
        # any total is allowed: use the multiple that fits best
        profile = other.mean(0)
        found[what] = _distance(mean, profile * max((mean @ profile) / (profile @ profile), 0.0))
    best = min(found, key=lambda what: found[what])
    return best if found[best] * _CLEARLY < own else ""


def _warn_total(values: Any, cells: Cells, genes: np.ndarray | None, where: str) -> None:
    """Warn if cells have a far larger total than control cells of one total: an effect can hide which logarithm was taken."""
    rows = _some(values)
    if not len(rows) or not cells.table["is_control"].any():
        return
    expected = _common_total(_some_controls(cells))
    with np.errstate(over="ignore"):
        total = float(np.expm1((rows if genes is None else rows[:, genes]).astype(np.float64)).sum(1).mean())
    if expected and total > _FAR_LARGER * expected:
        log.warn(
            f"The expression in {where} adds up to {total / expected:.2g} times the total of the control cells. If its logarithm has base 2 or "
            "10, or its cells have another total, transform it to the scale of the control cells."
        )


def _common_total(rows: np.ndarray) -> float:
    """Total of cells that were normalised over exactly these genes; 0 if it is not the same for all."""
    with np.errstate(over="ignore"):
        totals = np.expm1(rows.astype(np.float64)).sum(1)
    totals = totals[totals > 0]
    return float(totals.mean()) if len(totals) and np.ptp(totals) < 0.01 * totals.mean() else 0.0


def _logarithms(controls: np.ndarray, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Control cells with other logarithms, or with the total of `rows`."""
    linear = np.expm1(controls)
    yield "the logarithm was taken twice", np.log1p(controls)
    yield "the logarithm has base 2", controls / np.log(2)
    yield "the logarithm has base 10", controls / np.log(10)
    unit = count_unit(controls)
    known = np.isfinite(unit)
    if known.mean() > 0.5:
        yield "library sizes were not normalised", np.log1p(linear[known] / unit[known, None])
    with np.errstate(over="ignore"):
        ratio = float(np.expm1(rows.astype(np.float64)).sum(1).mean() / linear.sum(1).mean())
    if np.isfinite(ratio) and not 0.5 < ratio < 2:
        yield f"its cells have {ratio:.3g} times the total of control cells", np.log1p(ratio * linear)


def _unlogged(controls: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    linear = np.expm1(controls)
    yield "no logarithm was taken", linear
    yield "the square root was taken", np.sqrt(linear)


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared difference of two profiles, relative to their sizes."""
    size = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.square(first - second).sum() / size) if size > 0 else 0.0


def _some(values: Any, n_cells: int = N_CELLS) -> np.ndarray:
    """Up to 200 dense rows, evenly spaced."""
    spaced = np.unique(np.linspace(0, values.shape[0] - 1, n_cells).astype(int))
    return dense((values.tocsr() if sparse.issparse(values) else values)[spaced])


def _some_controls(cells: Cells) -> np.ndarray:
    rows = np.flatnonzero(cells.table["is_control"].to_numpy()[cells.codes])
    spaced = rows[np.unique(np.linspace(0, len(rows) - 1, N_CELLS).astype(int))]
    return cells.block(spaced).astype(np.float64)


def _is_read(rows: np.ndarray) -> bool:
    return float(np.isfinite(count_unit(rows)).mean()) > 0.5


def _is_not_normalised(rows: np.ndarray) -> bool:
    """Whether the values are logarithms of counts without normalisation of depth."""
    unit = count_unit(rows)
    own = np.isfinite(unit)
    size = np.expm1(rows).sum(1)
    return bool((np.abs(unit[own] - 1) < 1e-3).mean() > 0.95 and np.ptp(size) > 0.05 * size.mean())
