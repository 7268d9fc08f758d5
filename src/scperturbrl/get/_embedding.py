"""Generated and observed cells in one embedding, one row for each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import warn_old_layers
from scperturbrl._core.validate import near_matches
from scperturbrl.data.cells.cells import Cells, split_labels
from scperturbrl.data.cells.setup import Setup
from scperturbrl.get._read.slots import CellGroups, missing, read_reward, read_scores, select_perturbations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

PCA = "pca"


@documented
def embedding(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    basis: str = PCA,
    color: str | None = None,
    perturbations: str | Sequence[str] | None = None,
    dimensions: tuple[int, int] = (0, 1),
    modality: str | None = None,
) -> pd.DataFrame:
    """Collect the coordinates of observed and generated cells, each computed from its own expression.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.generate`.
    key
        Which generated cells; by default the newest post-trained generator, else ``"generator"``.
    basis
        ``"pca"``: principal components of the training cells. Another name B is read from ``obsm["X_B"]``
        (observed) and ``obsm["X_B_<key>"]`` (generated).
    color
        What ``value`` holds: the reward by default, a verifier, or a column of ``obs``.
    perturbations
        Labels whose generated cells are included; all by default. Observed cells are always included.
    dimensions
        The two dimensions, counted from 0.
    {modality}

    Returns
    -------
    One row per observed cell and per generated cell of a perturbation (control cells are not generated):

    ``cell``
        Its name.
    ``perturbation``
        Its value of the perturbation column.
    ``split``, ``held_out``
        Split label of its condition, and whether the condition was held out.
    ``origin``
        ``"observed"`` or ``"generated"``.
    ``x``, ``y``
        Coordinates.
    ``value``
        Value of `color`. Observed cells have their own reward or score; NaN if they were not scored.

    Raises
    ------
    KeyError
        If coordinates, scores or the column do not exist.
    ValueError
        If a perturbation or a dimension does not exist.

    Notes
    -----
    The components are computed again from the cells of `adata`. If cells were removed since
    :func:`~scperturbrl.tl.generate`, the components differ from those used then, so the generated cells are projected
    again.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.generate(adata)
    >>> spr.get.embedding(adata, key="generator", color="batch")["origin"].value_counts().to_dict()
    {'observed': 300, 'generated': 210}
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    warn_old_layers(adata, [key])
    observed, generated = _coordinates(adata, key, basis)
    _check_dimensions(dimensions, basis, min(observed.shape[1], generated.shape[1]))
    groups = CellGroups.of(adata, None)
    mask, _ = select_perturbations(adata, perturbations)
    kept = np.flatnonzero(mask & ~groups.is_control)
    values = color_values(adata, key, color)
    split = split_labels(adata)
    parts = []
    for origin, where, points in (
        (keys.OBSERVED, np.arange(adata.n_obs), observed),
        (keys.GENERATED, kept, generated),
    ):
        columns = {
            "cell": adata.obs_names.to_numpy()[where],
            "perturbation": np.asarray(groups.labels).astype(str)[where],
            keys.SPLIT: split[where],
            "held_out": split[where] != keys.TRAIN,
            "origin": origin,
            "x": points[where, dimensions[0]],
            "y": points[where, dimensions[1]],
            "value": values[origin][where],
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def color_values(adata: AnnData, key: str, color: str | None) -> dict[str, Any]:
    """Values of `color` for the observed and for the generated cells, ``(n_obs,)`` each.

    Raises
    ------
    KeyError
        If it is neither a verifier nor a column of ``obs``.
    """
    nothing = np.full(adata.n_obs, np.nan)
    if color is None:
        seen = keys.reward(keys.OBSERVED) in adata.obs
        return {
            keys.GENERATED: read_reward(adata, key),
            keys.OBSERVED: read_reward(adata, keys.OBSERVED) if seen else nothing,
        }
    if color in adata.obs:
        values = adata.obs[color].to_numpy()
        return {keys.GENERATED: values, keys.OBSERVED: values}
    scored = adata.obsm.get(keys.score(key))
    if scored is None or color not in scored:
        options = [*adata.obs.columns, *([] if scored is None else scored.columns)]
        hint = "" if scored is not None else f" Scores are written by `scperturbrl.tl.score(adata, layer={key!r})`."
        msg = f"`color` is {color!r}, neither a column of `obs` nor a scored verifier.{near_matches(color, options)}{hint}"
        raise KeyError(msg)
    own = read_scores(adata, keys.OBSERVED) if keys.score(keys.OBSERVED) in adata.obsm else pd.DataFrame()
    return {
        keys.GENERATED: scored[color].to_numpy(dtype=float),
        keys.OBSERVED: own[color].to_numpy(dtype=float) if color in own else nothing,
    }


def _coordinates(adata: AnnData, key: str, basis: str) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the observed and of the generated cells, ``(n_obs, d)`` each."""
    if basis == PCA:
        if keys.pca(key) not in adata.obsm:
            raise KeyError(missing("obsm", keys.pca(key), f"tl.generate(adata, key={key!r})", adata.obsm))
        return _components(adata, key, np.asarray(adata.obsm[keys.pca(key)]))
    observed, generated = f"X_{basis}", f"X_{basis}_{key}"
    for slot, whose in ((observed, "observed"), (generated, "generated")):
        if slot not in adata.obsm:
            msg = f"`obsm` has no {slot!r}. Write the coordinates of the {whose} cells there, or use `basis={PCA!r}`."
            raise KeyError(msg)
    return np.asarray(adata.obsm[observed]), np.asarray(adata.obsm[generated])


def _components(adata: AnnData, key: str, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scperturbrl.data.cells.components import picture_components

    cells = Cells.of(adata, Setup.of(adata))
    components = picture_components(cells)
    observed = components.project(cells.whole("a plot of all cells"))
    # a control row of the layer is the control cell itself, so both must have the same coordinates
    control = np.flatnonzero(cells.table["is_control"].to_numpy()[cells.codes])
    same_shape = stored.shape == observed.shape
    if same_shape and len(control) and np.allclose(stored[control], observed[control], atol=1e-2):
        return observed, stored
    if key not in adata.layers:
        msg = f"The cells changed since `{keys.pca(key)}` was written. Call `scperturbrl.tl.generate(adata, key={key!r})` again."
        raise ValueError(msg)
    return observed, components.project(adata.layers[key])


def _check_dimensions(dimensions: tuple[int, int], basis: str, available: int) -> None:
    if len(dimensions) != 2 or not all(0 <= d < available for d in dimensions):
        msg = f"`dimensions` is {dimensions}; it must be two numbers from 0 to {available - 1} ({basis!r} has {available})."
        raise ValueError(msg)
