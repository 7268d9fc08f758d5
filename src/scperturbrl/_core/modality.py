"""One AnnData out of what the user passed: the verbs take a MuData too."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from scperturbrl._core import keys
from scperturbrl._core.validate import near_matches

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from anndata import AnnData
    from mudata import MuData


def pick(adata: AnnData | MuData, modality: str | None) -> AnnData:
    """Return the AnnData that a verb works on: `adata` itself, or a modality of it.

    It is the object inside the MuData, not a copy, so that what a verb writes is found there.

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
    # told apart without importing mudata, which a user of AnnData never needs
    modalities = getattr(adata, "mod", None)
    if modalities is None:
        _check_anndata(adata, modality)
        return adata
    if modality is None:
        return modalities[_only(modalities)]
    if modality not in modalities:
        msg = f"The MuData has no modality {modality!r}.{near_matches(modality, modalities)}"
        raise KeyError(msg)
    return modalities[modality]


def _check_anndata(adata: object, modality: str | None) -> None:
    if not hasattr(adata, "obs") or not hasattr(adata, "uns"):
        msg = f"`adata` is of type {type(adata).__name__}; an AnnData or MuData is needed."
        raise TypeError(msg)
    if modality is not None:
        msg = f"`modality` is {modality!r}, but `adata` is an AnnData, which has none. Leave it out."
        raise ValueError(msg)


def _only(modalities: dict[str, AnnData]) -> str:
    names = list(modalities)
    ready = [name for name in names if keys.SETUP in modalities[name].uns]
    for found in (ready, names):
        if len(found) == 1:
            return found[0]
    msg = f"The MuData has the modalities {', '.join(map(repr, ready or names))}. Say which one with `modality=`."
    raise ValueError(msg)


def without_pulling() -> AbstractContextManager[Any]:
    """Context in which a MuData leaves the columns of its modalities where they are, whatever the release of mudata."""
    import mudata

    # from 0.4 on it never does anything else, and the option is gone
    return mudata.set_options(pull_on_update=False) if hasattr(mudata, "set_options") else nullcontext()
