"""Peak memory of a block of code, from the counter of Linux."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Highest resident memory of the block, and the memory before, in MB; NaN if the system has no such counter."""

    total: float = math.nan
    before: float = math.nan

    @property
    def extra(self) -> float:
        """What the block added."""
        return self.total - self.before


@contextmanager
def peak() -> Iterator[Peak]:
    """Measure a block."""
    found = Peak()
    gc.collect()
    # what was freed before and kept for later would hide what the block takes
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        found.before = _megabytes("VmRSS")
        _RESET.write_text("5")
    except OSError:
        yield found
        return
    yield found
    found.total = _megabytes("VmHWM")


def _megabytes(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def in_subprocess(module: str, **options: Any) -> Mapping[str, float]:
    """What ``python -m module '<options>'`` prints as JSON in its last line, in a fresh process."""
    command = [sys.executable, "-W", "ignore", "-m", module, json.dumps(options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])
