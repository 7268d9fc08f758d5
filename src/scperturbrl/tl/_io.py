"""Save a generator to a directory, and load it, without pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import keys, log
from scperturbrl._core.default_key import check_key, default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.files.checkpoint import write_directory
from scperturbrl._core.machine.own_torch import own_torch
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import split_hash
from scperturbrl._core.write import write
from scperturbrl.data.generator.stored import StoredGenerator, check_declared, check_genes, load_stored, read_generator

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from mudata import MuData


@own_torch
@documented
def save_generator(
    adata: AnnData | MuData,
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    overwrite: bool = False,
    modality: str | None = None,
) -> None:
    """Save a generator to a directory of safetensors, JSON and CSV files.

    ``model.safetensors`` holds the weights, ``history.csv`` and ``conditions.csv`` the tables, and ``sha256sums.txt``
    the checksums. ``config.json`` holds the rest: schema, versions, sizes, settings, verifiers, gene names and their
    hash, log state, and hashes of the split and of the parent generator. The directory is written completely or not at
    all.

    Parameters
    ----------
    adata
        Annotated data with a generator.
    path
        Directory to write.
    key
        Which generator; by default the newest post-trained generator, else ``"generator"``.
    overwrite
        Replace a directory that exists.
    {modality}

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is false.
    KeyError
        If there is no such generator.

    Examples
    --------
    >>> import tempfile
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=5, width=32, n_latent=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spr.tl.save_generator(adata, f"{folder}/model")
    ...     spr.tl.load_generator(adata, f"{folder}/model", key_added="loaded")
    >>> "loaded" in adata.uns
    True
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    started = log.start(f"saving uns[{key!r}]")
    write_directory(path, read_generator(adata, key).to_uns(), overwrite=overwrite)
    log.finish(started, [f"the directory {path}"])


@own_torch
@documented
def load_generator(
    adata: AnnData | MuData,
    path: str | os.PathLike[str],
    *,
    key_added: str = keys.GENERATOR,
    modality: str | None = None,
) -> None:
    """Load a generator saved by :func:`save_generator` into ``uns[key_added]``.

    No code in the files is executed. Checksums are compared; names, types, shapes and finiteness of the weights are
    checked. A warning is given if the generator was trained on another split than that of `adata`.

    Parameters
    ----------
    adata
        Annotated data with the genes that the generator was fitted on, in the same order.
    path
        Directory.
    key_added
        Key of ``uns`` for the generator.
    {modality}

    Raises
    ------
    FileNotFoundError
        If the directory or one of its files is missing.
    scperturbrl.tl.DamagedFileError
        If a file is damaged or has a schema that this version does not know, or if a size, name or number in it is
        impossible. A ``ValueError`` that names the file and the field.
    ValueError
        If the generator was fitted on other genes, with other covariates, dose or control, or on
        expression with another log state.

    Examples
    --------
    See :func:`save_generator`.
    """
    adata = pick(adata, modality)
    check_key(adata, key_added, keys.GENERATOR)
    started = log.start(f"loading {path}")
    stored = load_stored(path)
    record = stored.to_uns()
    check_genes(stored.genes, adata.var_names)
    check_declared(stored, adata, f"The generator in {path}")
    _check_provenance(adata, stored, path)
    write(adata, uns={key_added: record})
    log.finish(started, [f"uns[{key_added!r}]"])


def _check_provenance(adata: AnnData, stored: StoredGenerator, path: str | os.PathLike[str]) -> None:
    """Compare the log state and split with those of `adata`, if they are recorded."""
    params = stored.params
    own = adata.uns.get(keys.SETUP, {}).get("setup", {}).get("log_state")
    theirs = params.get("log_state", own)
    if own is not None and str(own) != str(theirs):
        msg = f"The generator was fitted on expression of log state {str(theirs)!r}, `adata` has {str(own)!r}."
        raise ValueError(msg)
    split, theirs = split_hash(adata), str(params.get("split_hash", ""))
    if split and theirs and split != theirs:
        log.warn(
            f"The generator in {path} was trained on another split than `adata` has, so it may have been trained on "
            "test conditions. Do not evaluate it on them."
        )
