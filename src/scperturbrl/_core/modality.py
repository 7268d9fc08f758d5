"""The AnnData to work on, if the user passed a MuData."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core import keys
from scperturbrl._core.validate import near_matches

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from anndata import AnnData
    from mudata import MuData


def pick(adata: AnnData | MuData, modality: str | None) -> AnnData:
    """Return the AnnData to work on: `adata` itself, or a modality of it.

    It is the object inside the MuData, not a copy, so results are written there.

    Parameters
    ----------
    adata
        AnnData or MuData.
    modality
        Which modality of a MuData. By default the only one, or the only one that was set up.

    Raises
    ------
    KeyError
        If there is no such modality.
    TypeError
        If `adata` is neither.
    ValueError
        If a modality is named for an AnnData, or none for a MuData in which several are possible.
    """
    # recognised without importing mudata, which users of AnnData do not need
    modalities = getattr(adata, "mod", None)
    if modalities is None:
        _check_anndata(adata, modality)
        return with_tables_in_memory(adata)
    if modality is None:
        return with_tables_in_memory(modalities[_only(modalities)])
    if modality not in modalities:
        msg = f"The MuData has no modality {modality!r}.{near_matches(modality, modalities)}"
        raise KeyError(msg)
    return with_tables_in_memory(modalities[modality])


def with_tables_in_memory(adata: AnnData) -> AnnData:
    """Return `adata`; if it was read lazily, load its tables (not its matrices), because functions write to them."""
    if not _is_lazy(adata.obs):
        return adata
    adata.obs, adata.var = adata.obs.to_memory(), adata.var.to_memory()
    for slot in (adata.obsm, adata.varm):
        for name in slot:
            slot[name] = _loaded(slot[name])
    adata.uns = _loaded(adata.uns)
    return adata


def _is_lazy(value: Any) -> bool:
    return type(value).__name__ == "Dataset2D"


def _loaded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _loaded(one) for name, one in value.items()}
    if _is_lazy(value):
        return value.to_memory()
    return value.compute() if hasattr(value, "dask") else np.asarray(value) if hasattr(value, "file") else value


def _check_anndata(adata: object, modality: str | None) -> None:
    if not hasattr(adata, "obs") or not hasattr(adata, "uns"):
        msg = f"`adata` is of type {type(adata).__name__}; an AnnData or MuData is needed."
        raise TypeError(msg)
    if modality is not None:
        msg = f"`modality` is {modality!r}, but `adata` is an AnnData, which has no modalities. Leave it out."
        raise ValueError(msg)


def _only(modalities: dict[str, AnnData]) -> str:
    names = list(modalities)
    ready = [name for name in names if keys.SETUP in modalities[name].uns]
    for found in (ready, names):
        if len(found) == 1:
            return found[0]
    msg = f"The MuData has the modalities {', '.join(map(repr, ready or names))}. Choose one with `modality=`."
    raise ValueError(msg)


def without_pulling() -> AbstractContextManager[Any]:
    """Context in which mudata (any version) does not copy columns of the modalities into the MuData."""
    import mudata

    # since 0.4 mudata never copies them, and the option is gone
    return mudata.set_options(pull_on_update=False) if hasattr(mudata, "set_options") else nullcontext()
