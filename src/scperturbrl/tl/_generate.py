"""Generate a cell for every row of the AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from scperturbrl._core import keys, log
from scperturbrl._core.default_key import check_key, default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.machine.device import resolve_device
from scperturbrl._core.machine.own_torch import own_torch
from scperturbrl._core.machine.threads import pinned
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import with_layer
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.write import ABSENT, write
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.components import picture_components
from scperturbrl.data.cells.growing_rows import GrowingRows, sparse_rows
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.controls import draw_controls
from scperturbrl.data.generator.generation import generated_rows
from scperturbrl.data.generator.likeness import warn_unlike
from scperturbrl.data.generator.stored import read_generator, warn_leaked

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from anndata import AnnData
    from mudata import MuData


@own_torch
@pinned
@documented
def generate(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    key_added: str | None = None,
    library_size: Literal["condition", "control"] | float = "condition",
    device: str | torch.device = "auto",
    seed: Seed = 0,
    modality: str | None = None,
) -> None:
    """Generate, for every perturbed cell, a cell of the same condition from a random control cell.

    Row i of the layer is a cell *of the condition* of row i. It is not a prediction of the cell in that row, which the
    generator never sees. Its coordinates are in ``obsm["X_pca_<key>"]``.

    Parameters
    ----------
    adata
        Annotated data with a generator.
    key
        Which generator; by default the newest post-trained generator, else ``"generator"``.
    key_added
        Name of the results; by default the same as `key`.
    library_size
        Depth of the generated cells. ``"condition"``: the depth of the training cells of the condition. For a condition
        without any: the depth of the control cells times the ratio of perturbed to control depth, of training
        conditions with the same perturbation or else of all. ``"control"``: the depth of the control cells. A number:
        counts per cell.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    seed
        Seed or NumPy generator. With the same seed, all generators start from the same control cells and noise, so that
        two of them can be compared cell by cell.
    {modality}

    Returns
    -------
    Nothing. Writes

    - ``layers[key_added]``: log-normalised generated cells (CSR float32); control rows hold the control cell itself,
    - ``obs[key_added + "_source"]``: name of the control cell from which each was generated,
    - ``obsm["X_pca_" + key_added]``: the generated cells on the components of the training cells.

    Scores and selections of an earlier layer of that name are removed.

    Raises
    ------
    KeyError
        If there is no such generator.
    ValueError
        If a covariate combination has no control cells, or `library_size` is not valid.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.generate(adata)
    >>> adata.layers["generator"].shape == adata.shape
    True
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    check_key(adata, key_added or key, "layer")
    started = log.start("generating cells")
    seed = resolve_seed(seed)
    cells = Cells.of(adata, Setup.of(adata))
    stored = read_generator(adata, key)
    warn_leaked(key, stored, cells.split_of())
    warn_unlike({key: stored}, cells)
    key_added = key_added or key
    components = picture_components(cells)
    perturbed = np.flatnonzero(~cells.table["is_control"].to_numpy()[cells.codes])
    groups = cells.table["group"].to_numpy()[cells.codes[perturbed]].tolist()
    batches = None if cells.batch is None else cells.batch[perturbed].tolist()
    controls = draw_controls(cells, groups, batches, seed=seed)
    observed = cells.whole("`tl.generate`")
    blocks = generated_rows(
        stored,
        cells,
        cells.table,
        cells.codes[perturbed],
        controls,
        library_size=library_size,
        seed=seed,
        device=resolve_device(device),
    )
    layer = _in_place_of(observed, perturbed, blocks)
    source = cells.names.to_numpy().astype(object)
    source[perturbed] = cells.names.to_numpy()[controls]
    coordinates = components.project(layer)
    write(
        adata,
        layers={key_added: layer},
        obs={
            **dict.fromkeys((keys.reward(key_added), keys.percentile(key_added), keys.selected(key_added)), ABSENT),
            keys.source(key_added): source,
        },
        # scores of the earlier cells would be mistaken for scores of the new ones
        obsm={keys.pca(key_added): coordinates, keys.score(key_added): ABSENT},
        uns={
            keys.score(key_added): ABSENT,
            keys.selection(key_added): ABSENT,
            keys.SETUP: with_layer(adata, key_added, key=key, made_under=stored.made_under()),
        },
    )
    log.finish(
        started, [f"layers[{key_added!r}]", f"obs[{keys.source(key_added)!r}]", f"obsm[{keys.pca(key_added)!r}]"]
    )


def _in_place_of(observed: Any, rows: np.ndarray, blocks: Iterable[np.ndarray]) -> sparse.csr_matrix:
    """Return `observed` with the cells of `blocks` at the ascending `rows`, inserted between the unchanged rows."""
    found, done, first = GrowingRows(observed.shape[1], observed.shape[0]), 0, 0
    for block in blocks:
        own = rows[done : done + len(block)]
        last = int(own[-1]) + 1
        others = np.setdiff1d(np.arange(first, last), own)
        if len(others):
            order = np.empty(last - first, dtype=int)
            order[others - first], order[own - first] = np.arange(len(others)), len(others) + np.arange(len(own))
            block = sparse.vstack([sparse.csr_matrix(observed[others]), sparse_rows(block)], format="csr")[order]
        found.add(block)
        done, first = done + len(own), last
        # frees its memory before the next block is made
        del block
    found.add(sparse.csr_matrix(observed[first:]))
    return found.matrix()
