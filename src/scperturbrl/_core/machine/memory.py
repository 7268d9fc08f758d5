"""Smaller batches when the memory of a device runs out; freed memory given back to the system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import torch

from scperturbrl._core import log
from scperturbrl._core.distributed import world

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class BatchSize:
    """A batch size that is halved when memory runs out.

    Parameters
    ----------
    size
        Size to begin with.
    name
        The counted units, for messages.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size, self.name = size, name

    def __call__(self, work: Callable[[int], T]) -> T:
        """Return ``work(size)``. Each time memory runs out, warn, halve the size and try again.

        Raises
        ------
        MemoryError
            If the memory is too small even for a size of one.
        """
        while True:
            try:
                return work(self.size)
            except (RuntimeError, MemoryError) as error:
                # all processes must use the same batch size
                if not is_out_of_memory(error) or world().size > 1:
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            # outside of `except`, because the traceback would keep the tensors of the failed attempt in memory
            if self.size <= 1:
                msg = f"Out of memory even with one of {self.name} at a time: {reason}. Use `device='cpu'`, or fewer genes."
                raise MemoryError(msg)
            self.size //= 2
            log.warn(f"Out of memory: {reason}. Continuing with {self.size} {self.name} at a time.")
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is an out-of-memory error of any device."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(words in str(error) for words in ("out of memory", "can't allocate memory"))


def give_back_freed() -> None:
    """Give freed memory back to the system.

    The C library of Linux keeps freed arrays of up to 32 MB for later ones, but later ones that are larger or grow do not fit
    into these gaps. On other systems nothing happens.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
