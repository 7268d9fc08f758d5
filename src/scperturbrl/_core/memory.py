"""Limits of memory: what the user allows, and smaller batches where that of a device does not suffice."""

from __future__ import annotations

import gc
import re
from typing import TYPE_CHECKING, TypeVar

import torch

from scperturbrl._core import log
from scperturbrl._core.distributed import world

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_UNITS = {
    "": 1,
    "B": 1,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}

DEFAULT_LIMIT = "1 GB"


def bytes_of(limit: str | float) -> int:
    """Number of bytes of a limit such as ``"500 MB"``, or a number of them.

    Raises
    ------
    ValueError
        If it is no amount of memory above zero.

    Examples
    --------
    >>> bytes_of("1.5 GB"), bytes_of("2 MiB"), bytes_of(4096)
    (1500000000, 2097152, 4096)
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", str(limit), re.IGNORECASE)
    try:
        size = float(found[1]) * _UNITS[found[2].upper()] if found else 0.0
    except (ValueError, KeyError):
        size = 0.0
    if size < 1:
        msg = f"`memory_limit` is {limit!r}; it must be an amount of memory such as '500 MB', '2 GB' or a number of bytes."
        raise ValueError(msg)
    return int(size)


class BatchSize:
    """A batch size that is halved when memory runs out.

    Parameters
    ----------
    size
        To begin with.
    name
        What it counts, for messages.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size, self.name = size, name

    def __call__(self, work: Callable[[int], T]) -> T:
        """Return ``work(size)``, with ever smaller sizes, and a warning each, while memory runs out.

        Raises
        ------
        MemoryError
            If it does not even suffice for one.
        """
        while True:
            try:
                return work(self.size)
            except (RuntimeError, MemoryError) as error:
                # all processes of a training take steps of the same size
                if not is_out_of_memory(error) or world().size > 1:
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            # only here is the traceback gone, which holds the tensors of the failed attempt
            if self.size <= 1:
                msg = f"Out of memory even with one of {self.name} at a time: {reason}. Use `device='cpu'`, or fewer genes."
                raise MemoryError(msg)
            self.size //= 2
            log.warn(f"Out of memory: {reason}. Going on with {self.size} {self.name} at a time.")
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there is no memory left, on whatever device."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(words in str(error) for words in ("out of memory", "can't allocate memory"))
