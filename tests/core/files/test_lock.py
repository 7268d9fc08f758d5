from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import scperturbrl
from scperturbrl._core.files.lock import Lock

CHILD = """
import sys, time, pathlib
from scperturbrl._core.files.lock import Lock
lock = Lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no locks of files here")


def test_another_process_is_named_until_it_is_killed(tmp_path):
    path = tmp_path / "run.safetensors"
    environment = os.environ | {"PYTHONPATH": str(Path(scperturbrl.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match=rf"in use: process {child.pid} on .* writes run\.safetensors there"):
            Lock(path)
        Lock(tmp_path / "other.safetensors").release()
        child.send_signal(signal.SIGKILL)
    Lock(path).release()
    assert list(tmp_path.iterdir()) == []


def test_a_thread_may_go_on_after_a_failure_and_another_one_may_not(tmp_path):
    path, found = tmp_path / "run.safetensors", []

    def work():
        try:
            found.append(Lock(path))
        except BlockingIOError as error:
            found.append(str(error))

    first = Lock(path)
    again = Lock(path)
    first.release()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert f"in use: process {os.getpid()} on" in found[0]
    again.release()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    # a thread that has ended holds nothing
    Lock(path).release()
    assert list(tmp_path.iterdir()) == []
