from __future__ import annotations

import sys

import numpy as np
import pytest

from scperturbrl._core import progress
from scperturbrl._core.progress import progress_bar


def test_a_hidden_bar_shows_nothing(capsys):
    with progress_bar("fitting", 3, show=False) as update:
        update(1, "loss 3")
    assert capsys.readouterr() == ("", "")


def test_a_bar_shows_label_steps_and_text(capsys):
    with progress_bar("fitting", 3, show=True) as update:
        for step in (1, 2, 3):
            update(step, f"loss {step}")
    shown = capsys.readouterr()
    assert all(text in shown.err for text in ("fitting", "3/3", "loss 3"))
    assert shown.out == ""


def test_bars_are_shown_by_default_only_to_people(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with progress_bar("fitting", 1) as update:
        update(1, "")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar("fitting", 1) as update:
        update(1, "")
    assert "fitting" in capsys.readouterr().err


def test_a_notebook_gets_few_plain_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    # a kernel sets this for the libraries that its cells use
    monkeypatch.setenv("FORCE_COLOR", "1")
    clock = iter(np.arange(0, 100, 0.1))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress_bar("fitting", 400) as update:
        for step in range(1, 401):
            update(step, f"loss {step}")
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert [line.split(",")[0] for line in shown.splitlines()] == [f"fitting: {n}/400" for n in (100, 200, 300, 400)]


def test_the_last_line_is_written_after_an_error(capsys):
    def fail():
        with progress_bar("fitting", 9, show=True) as update:
            update(4, "")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert capsys.readouterr().err.startswith("fitting: 4/9, 0 s")
