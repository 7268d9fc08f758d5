"""Save a generator to a directory, and load it, without pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import keys, log
from scperturbrl._core.checkpoint import read_directory, write_directory
from scperturbrl.data.stored_generator import StoredGenerator, check_genes, read_generator

if TYPE_CHECKING:
    import os

    from anndata import AnnData


def save_generator(
    adata: AnnData, path: str | os.PathLike[str], *, key: str = keys.GENERATOR, overwrite: bool = False
) -> None:
    """Save a generator to a directory of safetensors, JSON and CSV files.

    ``model.safetensors`` holds the weights, ``config.json`` everything else (schema, sizes, gene names, settings, versions)
    and ``history.csv``, ``conditions.csv`` the tables. The directory appears whole or not at all.

    Parameters
    ----------
    adata
        Annotated data with a generator.
    path
        Directory to write.
    key
        Which generator.
    overwrite
        Replace a directory that exists.

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
    write_directory(path, read_generator(adata, key).to_uns(), overwrite=overwrite)
    log.note(f"saved uns[{key!r}] to {path}")


def load_generator(adata: AnnData, path: str | os.PathLike[str], *, key_added: str = keys.GENERATOR) -> None:
    """Load a generator that :func:`save_generator` wrote into ``uns[key_added]``.

    Nothing in the files is executed. Weights are checked for names, shapes and finiteness.

    Parameters
    ----------
    adata
        Annotated data with the genes that the generator was fitted on, in the same order.
    path
        Directory.
    key_added
        Where it is written.

    Raises
    ------
    FileNotFoundError
        If the directory or one of its files is missing.
    ValueError
        If a file is damaged, of a schema that this version does not know, or was fitted on other genes.

    Examples
    --------
    See :func:`save_generator`.
    """
    record = read_directory(path)
    stored = StoredGenerator.from_uns(record)
    check_genes(stored.genes, adata.var_names)
    adata.uns[key_added] = stored.to_uns()
    log.note(f"loaded {path} to uns[{key_added!r}]")
