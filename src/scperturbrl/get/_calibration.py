"""Per-gene variance and zero fraction of generated and observed cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._read.populations import Populations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

VARIANCE, ZERO_FRACTION = "variance", "zero_fraction"


@documented
def calibration(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    conditions: str | Sequence[str] | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    """Compare the variance and zeros of generated and observed cells of the same conditions, gene by gene.

    A generator can match every mean and still generate unrealistic cells. If its cells have collapsed towards their
    mean, they vary too little. If it lacks count noise, they have too few zeros.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.generate`.
    key
        Layer of generated cells; by default the newest post-trained generator, else ``"generator"``.
    conditions
        Conditions, or perturbation labels for all their conditions; all with at least three cells by default.
    {modality}

    Returns
    -------
    One row per gene and quantity:

    ``gene``
        Its name.
    ``quantity``
        ``"variance"``: of log-normalised expression within a condition, unbiased, pooled over conditions; or
        ``"zero_fraction"``: share of the cells without the gene.
    ``observed``, ``generated``
        Values for observed and generated cells.

    Raises
    ------
    KeyError
        If the layer does not exist.
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
    >>> frame = spr.get.calibration(adata, key="generator")
    >>> len(frame) == 2 * adata.n_vars
    True
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    populations = Populations.of(adata, key, conditions)
    observed = _pooled(populations, populations.cells.expression)
    generated = _pooled(populations, populations.layers[key])
    genes = populations.cells.genes.astype(str)
    parts = [
        pd.DataFrame({"gene": genes, "quantity": name, "observed": observed[name], "generated": generated[name]})
        for name in (VARIANCE, ZERO_FRACTION)
    ]
    return pd.concat(parts, ignore_index=True)


def _pooled(populations: Populations, matrix: Any) -> dict[str, np.ndarray]:
    """Variance and zero fraction ``(G,)``, pooled over the conditions."""
    squares = zeros = np.zeros(len(populations.cells.genes))
    n_cells = freedom = 0
    for condition in populations.conditions:
        block = populations.cells.block(populations.rows(condition), matrix)
        squares = squares + block.var(0, dtype=np.float64) * len(block)
        zeros = zeros + (block == 0).sum(0)
        n_cells += len(block)
        freedom += len(block) - 1
    return {VARIANCE: squares / max(freedom, 1), ZERO_FRACTION: zeros / n_cells}
