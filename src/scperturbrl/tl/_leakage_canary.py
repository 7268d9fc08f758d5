"""Test whether a pipeline uses held-out cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.docs import documented
from scperturbrl._core.machine.threads import pinned
from scperturbrl._core.modality import pick
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl.data.cells.cells import split_labels
from scperturbrl.data.split.canary import equal, findings, scrambled

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from mudata import MuData


@pinned
@documented
def leakage_canary(
    adata: AnnData | MuData, pipeline: Callable[[AnnData], Any], *, seed: Seed = 0, modality: str | None = None
) -> pd.DataFrame:
    """Run a pipeline with original and with scrambled test cells, and list every result that changes.

    A result that is fitted, selected, scaled or tuned on training cells only does not change if the expression of test
    cells changes. A result that changes has used them: genes chosen on all cells, a graph or scaler of all cells, a
    checkpoint selected on the test conditions.

    Parameters
    ----------
    adata
        Annotated data with ``obs["split"]``, as it is before the first step of the pipeline. Earlier steps on all cells
        (highly variable genes, a PCA) are not tested, so start from raw expression.
    pipeline
        Any function of an AnnData. It is called four times, each time with its own copy of the data, and must have a
        fixed seed. Its return value is compared: an AnnData, or arrays, tables and numbers in dictionaries and lists.
        If it returns nothing, the changed copy is compared.
    seed
        Seed or NumPy generator of the scrambling.
    {modality}

    Returns
    -------
    One row per result (its path, such as ``uns/generator/weights/...``; rows of test cells are left out of ``X``,
    ``layers``, ``obs`` and ``obsm``):

    ``leaks``
        The result changes with the test cells. Only meaningful if ``reproducible``.
    ``reproducible``
        Two runs on the same data agree. Otherwise fix the seeds of the pipeline first.
    ``learns``
        The result changes with the training cells, so the test could detect a leak.

    Raises
    ------
    ValueError
        If there is no split or no test cell, or if no result changes with the training cells, so that nothing was tested.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> honest = lambda a: {"mean": a[a.obs["split"] == "train"].X.mean(axis=0)}
    >>> leaky = lambda a: {"mean": a.X.mean(axis=0)}
    >>> [bool(spr.tl.leakage_canary(adata, one)["leaks"].any()) for one in (honest, leaky)]
    [False, True]
    """
    adata = pick(adata, modality)
    labels, seed = split_labels(adata), resolve_seed(seed)
    test, train = np.flatnonzero(labels == keys.TEST), np.flatnonzero(labels == keys.TRAIN)
    if not len(test):
        msg = f"No cell has the split label {keys.TEST!r}, so there is nothing to leak. Hold some out with `pp.split`."
        raise ValueError(msg)
    kept = np.flatnonzero(labels != keys.TEST)
    run = lambda copy: _run(pipeline, copy, kept, adata.obs_names)
    honest, again = run(adata.copy()), run(adata.copy())
    tampered, retrained = run(scrambled(adata, test, seed=seed)), run(scrambled(adata, train, seed=seed))
    paths = list(dict.fromkeys([*honest, *tampered]))
    table = pd.DataFrame(
        {
            "leaks": [not equal(honest.get(path), tampered.get(path)) for path in paths],
            "reproducible": [equal(honest.get(path), again.get(path)) for path in paths],
            "learns": [not equal(honest.get(path), retrained.get(path)) for path in paths],
        },
        index=pd.Index(paths, name="result"),
        dtype=bool,
    )
    if not table["learns"].any():
        msg = (
            "No result of the pipeline changes even when the training cells are scrambled, so nothing was tested. "
            "Return what it fits, or write it to the AnnData."
        )
        raise ValueError(msg)
    table = table[~table.index.isin(_untouched(adata, honest, kept))]
    log.note(f"{int(table['leaks'].sum())} of {len(table)} results change with the test cells")
    return table


def _run(pipeline: Callable[[AnnData], Any], copy: AnnData, kept: np.ndarray, names: pd.Index) -> dict[str, np.ndarray]:
    result = pipeline(copy)
    return findings(copy if result is None else result, kept, names)


def _untouched(adata: AnnData, honest: dict[str, np.ndarray], kept: np.ndarray) -> list[str]:
    """Return the results that were already in the AnnData and did not change; they are input."""
    before = findings(adata, kept, adata.obs_names)
    return [path for path, value in honest.items() if path in before and equal(before[path], value)]
