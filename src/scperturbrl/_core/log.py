"""Logging through scanpy, so that ``sc.settings.verbosity`` also applies to this package."""

from __future__ import annotations

import os
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_PACKAGE = str(Path(__file__).parents[1]) + os.sep


def is_first_process() -> bool:
    """Whether this process writes messages: the only one, or the first of those that ``torchrun`` or Slurm started."""
    return os.environ.get("RANK", "0") == "0"


def _say(message: str, **more: Any) -> datetime:
    if "scanpy" not in sys.modules:
        # if scanpy was not imported, its default verbosity applies, and importing it takes 100 MB
        return datetime.now(tz=UTC)
    from scanpy import logging

    return logging.info(message, **more) if is_first_process() else logging.debug(message, **more)


def start(message: str) -> datetime:
    """Log the start of a function; return the time to pass to :func:`finish`."""
    return _say(message)


def finish(started: datetime, written: Iterable[str]) -> None:
    """Log the end of a function and, at hint level, the slots that it wrote."""
    _say("    finished", time=started, deep="wrote " + ", ".join(written))


def tell(message: str) -> None:
    """Show a message at scanpy's default verbosity."""
    from scanpy import logging

    if is_first_process():
        logging.warning(message)


def note(message: str) -> None:
    """Log a message at info level."""
    _say(message)


def warn(message: str) -> None:
    """Warn, with the location of the caller outside this package."""
    if not is_first_process():
        return
    if sys.version_info >= (3, 12):
        warnings.warn(message, UserWarning, skip_file_prefixes=(_PACKAGE,))
    else:
        warnings.warn(message, UserWarning, stacklevel=_caller_level())


def _caller_level() -> int:
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level
