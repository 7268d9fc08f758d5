from __future__ import annotations

import subprocess
import sys

import pytest

from scperturbrl import datasets


@pytest.mark.parametrize("name", datasets.__all__)
def test_every_export_is_a_documented_function(name):
    assert callable(getattr(datasets, name))
    assert getattr(datasets, name).__doc__
    assert name in dir(datasets)


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no_such_set"):
        _ = datasets.no_such_set


def test_import_stays_light():
    code = "import sys, scperturbrl.datasets; print([m for m in ('scanpy', 'torch', 'pertpy', 'anndata') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_simulating_needs_neither_scanpy_nor_torch():
    code = (
        "import sys, scperturbrl as spr; spr.datasets.toy();"
        "print([m for m in ('scanpy', 'torch', 'pertpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
