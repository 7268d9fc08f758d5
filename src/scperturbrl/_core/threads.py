"""One thread, so that sums are always taken in the same order."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def one_thread(device: torch.device | str = "cpu") -> Iterator[None]:
    """Compute on one thread while the block runs, if `device` is the CPU.

    The number of threads changes how a sum is rounded, and thousands of training steps turn such differences into
    different weights. The networks are small, and random numbers are drawn by one thread anyway, so little time is lost.
    """
    if torch.device(device).type != "cpu":
        yield
        return
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)
