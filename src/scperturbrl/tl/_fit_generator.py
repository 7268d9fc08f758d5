"""Fit the flow generator to the training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.default_key import check_key
from scperturbrl._core.distributed import join
from scperturbrl._core.docs import documented
from scperturbrl._core.files.run_file import RunFile
from scperturbrl._core.machine.device import resolve_device
from scperturbrl._core.machine.memory_limit import DEFAULT_LIMIT
from scperturbrl._core.machine.own_torch import own_torch
from scperturbrl._core.machine.threads import one_thread
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import check_same_labels
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.validate import check_choice, check_log_normalised, check_positive
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.initial import GeneratorSettings, new_generator
from scperturbrl.data.generator.stored import read_generator, write_generator
from scperturbrl.data.generator.training import finish_generator, train_generator
from scperturbrl.data.generator.vocabulary import check_embeddings
from scperturbrl.flow.architecture import Architecture
from scperturbrl.flow.path import SOURCES
from scperturbrl.flow.space.base import SPACES
from scperturbrl.flow.training.fit import FitResult, FitSettings
from scperturbrl.flow.velocity.base import BACKBONES, PRECISIONS

if TYPE_CHECKING:
    import os

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.data.generator.stored import StoredGenerator


@own_torch
@documented
def fit_generator(
    adata: AnnData | MuData,
    *,
    key_added: str = keys.GENERATOR,
    n_latent: int | Literal["auto"] = "auto",
    width: int = Architecture.width,
    n_blocks: int = Architecture.n_blocks,
    backbone: Literal["mlp", "transformer"] = "mlp",
    space: Literal["auto", "pca", "genes", "scvi"] = "auto",
    genes_per_step: int | None = FitSettings.genes_per_step,
    precision: Literal["float32", "bfloat16"] = "float32",
    compile: bool = FitSettings.compile,
    n_steps: int = FitSettings.n_steps,
    batch_size: int = FitSettings.batch_size,
    learning_rate: float = FitSettings.learning_rate,
    max_minutes: float | None = None,
    embeddings: pd.DataFrame | None = None,
    prior: Literal["linear", "none"] = "linear",
    source: Literal["control", "gaussian"] = "control",
    init_from: str | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    memory_limit: str | int = DEFAULT_LIMIT,
    device: str | torch.device = "auto",
    seed: Seed = 0,
    progress: bool | None = None,
    modality: str | None = None,
) -> None:
    """Fit a conditional flow-matching generator of perturbed cells to the training cells.

    A learned velocity transports a control cell to a perturbed cell of the same covariates in a latent space: principal
    components of the training cells without count noise. A negative-binomial layer, fitted to the training counts,
    converts the latent cell to a cell with realistic zeros and variance.

    Training monitors the energy distance between generated and real cells of validation and training conditions. It
    stops when this distance no longer falls, and keeps the averaged weights of the best step.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata` and :func:`~scperturbrl.pp.split`.
    key_added
        Key of ``uns`` for the generator.
    n_latent
        Number of principal components, or of scVI's latent coordinates; fewer if there are fewer genes or cells.
        ``"auto"`` keeps those of the first 50 components in which counting noise is at most three quarters of the
        variance, measured by splitting the counts of training cells. For scVI it is 50.
    width, n_blocks
        Width and number of blocks of the velocity network.
    backbone
        Velocity network. ``"mlp"`` is a multilayer perceptron on all coordinates and runs on a laptop.
        ``"transformer"`` uses attention among the genes of a cell and needs a GPU. With ``width=512, n_blocks=4`` it is
        as wide and deep as that of :cite:t:`yu2026scdfm`.
    space
        Space of the flow. ``"pca"``: principal components without count noise; a negative-binomial layer draws the
        counts. ``"genes"``: log-normalised expression, rounded to whole counts at the end. Training cells are then kept
        dense in memory, with 4 bytes for each gene of each cell. ``"scvi"``: the latent space of an scVI model, trained
        first on the counts of the training cells, which takes a few minutes. Its decoder gives the rates, its negative
        binomial the counts. ``"auto"`` is ``"genes"`` for the transformer, which supports no other space, and ``"pca"``
        otherwise.
    genes_per_step
        Number of genes in a training step of the transformer, drawn at random for each step; all by default. The cost of
        attention is quadratic in this number.
    precision
        ``"bfloat16"`` computes the matrix products of the velocity in 16 bits, in training and generation. This is
        faster on a recent GPU. Weights and other computations stay in single precision.
    compile
        Compile the velocity for training (:func:`torch.compile`). Training starts some tens of seconds later; steps on
        a GPU are then faster, mainly for the transformer.
    n_steps, batch_size, learning_rate
        Maximum number of optimiser steps (AdamW, cosine decay; most runs stop early), cells per step, and peak learning
        rate.
    max_minutes
        Stop training the velocity after this many minutes.
    embeddings
        Features of perturbations, one row each: names as index, numbers as columns. By default, the loadings of the
        perturbed gene on the components, so that every measured gene can be perturbed. Other features come from
        :func:`~scperturbrl.pp.network_embeddings` and :func:`~scperturbrl.pp.fingerprint_embeddings`; join several with
        ``pd.concat(..., axis=1)``.
    prior
        ``"linear"`` shifts the mean of the generated cells of an unseen condition towards a linear prediction. The
        share is chosen on validation conditions.

        - An unseen combination is shifted towards the combination ridge
          (:func:`~scperturbrl.metrics.combination_ridge_effect`), at most half of the way, or further if combinations
          have less than the sum of the effects of their parts. The flow keeps the spread and shape of the cells. The
          effect is then multiplied by a magnitude of at most 1: the ratio of observed to predicted effects of
          validation combinations.
        - In a new context, control cells are shifted by an effect predicted from those in other contexts, by the
          similarity of their control cells (:term:`context line` and :term:`context ridge`). The closer the flow is to
          this prediction, the larger is its share. Effects in validation contexts are used as well.
        - For an unseen perturbation, control cells are shifted by the effect predicted from `embeddings`, or from the
          responses of its gene to the training conditions. The share is chosen on left-out perturbations. The gene itself
          changes by the median change of targeted genes.

        ``"none"`` uses the flow alone.
    source
        Where the flow starts. ``"control"``: at a control cell with a little noise. It is paired with a perturbed cell
        by optimal transport, so that differences among control cells are kept. ``"gaussian"``: at noise.
    init_from
        Key of a fitted generator to continue from. Space, backbone, precision, observation layer, linear part, `prior`
        and `source` are taken from it, and the last state is kept, not the best. This gives the baseline for
        post-training: extra training of the same duration.
    checkpoint_dir
        Directory for the state of the run, written at intervals (``fit_generator.safetensors``: weights, optimiser,
        averages, random numbers, history).
    resume
        Continue from the state in `checkpoint_dir`, if there is one. On the CPU, an interrupted and resumed run gives the
        same result, bit for bit, as an uninterrupted one.
    memory_limit
        Memory for blocks of cells, such as ``"500 MB"``, on top of about 1 KB for each cell. Cells in a file
        (``backed="r"``, zarr, dask) are read in blocks of this size; the generator is the same.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    seed
        Seed or NumPy generator. On the CPU the same seed gives the same weights, whatever the number of threads.
    progress
        Whether to show a progress bar; by default in a terminal or notebook.
    {modality}

    Returns
    -------
    Nothing. Writes ``uns[key_added]`` with ``params`` (settings), ``fitted`` (how training ended, the share of the linear
    part, the self-check), ``weights`` (flat dict of arrays), ``space`` (sizes, names), ``history`` (step, loss,
    validation_loss, validation_energy) and ``conditions``.

    Raises
    ------
    ValueError
        If the data are not set up or split, `init_from` was fitted under another split, counts cannot be recovered from
        the expression, or the state in `checkpoint_dir` is damaged or belongs to another run.
    KeyError
        If a perturbation to be predicted cannot be encoded, or `init_from` is not a generator.
    FileExistsError
        If there is a state in `checkpoint_dir` and `resume` is false.
    OSError
        If `checkpoint_dir` cannot be written to, or its disk is full; the last state stays intact.
    FloatingPointError
        If values are not finite from the first step on.
    MemoryError
        If the memory of the device is too small for a single cell.

    Notes
    -----
    Flow matching with a Gaussian source follows :cite:t:`lipman2023`; the flow conditioned on a control cell follows
    :cite:t:`yu2026scdfm`. ``space="scvi"``: :cite:t:`lopez2018scvi`.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> sorted(adata.uns["generator"])
    ['conditions', 'fitted', 'history', 'params', 'space', 'weights']
    """
    adata = pick(adata, modality)
    check_key(adata, key_added, keys.GENERATOR)
    check_choice("prior", prior, ["linear", "none"])
    check_choice("source", source, SOURCES)
    check_choice("precision", precision, PRECISIONS)
    check_positive(
        **({} if n_latent == "auto" else {"n_latent": n_latent}),
        width=width,
        n_blocks=n_blocks,
        n_steps=n_steps,
        batch_size=batch_size,
    )
    parent = None if init_from is None else read_generator(adata, init_from)
    network: str = backbone if parent is None else parent.generator.architecture.backbone
    if genes_per_step is not None:
        check_positive(genes_per_step=genes_per_step)
        _check_subset(network)
    check_positive(learning_rate=learning_rate, **({} if max_minutes is None else {"max_minutes": max_minutes}))
    if embeddings is not None:
        embeddings = check_embeddings(embeddings)
    join()
    file = RunFile.of(checkpoint_dir, "fit_generator", resume=resume)
    started = log.start("fitting the flow generator")
    seed = resolve_seed(seed)
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup, memory_limit=memory_limit)
    torch_device = resolve_device(device)
    _check_cells(cells, setup, init_from, parent)
    own_space = space if parent else _space(backbone, space)
    n_components = None if n_latent == "auto" else n_latent
    new = GeneratorSettings(n_components, width, n_blocks, own_space, network, precision, prior, source)
    settings = FitSettings(
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        genes_per_step=genes_per_step,
        compile=compile,
        # one validation of the transformer takes about as long as a hundred steps
        validate_every=100 if network == "mlp" else 500,
        max_seconds=None if max_minutes is None else 60 * max_minutes,
        seed=seed,
        progress=progress,
        keep_best=init_from is None,
    )
    with one_thread(torch_device):
        # accelerators other than CUDA lack some operations
        where: dict[str, Any] = {"device": torch_device if torch_device.type == "cuda" else "cpu", "progress": progress}
        stored = parent or new_generator(cells, setup, new, embeddings, seed=seed, **where)
        result = train_generator(stored, cells, settings, torch_device, file=file)
        finish_generator(stored, cells, seed=seed, device=torch_device)
    stored.params |= {"parent": init_from or "", "method": "fit_generator", **_plain(settings)}
    stored.fitted |= _outcome(result)
    stored.history = pd.DataFrame(result.history)
    write_generator(adata, key_added, stored)
    if file is not None:
        file.release()
    log.finish(started, [f"uns[{key_added!r}]"])


def _space(backbone: str, space: str) -> str:
    check_choice("backbone", backbone, BACKBONES)
    check_choice("space", space, ["auto", *SPACES])
    if space == "auto":
        return "genes" if backbone == "transformer" else "pca"
    if backbone == "transformer" and space != "genes":
        msg = (
            f"The tokens of the backbone 'transformer' are genes, so `space` cannot be {space!r}. Use `space='genes'`."
        )
        raise ValueError(msg)
    return space


def _check_cells(cells: Cells, setup: Setup, init_from: str | None, parent: StoredGenerator | None) -> None:
    check_log_normalised(cells.expression, where="`X`" if setup.layer is None else f"`layers[{setup.layer!r}]`")
    if parent is not None:
        check_same_labels(str(init_from), parent.conditions, cells.split_of(), "Training on")
    if not cells.is_training().any():
        msg = "There are no training cells. Check `obs['split']`, or call `scperturbrl.pp.split(adata)` again."
        raise ValueError(msg)


def _check_subset(backbone: str) -> None:
    if backbone != "transformer":
        msg = f"`genes_per_step` is for the backbone 'transformer', not for {backbone!r}. Leave it out."
        raise ValueError(msg)


def _plain(settings: FitSettings) -> dict[str, Any]:
    return {name: value for name, value in vars(settings).items() if name != "progress"}


def _outcome(result: FitResult) -> dict[str, Any]:
    ended = {"best_step": result.best_step, "stopped": result.stopped}
    return ended | {"seconds": result.seconds, "skipped_steps": result.skipped}
