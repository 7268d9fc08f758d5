"""One thread, so that sums are always taken in the same order."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Limit(threading.local):
    """How deep this thread is in blocks of :func:`one_thread`. What all threads share stands on the class."""

    depth = 0
    openmp: Any = None
    lock = threading.Lock()
    inside = 0
    before = 1
    blas: Any = None


_own = _Limit()


@contextmanager
def one_thread(device: torch.device | str = "cpu") -> Iterator[None]:
    """Compute on one thread while the block runs, if `device` is the CPU.

    The number of threads changes how a sum is rounded, and thousands of training steps turn such differences into
    different weights. The networks are small, and random numbers are drawn by one thread anyway, so little time is lost.

    Several threads may be inside at once. OpenMP, and so PyTorch, counts for each thread; libraries of linear algebra count
    for the process, and go back when the last thread leaves.
    """
    if torch.device(device).type != "cpu" or _own.depth:
        yield
        return
    before = _enter()
    try:
        yield
    finally:
        _leave(before)


def _enter() -> int:
    """Number of threads that this thread had, or would have without the others that are inside."""
    from threadpoolctl import ThreadpoolController

    pools = ThreadpoolController()

    with _Limit.lock:
        before = torch.get_num_threads()
        if _Limit.inside:
            # a thread that is new to PyTorch takes over what another one has just set
            before = max(before, _Limit.before)
        else:
            _Limit.before, _Limit.blas = before, pools.select(user_api="blas").limit(limits=1)
        _Limit.inside += 1
        _own.depth, _own.openmp = 1, pools.select(user_api="openmp").limit(limits=1)
        torch.set_num_threads(1)
    return before


def _leave(before: int) -> None:
    with _Limit.lock:
        _own.depth = 0
        _Limit.inside -= 1
        if not _Limit.inside:
            _Limit.blas.restore_original_limits()
        _own.openmp.restore_original_limits()
        torch.set_num_threads(before)
