"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back_freed() -> None:
    """Give freed memory back to the system.

    The C library of Linux keeps freed arrays of up to 32 MB for later ones, but later ones that are larger or grow do not fit
    into these gaps. On other systems nothing happens.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
