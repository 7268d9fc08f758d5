"""Train scVI without side effects on random numbers, logging and interrupts."""

from __future__ import annotations

import logging
import random
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scperturbrl._core.interrupt import step_boundary_interrupt
from scperturbrl._core.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scipy import sparse

    from scperturbrl._core.interrupt import Interrupt

N_HIDDEN = 128
BATCH = 256
N_STEPS = 6000
MOST_EPOCHS = 400


def trained_scvi(
    counts: sparse.csr_matrix, n_latent: int, *, seed: int, device: torch.device, progress: bool | None = None
) -> Any:
    """The network of an scVI model of `counts` ``(n, G)``, on the CPU.

    One hidden layer of 128 units and negative-binomial counts, for 6,000 steps of 256 cells or 400 epochs, whichever is less.

    Raises
    ------
    KeyboardInterrupt
        After the batch in which it was interrupted.
    """
    from anndata import AnnData
    from scvi.model import SCVI

    adata = AnnData(counts.astype(np.float32))
    n_epochs = max(1, min(MOST_EPOCHS, N_STEPS * BATCH // len(adata)))
    with (
        _own_random_numbers(seed),
        _quiet(),
        progress_bar("training scVI", n_epochs, show=progress) as show,
        step_boundary_interrupt() as interrupt,
    ):
        SCVI.setup_anndata(adata)
        model = SCVI(adata, n_hidden=N_HIDDEN, n_latent=n_latent, n_layers=1, gene_likelihood="nb")
        try:
            model.train(
                max_epochs=n_epochs,
                batch_size=_batch_size(len(adata)),
                train_size=1.0,
                # use all cells for training; the order of a validation set would not depend on the seed
                shuffle_set_split=False,
                accelerator="gpu" if device.type == "cuda" else "cpu",
                devices=1,
                enable_progress_bar=False,
                enable_model_summary=False,
                logger=False,
                callbacks=[_watcher(show, interrupt)],
            )
        except SystemExit as error:
            # raised by Lightning after an interrupt
            raise KeyboardInterrupt from error
    if interrupt.requested:
        raise KeyboardInterrupt
    return model.module.cpu().eval()


def _batch_size(n: int) -> int:
    """Batch size for `n` cells: 256 or slightly more, to avoid batches of a single cell."""
    return next(size for size in range(BATCH, n + BATCH + 1) if n % size != 1)


def _watcher(show: Callable[[int, str], None], interrupt: Interrupt) -> Any:
    """Callback that updates the progress bar, and stops training after a step on request."""
    from lightning.pytorch.callbacks import Callback

    class Watcher(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            del args
            trainer.should_stop = trainer.should_stop or interrupt.requested

        def on_train_epoch_end(self, trainer: Any, *args: Any) -> None:
            del args
            show(trainer.current_epoch + 1, "")

    return Watcher()


# scVI uses global random numbers, so only one training may run at a time
_ALONE = threading.Lock()


@contextmanager
def _own_random_numbers(seed: int) -> Iterator[None]:
    """Seed the global random numbers, which scVI uses, and restore them afterwards."""
    with _ALONE, _seeded(seed):
        yield


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    plain, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(array)  # noqa: NPY002


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress messages of Lightning on devices, loaders and loggers."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "pytorch_lightning", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
