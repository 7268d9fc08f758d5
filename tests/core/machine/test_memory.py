from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from scperturbrl._core.machine.memory import BatchSize, give_back_freed


def device_with_room_for(n, error=torch.OutOfMemoryError):
    def work(size):
        if size > n:
            raise error("CUDA out of memory. Tried to allocate 2 GiB\nmore")
        return size

    return work


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, torch.cuda.OutOfMemoryError, RuntimeError, MemoryError])
def test_batches_are_halved_with_a_warning_each_until_they_fit(error):
    batch = BatchSize(64, "cells")
    with pytest.warns(UserWarning, match=r"Out of memory: CUDA out of memory\. Tried .* Continuing with") as told:
        assert batch(device_with_room_for(20, error)) == 16
    assert [str(w.message).rsplit("Continuing with ")[1] for w in told] == [
        "32 cells at a time.",
        "16 cells at a time.",
    ]


def test_what_fitted_is_kept():
    batch = BatchSize(64, "cells")
    with pytest.warns(UserWarning, match="32 cells"):
        batch(device_with_room_for(40))
    assert batch(lambda size: size) == 32


def test_no_room_for_one_is_an_error_with_a_remedy():
    batch = BatchSize(2, "cells")
    with (
        pytest.warns(UserWarning, match="1 cells"),
        pytest.raises(MemoryError, match=r"even with one of cells.*device='cpu'"),
    ):
        batch(device_with_room_for(0))


def test_other_errors_pass():
    def work(size):
        msg = "size mismatch"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="size mismatch"):
        BatchSize(4, "cells")(work)


def test_memory_of_the_failed_attempt_is_free_again():
    alive = []

    class Block:
        def __init__(self):
            alive.append(self)

        def __del__(self):
            freed.append(1)

    freed = []

    def work(size):
        block = Block()
        alive.clear()
        if size > 1:
            msg = "out of memory"
            raise RuntimeError(msg)
        del block
        return len(freed)

    with pytest.warns(UserWarning, match="Out of memory"):
        assert BatchSize(2, "cells")(work) == 2


def held():
    """Resident memory in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="Other systems have no such counter.")
def test_freed_arrays_leave_the_process_although_one_behind_them_stays():
    before = held()
    # each is too small to have pages of its own
    arrays = [np.ones(10_000) for _ in range(2000)]
    last = arrays[-1]
    assert held() - before > 100
    del arrays
    give_back_freed()
    assert held() - before < 50
    assert last.all()


def test_systems_without_it_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    give_back_freed()
