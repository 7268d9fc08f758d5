from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

from scperturbrl._core.machine import freed


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
    freed.give_back_freed()
    assert held() - before < 50
    assert last.all()


def test_systems_without_it_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    freed.give_back_freed()
