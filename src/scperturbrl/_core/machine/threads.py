"""Computation on one thread, so that the order of summation is fixed."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class _Limit(threading.local):
    """Nesting depth of :func:`one_thread` in this thread. Class attributes are shared by all threads."""

    depth = 0
    is_worker = False
    openmp: Any = None
    lock = threading.Lock()
    inside = 0
    before = 1
    blas: Any = None


_own = _Limit()


@contextmanager
def one_thread(device: torch.device | str = "cpu") -> Iterator[None]:
    """Compute on one thread while the block runs, if `device` is the CPU.

    The number of threads affects rounding, and over thousands of training steps such differences lead to different
    weights. The networks are small, and random numbers are drawn by one thread anyway, so little time is lost.

    Several threads may be in such blocks at once. The limit of OpenMP, and so of PyTorch, is per thread. The limit of
    linear algebra libraries is per process, and is restored when the last thread leaves.
    """
    if torch.device(device).type != "cpu":
        yield
        return
    if _own.depth:
        # numba sets the number of threads of torch to its own
        torch.set_num_threads(1)
        yield
        return
    before = _enter()
    try:
        yield
    finally:
        _leave(before)


def _enter() -> int:
    """Number of threads of this thread before, or without the limits set by other threads."""
    from threadpoolctl import ThreadpoolController

    pools = ThreadpoolController()

    with _Limit.lock:
        before = torch.get_num_threads()
        if _Limit.inside:
            # a thread that is new to PyTorch inherits the limit that another thread has just set
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


def pinned(verb: Callable[P, R]) -> Callable[P, R]:
    """Decorator: run a function that computes on the CPU under :func:`one_thread`."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with one_thread():
            return verb(*args, **kwargs)

    return run


def n_jobs() -> int:
    """Number of workers by ``sc.settings.n_jobs`` of scanpy: 1 by default, all cores with -1."""
    # if scanpy was not imported, its default applies
    scanpy = sys.modules.get("scanpy")
    wanted = 1 if scanpy is None else int(scanpy.settings.n_jobs)
    return max(1, wanted if wanted >= 0 else _n_cores() + 1 + wanted)


def in_threads(work: Callable[[T], R], units: Iterable[T]) -> list[R]:
    """Results of `work`, without gradients, for each of `units` in their order, by :func:`n_jobs` workers.

    Every unit is processed by one thread, so results are bit-identical for any number of workers, as long as units are
    independent. Shared data must not be modified.

    Examples
    --------
    >>> in_threads(lambda x: 2 * x, [1, 2, 3])
    [2, 4, 6]
    """
    units = list(units)
    # a worker does not start workers of its own
    n = 1 if _own.is_worker else min(n_jobs(), len(units))
    with one_thread():
        if n < 2:
            with torch.no_grad():
                return [work(unit) for unit in units]
        with ThreadPoolExecutor(n, initializer=_prepare_worker) as pool:
            return list(pool.map(work, units))


def stream_in_threads(work: Callable[[T], R], units: Iterable[T]) -> Iterator[R]:
    """Like :func:`in_threads`, but yield results one by one: at most as many large results wait as there are workers.

    With one worker, the caller's thread does the work with its own settings.
    """
    n = 1 if _own.is_worker else n_jobs()
    if n < 2:
        yield from map(work, units)
        return
    with ThreadPoolExecutor(n, initializer=_prepare_worker) as pool:
        waiting: deque[Future[R]] = deque()
        for unit in units:
            waiting.append(pool.submit(work, unit))
            if len(waiting) > n:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _prepare_worker() -> None:
    from threadpoolctl import threadpool_limits

    # these settings are local to a thread, and a new thread starts with the defaults
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    threadpool_limits(limits=1)
    _own.depth, _own.is_worker = 1, True


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
