"""Effects on the most differentially expressed genes, observed and generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys as slots
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._effects import effects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@documented
def effects_heatmap(
    adata: AnnData | MuData,
    *,
    keys: str | Sequence[str] | None = None,
    conditions: str | Sequence[str] | None = None,
    n_top: int = 20,
    modality: str | None = None,
) -> pd.DataFrame:
    """Collect the effects on the most differentially expressed genes of every condition.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.generate`.
    keys
        Layers of generated cells; those of all generators by default.
    conditions
        Conditions, or perturbation labels for all their conditions; all with at least three cells by default.
    n_top
        Number of genes per condition, see :func:`scperturbrl.get.effects`.
    {modality}

    Returns
    -------
    One row per condition, gene and model: ``condition``, ``split``, ``gene``, ``rank`` (1 = largest absolute Welch t),
    ``model`` (``"observed"`` or the key of a layer) and ``effect``, log-normalised expression minus control expression, at
    :term:`equal depth`.

    Raises
    ------
    KeyError
        If a layer does not exist.
    ValueError
        If a condition does not exist.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.generate(adata)
    >>> spr.get.effects_heatmap(adata, conditions="GENE014", n_top=2)["model"].tolist()
    ['observed', 'observed', 'generator', 'generator']
    """
    adata = pick(adata, modality)
    frame = effects(adata, keys=keys, conditions=conditions, n_top=n_top)
    frame = frame[frame["top"]]
    strength = frame["statistic"].abs().groupby([frame["condition"], frame["model"]])
    frame = frame.assign(rank=strength.rank(ascending=False, method="first").astype(int))
    models = list(frame["model"].unique())
    observed = frame[frame["model"] == models[0]].assign(model=slots.OBSERVED, effect=frame["observed"])
    both = pd.concat([observed, frame.assign(effect=frame["predicted"])])
    order = [
        both["condition"].map(list(frame["condition"].unique()).index),
        both["model"].map([slots.OBSERVED, *models].index),
    ]
    place = pd.DataFrame(dict(enumerate([*order, both["rank"]]))).reset_index(drop=True)
    columns = ["condition", slots.SPLIT, "gene", "rank", "model", "effect"]
    return both[columns].iloc[place.sort_values([0, 1, 2]).index].reset_index(drop=True)
