"""A lock file that names the process which uses a directory."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


# locks of this process, by path
_HELD: dict[Path, Lock] = {}


class Lock:
    """Held for a file until it is released or the process ends, however it ends.

    The operating system releases it, so a killed run leaves a file but no lock. A failed call leaves a lock, which the
    next call of the same thread takes over.

    Parameters
    ----------
    path
        The file that only one run may write.

    Raises
    ------
    BlockingIOError
        If another run holds it; the message names the process.
    OSError
        If the directory cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.place = path.absolute().with_name(f".{path.name}.lock")
        self.thread = threading.current_thread()
        before = _HELD.get(self.place)
        if before is not None and (before.thread is self.thread or not before.thread.is_alive()):
            before.release()
        self.handle = _open(self.place, path.parent)
        while (taken := _taken(self.handle)) and os.fstat(self.handle).st_nlink == 0:
            # the file was removed by another process after it was opened
            os.close(self.handle)
            self.handle = _open(self.place, path.parent)
        if not taken:
            holder = os.read(self.handle, 200).decode(errors="replace").strip() or "another process"
            os.close(self.handle)
            msg = (
                f"`checkpoint_dir` {path.parent} is in use: {holder} writes {path.name} there. Wait until it has ended, stop it, "
                "or pass another `checkpoint_dir`."
            )
            raise BlockingIOError(errno.EAGAIN, msg)
        os.ftruncate(self.handle, 0)
        os.write(self.handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        _HELD[self.place] = self

    def release(self) -> None:
        """Release it, and remove the file."""
        if _HELD.get(self.place) is self:
            del _HELD[self.place]
            self.place.unlink(missing_ok=True)
            os.close(self.handle)


def _open(place: Path, folder: Path) -> int:
    try:
        # links are not followed, and only this user may read it
        handle = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as error:
        raise not_writable(folder, error) from error
    return handle


def _taken(handle: int) -> bool:
    if os.name != "posix":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # some file systems do not support locks
        return error.errno not in {errno.EACCES, errno.EAGAIN}
    return True


def not_writable(folder: Path, error: OSError) -> OSError:
    """The error to raise if `folder` cannot be created or written to."""
    why = error.strerror or str(error)
    if error.errno == errno.ELOOP:
        why = f"{error.filename} is a symbolic link, which is not followed"
    msg = f"`checkpoint_dir` {folder} cannot be written to: {why}. Pass a directory that you may write to."
    return OSError(error.errno, msg)
