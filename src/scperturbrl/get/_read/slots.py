"""Read result slots; errors name the function that writes a missing slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.provenance import warn_old_scores, warn_older, warn_other_split
from scperturbrl._core.validate import check_obs_column, near_matches
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData


@dataclass(frozen=True)
class CellGroups:
    """The group of every cell, for plots.

    Attributes
    ----------
    column
        Column of ``obs`` that the groups were read from, or ``"condition"``.
    labels
        Group of each cell, ordered categories.
    is_control
        Whether the cell is a control cell.
    """

    column: str
    labels: pd.Categorical
    is_control: np.ndarray

    @classmethod
    def by_condition(cls, adata: AnnData) -> CellGroups:
        """Groups by condition: the perturbation, with dose and covariates where they are declared."""
        table, codes = condition_table(adata, Setup.of(adata))
        labels = pd.Categorical.from_codes(codes, categories=table.index.astype(str))
        return cls("condition", labels, table["is_control"].to_numpy()[codes])

    @classmethod
    def of(cls, adata: AnnData, groupby: str | None) -> CellGroups:
        """Groups by `groupby`, or by the perturbation column."""
        setup = Setup.of(adata)
        column = groupby or setup.perturbation_key
        check_obs_column(adata, column, role="grouping")
        table, codes = condition_table(adata, setup)
        values = adata.obs[column]
        labels = values.array if isinstance(values.dtype, pd.CategoricalDtype) else pd.Categorical(values)
        return cls(column, labels.rename_categories(str), table["is_control"].to_numpy()[codes])


def select_perturbations(adata: AnnData, perturbations: str | Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """Find the cells of `perturbations`, by default of all but the control.

    Returns
    -------
    ``(n_obs,)`` mask, and the labels in the order of `perturbations`, or of the categories.

    Raises
    ------
    ValueError
        If a label does not occur.
    """
    groups = CellGroups.of(adata, None)
    labels = np.asarray(groups.labels).astype(str)
    found = [name for name in groups.labels.categories if (labels == name).any()]
    if perturbations is None:
        mask = ~groups.is_control
        return mask, [name for name in found if name in set(labels[mask])]
    wanted = [perturbations] if isinstance(perturbations, str) else [str(name) for name in perturbations]
    unknown = [name for name in wanted if name not in found]
    if unknown:
        msg = f"`obs[{groups.column!r}]` has no cells of {unknown[0]!r}.{near_matches(unknown[0], found)}"
        raise ValueError(msg)
    return np.isin(labels, wanted), wanted


def read_evaluation(adata: AnnData) -> pd.DataFrame:
    """Read ``uns["evaluation"]``; warn if it belongs to another split or to generators that have changed.

    Raises
    ------
    KeyError
        If it is absent.
    """
    if keys.EVALUATION not in adata.uns:
        raise KeyError(missing("uns", keys.EVALUATION, "tl.evaluate(adata)", {}))
    table: pd.DataFrame = adata.uns[keys.EVALUATION]
    if "split_hash" in table:
        warn_evaluated_elsewhere(adata, table)
    return table


def warn_evaluated_elsewhere(adata: AnnData, table: pd.DataFrame) -> None:
    """Warn if an evaluation belongs to another split than that of `adata`, or to generators that were refitted."""
    name = f"`uns[{keys.EVALUATION!r}]`"
    for made_under in table["split_hash"].astype(str).unique():
        warn_other_split(adata, {name: made_under}, "Evaluate again.")
    if "generator_hash" not in table:
        return
    for key, then in table[["model", "generator_hash"]].astype(str).drop_duplicates().itertuples(index=False):
        warn_older(adata, {name: {"made_by": key, "generator_hash": then}}, "Evaluate again.")


def warn_old_screen(adata: AnnData) -> None:
    """Warn if ``uns["screen"]`` belongs to another split, or to a generator that was refitted since."""
    name, params = f"`uns[{keys.SCREEN!r}]`", adata.uns[keys.SCREEN]["params"]
    warn_other_split(adata, {name: str(params.get("split_hash", ""))}, "Screen again.")
    note = {"made_by": str(params.get("key", "")), "generator_hash": str(params.get("generator_hash", ""))}
    warn_older(adata, {name: note}, "Screen again.")


def read_scores(adata: AnnData, key: str) -> pd.DataFrame:
    """Read ``obsm["score_<key>"]``.

    Raises
    ------
    KeyError
        If it is absent.
    """
    slot = keys.score(key)
    if slot not in adata.obsm:
        verb = "tl.score(adata)" if key == keys.OBSERVED else f"tl.score(adata, layer={key!r})"
        raise KeyError(missing("obsm", slot, verb, adata.obsm))
    warn_old_scores(adata, f"`obsm[{slot!r}]`", key)
    return adata.obsm[slot]


def read_reward(adata: AnnData, key: str) -> np.ndarray:
    """Read ``obs["<key>_reward"]``.

    Raises
    ------
    KeyError
        If it is absent.
    """
    column = keys.reward(key)
    if column not in adata.obs:
        verb = "tl.score(adata)" if key == keys.OBSERVED else f"tl.score(adata, layer={key!r})"
        raise KeyError(missing("obs", column, verb, adata.obs))
    warn_old_scores(adata, f"`obs[{column!r}]`", key)
    return adata.obs[column].to_numpy(dtype=float)


def missing(place: str, name: str, verb: str, available: Mapping[str, Any] | pd.DataFrame) -> str:
    """Message for a missing slot, with the function that writes it and similar slots."""
    similar = near_matches(name, available.keys()) if len(available) else ""
    return f"`{place}` has no {name!r}. Call `scperturbrl.{verb}` first.{similar if 'Did you mean' in similar else ''}"


def chosen(name: str, wanted: str | Iterable[str] | None, available: Sequence[str]) -> list[str]:
    """The names in `wanted`, in that order, or all available names.

    Raises
    ------
    ValueError
        If one of them is not available.
    """
    if wanted is None:
        return list(available)
    names = [wanted] if isinstance(wanted, str) else [str(each) for each in wanted]
    for each in names:
        if each not in available:
            msg = f"`{name}` names {each!r}, which does not exist.{near_matches(each, available)}"
            raise ValueError(msg)
    return names
