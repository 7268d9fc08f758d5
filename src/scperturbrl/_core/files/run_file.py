"""The state of a training run: one file, replaced atomically, from which a killed run can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from scperturbrl._core.distributed import world
from scperturbrl._core.files.damage import DamagedFileError
from scperturbrl._core.files.lock import Lock, not_writable

SCHEMA = 1
_TENSOR = "__tensor__"
# largest share of the time spent on writing the state
_SHARE = 0.05


class RunFile:
    """The file with the state of one run.

    The file is safetensors; its header holds everything that is not a tensor, as JSON, and a digest of both.

    Parameters
    ----------
    path
        The file.
    resume
        Whether to resume from an existing state. If there is none, the run starts from the beginning.

    Attributes
    ----------
    constant
        Part of the state that does not change during a run.

    Raises
    ------
    FileExistsError
        If there is a state and `resume` is false.
    OSError
        If its directory cannot be created or written to, or another run uses it; checked before any work is done.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path, self.resume = path, resume
        self.identity: dict[str, str] = {}
        self.constant: dict[str, Any] = {}
        self._saved, self._cost = -float("inf"), 0.0
        if world().rank == 0:
            _make(path.parent)
            self._lock = Lock(path)
        if path.exists() and not resume:
            self.release()
            msg = (
                f"{path} holds the state of an earlier run. Pass `resume=True` to continue from it, or another "
                "`checkpoint_dir`."
            )
            raise FileExistsError(msg)

    @classmethod
    def of(cls, directory: str | os.PathLike[str] | None, verb: str, *, resume: bool) -> RunFile | None:
        """File of the function `verb` in `directory`; None if there is no directory.

        Raises
        ------
        ValueError
            If `resume` is true and there is no directory.
        """
        if directory is not None:
            return cls(Path(directory) / f"{verb}.safetensors", resume=resume)
        if resume:
            msg = "`resume=True` needs `checkpoint_dir`, the directory of the run to continue."
            raise ValueError(msg)
        return None

    def release(self) -> None:
        """Let other runs use the directory."""
        if world().rank == 0:
            self._lock.release()

    def read(self, identity: dict[str, Any]) -> dict[str, Any] | None:
        """State to resume from, or None to start. `identity` describes the run and is stored for :meth:`write`.

        Raises
        ------
        DamagedFileError
            If the file is damaged.
        ValueError
            If it belongs to a run with another identity; the message names the first difference.
        """
        self.identity = {name: json.dumps(value, default=str) for name, value in identity.items()}
        if not self.path.exists():
            return None
        content = _unpack(self.path)
        found = content["identity"]
        for name in sorted(found.keys() | self.identity.keys()):
            was, now = found.get(name), self.identity.get(name)
            if was != now:
                msg = (
                    f"{self.path} is the state of another run: `{name}` was {was}, now it is {now}. Use the same "
                    "arguments as before, or pass another `checkpoint_dir`."
                )
                raise ValueError(msg)
        return content["state"]

    def is_due(self) -> bool:
        """Whether enough time has passed for writing without slowing down the run."""
        return time.perf_counter() - self._saved >= self._cost / _SHARE

    def write(self, state: dict[str, Any]) -> None:
        """Replace the file; `state` is made of dicts, lists, plain values and tensors.

        Raises
        ------
        OSError
            If it cannot be written. The previous file stays unchanged.
        """
        if world().rank:
            return
        began = time.perf_counter()
        # always the same name, so that the temporary file of a killed run is replaced
        temporary = self.path.with_name(f".{self.path.name}.new")
        try:
            content = _pack({"schema": SCHEMA, "identity": self.identity, "state": state | self.constant})
            temporary.unlink(missing_ok=True)
            # created anew, so that nothing is written through a link
            with temporary.open("xb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            kept = "The state written before is intact" if self.path.exists() else "No state was written before"
            msg = f"The state of the run could not be written to {self.path}: {error.strerror or error}. {kept}; make room and call it again with `resume=True`."
            raise OSError(error.errno, msg) from error
        self._saved = time.perf_counter()
        self._cost = self._saved - began


def sync_directory(folder: Path) -> None:
    """Make renames in `folder` durable, if directories can be synced."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def _pack(content: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_taken_out(content, "", tensors))
    return save(tensors, metadata={"content": text, "digest": _digest(text, tensors)})


def _unpack(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = metadata.get("content", "")
        if metadata.get("digest") != _digest(text, tensors):
            msg = "its digest does not fit"
            raise ValueError(msg)
        content = json.loads(text)
    except (SafetensorError, ValueError, OverflowError, MemoryError) as error:
        raise DamagedFileError(path, "", f"{error}. Remove it to start the run anew") from error
    if content.get("schema") != SCHEMA:
        raise DamagedFileError(path, "schema", f"it is {content.get('schema')!r}; this version reads schema {SCHEMA}")
    return dict(_put_back(content, tensors))


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return total.hexdigest()


def _taken_out(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return `value` as JSON; its tensors are moved to `tensors` and replaced by their names."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        return {str(key): _taken_out(item, f"{name}.{key}".lstrip("."), tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_taken_out(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
    return value


def _put_back(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        return tensors[value[_TENSOR]] if _TENSOR in value else {k: _put_back(v, tensors) for k, v in value.items()}
    return [_put_back(item, tensors) for item in value] if isinstance(value, list) else value
