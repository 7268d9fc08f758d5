"""Declare what the columns of an AnnData mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl import __version__
from scperturbrl._core import keys, log
from scperturbrl._core.docs import documented
from scperturbrl._core.machine.memory_limit import DEFAULT_LIMIT, bytes_of
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import (
    check_obs_column,
    check_unique_names,
    name_hash,
    near_matches,
)
from scperturbrl._core.write import write
from scperturbrl.data.cells.cells import check_observed, rows_at_once
from scperturbrl.data.cells.checks import check_not_doubled, filled_genes
from scperturbrl.data.cells.conditions import parse_perturbation
from scperturbrl.data.cells.doses import check_dose_column, check_no_tuples, warn_undeclared_dose
from scperturbrl.data.cells.labels import CONTROLS, check_labels, check_spellings
from scperturbrl.data.cells.row_blocks import row_matrix
from scperturbrl.data.cells.scale import check_expression
from scperturbrl.data.cells.setup import Setup, expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


# share of cells without expression above which they are reported; of the cells of one label ten times as many
_MOST_EMPTY = 0.01
_FEW_CONTROLS = 10


@documented
def setup_anndata(
    adata: AnnData | MuData,
    *,
    perturbation_key: str = "perturbation",
    control: str = "control",
    covariate_keys: Sequence[str] = (),
    dose_key: str | None = None,
    batch_key: str | None = None,
    layer: str | None = None,
    perturbation_sep: str = "+",
    modality: str | None = None,
) -> None:
    """Declare perturbations, controls and covariates, and check that expression is log-normalised.

    Parameters
    ----------
    adata
        Annotated data, cells x genes, with log1p-normalised expression (``sc.pp.normalize_total``,
        ``sc.pp.log1p``; any target sum, natural logarithm).
    perturbation_key
        Column of ``obs`` with one label for each cell: a gene, drug or cytokine, or several joined by `perturbation_sep`.
        ``A+B`` and ``B+A`` are the same; a part that is the control (``A+ctrl``) is ignored.
    control
        Label of unperturbed cells.
    covariate_keys
        Columns of ``obs`` that define the context of a cell, such as ``["cell_type"]``. A perturbed cell is only
        ever compared with control cells of the same context.
    dose_key
        Numeric column of ``obs`` with the dose, if there is one. Doses of perturbed cells are above 0; control cells
        may hold any value.
    batch_key
        Column of ``obs`` with the batch. Cells are then paired with control cells of the same batch, if there are any.
    layer
        Layer with the expression; ``X`` by default.
    perturbation_sep
        What joins the parts of a combination.
    {modality}

    Returns
    -------
    Nothing. Writes ``uns["scperturbrl"]`` and removes an older split or reference from it.

    Raises
    ------
    KeyError
        If a column or layer does not exist; the message lists similar names.
    TypeError
        If expression is not numeric, or `control` is not a single label.
    ValueError
        If a column has missing values, the control label does not occur, a context has no control cells, names are not
        unique, a dose is not a positive number, or expression is not log-normalised.

    Warns
    -----
    UserWarning
        If labels look like other controls, unassigned cells, numbered guides of one gene, combinations with a number or another
        separator, or genes under other names; if labels or covariates differ only in blanks or in upper and lower case; if a
        column looks like a dose but is not declared; if most perturbed cells are in batches without control cells; if many cells
        are zero in every gene; if genes are zero in every cell of a context, batch, data set or condition but expressed
        elsewhere, as after an outer join.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata, perturbation_key="perturbation", control="control")
    >>> adata.uns["scperturbrl"]["setup"]["control"]
    'control'
    """
    whole, adata = adata, pick(adata, modality)
    covariate_keys = [covariate_keys] if isinstance(covariate_keys, str) else list(covariate_keys)
    _check_in_modality(whole, adata, [perturbation_key, *covariate_keys, dose_key, batch_key])
    started = log.start("setting up perturbations and controls")
    if layer is None or layer in adata.layers:
        check_not_doubled(adata, layer)
    check_unique_names(adata)
    check_observed(adata)
    check_obs_column(adata, perturbation_key, role="perturbation")
    _check_roles(perturbation_key, covariate_keys, dose_key, batch_key)
    for key in [*covariate_keys, *([batch_key] if batch_key else [])]:
        check_obs_column(adata, key, role="covariate")
        check_spellings(adata.obs[key].astype(str).unique(), key=key)
    control = _check_control(adata, perturbation_key, control, perturbation_sep)
    _check_contexts(adata, perturbation_key, control, covariate_keys, perturbation_sep)
    perturbed = ~_is_control(adata, perturbation_key, control, perturbation_sep)
    if dose_key is None:
        declared = [perturbation_key, batch_key, *covariate_keys]
        warn_undeclared_dose(adata, perturbed, perturbation_key=perturbation_key, declared=declared)
    else:
        check_dose_column(adata, dose_key, perturbed, perturbation_key=perturbation_key, control=control)
    _warn_batches(adata, perturbation_key, control, batch_key, perturbation_sep)
    values = _check_expression(adata, layer)
    _warn_empty(adata, values, perturbation_key)
    filled = filled_genes(adata, values, [perturbation_key, *covariate_keys, *([batch_key] if batch_key else [])])
    if filled is not None:
        log.warn(filled.warning(adata.n_vars))
    if adata.is_view:
        log.note("`adata` is a view; it is copied so that results can be written to it.")
        adata._init_as_actual(adata.copy())
    setup = Setup(
        perturbation_key=perturbation_key,
        control=control,
        covariate_keys=tuple(covariate_keys),
        dose_key=dose_key,
        batch_key=batch_key,
        layer=layer,
        perturbation_sep=perturbation_sep,
        log_state="log1p",
        gene_hash=name_hash(adata.var_names),
        version=__version__,
    )
    write(adata, uns={keys.SETUP: {"setup": setup.to_uns()}})
    log.finish(started, [f"uns[{keys.SETUP!r}]"])


def _check_roles(perturbation_key: str, covariate_keys: Sequence[str], dose_key: str | None, batch: str | None) -> None:
    """Raise if one column has two roles. The batch may also be a covariate."""
    whose = f"`dose_key` is {dose_key!r}, which is the perturbation column. Name the column of doses, or leave out `dose_key`."
    msg = whose if dose_key == perturbation_key else ""
    taken = {perturbation_key: "perturbation", **({dose_key: "dose"} if dose_key else {})}
    for name, given in (("covariate_keys", covariate_keys), ("batch_key", [batch] if batch else [])):
        for key in (key for key in given if key in taken and not msg):
            msg = f"`{name}` names {key!r}, which is the {taken[key]} column. Leave it out: each column has one role."
    twice = "".join(f"{key!r}" for key in sorted(set(covariate_keys)) if list(covariate_keys).count(key) > 1)
    if msg or twice:
        raise ValueError(msg or f"`covariate_keys` names {twice} twice. Name each covariate once.")


def _check_in_modality(whole: AnnData | MuData, adata: AnnData, columns: Sequence[str | None]) -> None:
    """Raise if a column is in ``obs`` of a MuData but not in that of the modality."""
    if whole is adata:
        return
    lost = [name for name in columns if name is not None and name not in adata.obs and name in whole.obs]
    if lost:
        modality = next(name for name, part in whole.mod.items() if part is adata)
        part = f"mdata[{modality!r}]"
        msg = (
            f"{', '.join(map(repr, lost))} is in `obs` of the MuData, but not in that of its modality {modality!r}. "
            "Copy it: "
            f"`{part}.obs[{lost!r}] = mdata.obs.loc[{part}.obs_names, {lost!r}]`"
        )
        raise KeyError(msg)


def _check_expression(adata: AnnData, layer: str | None) -> Any:
    """The expression by rows, if it is log-normalised and of enough genes."""
    longest = rows_at_once(max(adata.n_vars, 1), bytes_of(DEFAULT_LIMIT))
    values = expression(adata, layer)
    values = None if values is None else row_matrix(adata, values, longest=longest)
    check_expression(values, where="`X`" if layer is None else f"`layers[{layer!r}]`")
    if adata.n_vars < 2:
        msg = f"`adata` has {adata.n_vars} gene; at least 2 genes are needed."
        raise ValueError(msg)
    return values


def _check_control(adata: AnnData, key: str, control: object, sep: str) -> str:
    """Return the control label as text; raise if no cell, or every cell, has it."""
    if isinstance(control, (int, float, np.integer, np.floating)) and not isinstance(control, bool):
        control = str(control)
    if not isinstance(control, str):
        text = f"labels are compared as text. Pass `control={str(control)!r}`."
        one = "it must be one label. Give all control cells the same label first."
        msg = f"`control` is {control!r}; {text if isinstance(control, bool | np.bool_) else one}"
        raise TypeError(msg)
    if not sep:
        msg = "`perturbation_sep` is empty. Give the separator of combinations; it need not occur in the data."
        raise ValueError(msg)
    labels = [str(label) for label in adata.obs[key].unique()]
    check_no_tuples(labels, key)
    if control not in labels:
        msg = (
            f"No cell has the control label {control!r} in "
            f"`obs[{key!r}]`.{near_matches(control, labels, usual=CONTROLS)}"
        )
        raise ValueError(msg)
    empty = [label for label in labels if not label.replace(sep, "").strip()]
    if empty:
        msg = (
            f"`obs[{key!r}]` has cells whose label {empty[0]!r} contains no perturbation. Label them {control!r}, or "
            "drop them."
        )
        raise ValueError(msg)
    if not any(parse_perturbation(label, control=control, sep=sep) for label in labels):
        msg = f"Every cell of `obs[{key!r}]` is a control ({control!r}); there is nothing to learn from."
        raise ValueError(msg)
    check_labels(labels, adata.var, key=key, control=control, sep=sep)
    return control


def _is_control(adata: AnnData, key: str, control: str, sep: str) -> np.ndarray:
    labels = adata.obs[key].astype(str)
    parsed = {x: not parse_perturbation(x, control=control, sep=sep) for x in labels.unique()}
    return labels.map(parsed).to_numpy(dtype=bool)


def _warn_empty(adata: AnnData, values: Any, key: str) -> None:
    """Warn if many cells, in all or of one label, have no expression. Files are not read for this."""
    if hasattr(values, "blocks"):
        return
    empty = pd.Series(np.asarray((values != 0).sum(axis=1)).ravel() == 0, index=adata.obs_names)
    of_label = empty.groupby(adata.obs[key].astype(str).to_numpy()).mean()
    if empty.mean() > _MOST_EMPTY or of_label.max() > 10 * _MOST_EMPTY:
        log.warn(
            f"{int(empty.sum())} of {len(empty)} cells are zero in every gene ({of_label.max():.0%} of those labelled {of_label.idxmax()!r}). They count "
            "as cells in which nothing is expressed. Drop them:\nsc.pp.filter_cells(adata, min_genes=1)"
        )


def _warn_batches(adata: AnnData, key: str, control: str, batch_key: str | None, sep: str) -> None:
    """Warn if most perturbed cells are in batches without control cells."""
    if batch_key is None:
        return
    batch, is_control = adata.obs[batch_key].astype(str), _is_control(adata, key, control, sep)
    alone = ~is_control & ~batch.isin(batch[is_control].unique())
    if alone.sum() > 0.5 * (~is_control).sum():
        log.warn(
            f"{int(alone.sum())} of {int((~is_control).sum())} perturbed cells are in batches of `obs[{batch_key!r}]` without control cells, such as "
            f"{batch[alone].iloc[0]!r}. They are compared with controls of other batches, so batch differences will "
            "look like effects."
        )


def _check_contexts(adata: AnnData, key: str, control: str, covariates: Sequence[str], sep: str) -> None:
    """Raise if perturbed cells have covariates that no control cell has, and list these."""
    if not covariates:
        return
    is_control, values = _is_control(adata, key, control, sep), adata.obs[list(covariates)].astype(str)
    context = values.agg(" | ".join, axis=1)
    apart = values.drop_duplicates()
    alike = context[apart.index][context[apart.index].duplicated()]
    if len(alike):
        msg = f"Different values of {list(covariates)} have the joined name {alike.iloc[0]!r}. Replace ' | ' in them by another sign."
        raise ValueError(msg)
    cells = context[~is_control & ~context.isin(context[is_control])].value_counts()
    if len(cells):
        shown = ", ".join(f"{name!r} ({n} cells)" for name, n in cells.iloc[:20].items())
        more = f" and {len(cells) - 20} more" if len(cells) > 20 else ""
        joined = f'adata.obs[{list(covariates)!r}].astype(str).agg(" | ".join, axis=1)'
        msg = (
            f"{len(cells)} of {context.nunique()} contexts ({', '.join(covariates)}) have no control cells: "
            f"{shown}{more}. Declare only covariates with control cells for every value, or leave these cells out:\n"
            f"context = {joined}\n"
            f"adata = adata[context.isin(context[adata.obs[{key!r}].astype(str) == {control!r}])].copy()"
        )
        raise ValueError(msg)
    n = context[is_control].value_counts()
    few = n[(n < _FEW_CONTROLS) & n.index.isin(context[~is_control])]
    if len(few):
        shown = ", ".join(f"{name!r} has {count}" for name, count in few.iloc[:3].items())
        more = f", and {len(few) - 3} more are like this" if len(few) > 3 else ""
        log.tell(
            f"{len(few)} of {context.nunique()} contexts ({', '.join(covariates)}) have fewer than {_FEW_CONTROLS} control cells ({shown}{more}). "
            "Effects there are mostly noise of these cells, and with fewer than 3 the context cannot be evaluated. Merge it with a similar one, "
            "or leave it out."
        )
