from __future__ import annotations

import os
import signal
import sys
import threading

import numpy as np
import pytest
import torch
from scipy import sparse
from scvi.model import SCVI

from scperturbrl.data.latent import scvi_training
from scperturbrl.data.latent.scvi_training import trained_scvi

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    return sparse.csr_matrix(rng.poisson(3, size=(150, 30)))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(scvi_training, "N_STEPS", 20)


def test_progress_counts_the_epochs(counts, capfd):
    trained_scvi(counts, 4, seed=0, device=CPU, progress=True)
    assert "training scVI" in capfd.readouterr().err


def test_an_interrupt_ends_training_and_leaves_the_handler(counts, monkeypatch):
    monkeypatch.setattr(scvi_training, "N_STEPS", 10**6)
    handler = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        trained_scvi(counts, 4, seed=0, device=CPU)
    timer.join()
    assert signal.getsignal(signal.SIGINT) is handler


def test_what_lightning_makes_of_an_interrupt_is_one_again(counts, monkeypatch):
    def ended(*args, **options):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(1)

    monkeypatch.setattr(SCVI, "train", ended)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trained_scvi(counts, 4, seed=0, device=CPU)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("n", [2, 255, 256, 257, 513, 256 * 257 + 1, 10_000])
def test_no_batch_has_a_single_cell(n):
    size = scvi_training._batch_size(n)
    assert n % size != 1
    assert 256 <= size <= 260


def test_one_cell_more_than_a_batch_can_be_trained_on(counts, monkeypatch):
    monkeypatch.setattr(scvi_training, "BATCH", 149)
    assert trained_scvi(counts, 4, seed=0, device=CPU).n_latent == 4
