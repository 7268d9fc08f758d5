"""The memory limit."""

from __future__ import annotations

import re

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
        If it is not a positive amount of memory.

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
