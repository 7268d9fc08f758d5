from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scperturbrl._core.files.run_file import RunFile

IDENTITY = {"seed": 3, "rate": 1e-3, "names": ["a", "b"], "nothing": None}
STATE = {
    "weights": [torch.arange(6.0).view(2, 3).T, torch.tensor(2.5), torch.zeros(0, 4)],
    "optimiser": {"state": {"0": {"step": torch.tensor(4.0)}}, "groups": [{"lr": 0.1 + 0.2, "fused": None}]},
    "rng": torch.Generator().manual_seed(1).get_state(),
    "history": [{"step": 1, "loss": math.nan}, {"step": 2, "loss": math.inf}],
    "text": "é∕\x00",
}


def written(folder, state=STATE, identity=IDENTITY):
    file = RunFile(folder / "run.safetensors", resume=True)
    assert file.read(identity) is None
    file.write(state)
    file.release()
    return file.path


def read(path, identity=IDENTITY):
    file = RunFile(path, resume=True)
    try:
        return file.read(identity)
    finally:
        file.release()


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


def test_a_state_comes_back_bit_for_bit_and_nothing_else_is_left(tmp_path):
    path = written(tmp_path / "new" / "folder")
    assert same(read(path), STATE)
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.é", max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_plain_values_come_back(tmp_path, value):
    path = tmp_path / "run.safetensors"
    path.unlink(missing_ok=True)
    written(tmp_path, {"value": value, "tensor": torch.ones(2)})
    assert same(read(path)["value"], value)


def test_what_stays_the_same_is_part_of_every_state(tmp_path):
    file = RunFile(tmp_path / "run.safetensors", resume=False)
    file.read(IDENTITY)
    file.constant = {"space": torch.ones(3)}
    file.write(STATE)
    assert same(read(file.path)["space"], torch.ones(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "`seed` was 3, now it is 4"),
        ({"names": ["b", "a"]}, "`names` was"),
        ({"new": 1}, "`new` was None, now it is 1"),
    ],
)
def test_another_run_is_not_gone_on_with(tmp_path, change, message):
    with pytest.raises(ValueError, match=f"state of another run: {message}"):
        read(written(tmp_path), IDENTITY | change)


def test_a_state_is_not_overwritten_unasked(tmp_path):
    path = written(tmp_path)
    with pytest.raises(FileExistsError, match="resume=True"):
        RunFile(path, resume=False)


def test_resuming_needs_a_directory(tmp_path):
    with pytest.raises(ValueError, match="needs `checkpoint_dir`"):
        RunFile.of(None, "verb", resume=True)
    assert RunFile.of(None, "verb", resume=False) is None
    assert RunFile.of(tmp_path, "verb", resume=False).path == tmp_path / "verb.safetensors"


def damaged(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        read(path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    path = written(tmp_path)
    content = path.read_bytes()
    for length in sorted({0, 1, 7, 8, 9, len(content) - 1, *range(0, len(content), 97)}):
        damaged(path, content[:length])


@pytest.mark.parametrize("n", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_refused_or_does_not_matter(tmp_path, n):
    path = written(tmp_path)
    content = path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for position in [*range(64), *rng.integers(len(content), size=n).tolist()]:
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(flipped))
        try:
            # a blank between the fields of the header is the only thing that does not matter
            assert same(read(path), STATE)
        except ValueError as error:
            refused += "damaged" in str(error)
    assert refused > n


def test_appended_bytes_are_refused(tmp_path):
    path = written(tmp_path)
    damaged(path, path.read_bytes() + b"\0")


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["fsync", "replace", "open"])
def test_a_full_disk_leaves_the_last_state(tmp_path, monkeypatch, where):
    file = RunFile(written(tmp_path), resume=True)
    file.read(IDENTITY)
    if where == "fsync":
        monkeypatch.setattr(os, "fsync", full_disk)
    else:
        monkeypatch.setattr(Path, where, full_disk)
    with pytest.raises(OSError, match=r"No space left.*written before is intact.*resume=True") as caught:
        file.write({"weights": torch.zeros(2)})
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert same(read(file.path), STATE)
    file.release()
    assert {found.name for found in tmp_path.iterdir()} - {".run.safetensors.lock"} == {"run.safetensors"}


def test_nothing_is_written_through_links(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".run.safetensors.new").symlink_to(outside)
    assert same(read(written(folder)), STATE)
    (folder / ".other.safetensors.lock").symlink_to(outside)
    with pytest.raises(OSError, match="is a symbolic link, which is not followed"):
        RunFile.of(folder, "other", resume=False)
    assert outside.read_text() == "mine"
    assert not (folder / "run.safetensors").is_symlink()


def test_an_unwritable_folder_is_told_before_any_work(tmp_path):
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(OSError, match="cannot be written to"):
        RunFile.of(tmp_path / "file", "verb", resume=False)
    with pytest.raises(OSError, match="cannot be written to"):
        RunFile.of(tmp_path / "file" / "below", "verb", resume=False)


@pytest.mark.parametrize(("number", "words"), [(errno.EACCES, "denied"), (errno.EROFS, "Read-only file system")])
def test_a_folder_that_only_can_be_read_is_told_before_any_work(tmp_path, monkeypatch, number, words):
    def refuse(*_):
        raise OSError(number, words)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=rf"`checkpoint_dir`.*cannot be written to: {words}") as caught:
        RunFile.of(tmp_path / "locked", "verb", resume=False)
    monkeypatch.undo()
    assert caught.value.errno == number


def test_what_a_killed_run_left_is_written_over(tmp_path):
    (tmp_path / ".run.safetensors.new").write_bytes(b"half")
    path = written(tmp_path)
    assert same(read(path), STATE)
    assert [found.name for found in tmp_path.iterdir()] == ["run.safetensors"]


def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(os, "fsync", lambda _: now.__setitem__(0, now[0] + 1.0))
    file = RunFile(tmp_path / "run.safetensors", resume=True)
    file.read(IDENTITY)
    assert file.is_due()
    file.write(STATE)
    assert not file.is_due()
    now[0] += 50
    assert file.is_due()
