from __future__ import annotations

import io
import sys

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch

from scperturbrl._core import keys, log
from scperturbrl._core.device import resolve_device
from scperturbrl._core.lazy import lazy_exports
from scperturbrl._core.random import numpy_rng, resolve_seed, torch_rng


def test_slot_names_are_made_of_the_key():
    made = [keys.score("k"), keys.reward("k"), keys.source("k"), keys.pca("k")]
    assert made == ["score_k", "k_reward", "k_source", "X_pca_k"]


def test_a_generator_gives_one_reproducible_seed():
    first, second = (resolve_seed(np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert resolve_seed(np.random.default_rng(4)) != first
    assert resolve_seed(np.int64(5)) == 5


@pytest.mark.parametrize(
    "draw",
    [lambda *s: numpy_rng(*s).normal(size=8), lambda *s: torch.randn(8, generator=torch_rng(*s)).numpy()],
    ids=["numpy", "torch"],
)
def test_streams_repeat_and_are_apart(draw):
    np.testing.assert_array_equal(draw(0, 1, 2), draw(0, 1, 2))
    streams = [draw(0), draw(1), draw(0, 1), draw(0, 2), draw(0, 1, 1)]
    assert len({tuple(values) for values in streams}) == len(streams)


def test_streams_leave_the_global_generators_alone():
    np_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    numpy_rng(0).normal(), torch.randn(3, generator=torch_rng(0))
    np.testing.assert_array_equal(np.random.get_state()[1], np_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_prefers_the_fastest_device(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto").type == expected


def test_devices_by_name_and_object():
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")


def test_an_absent_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda:1', but this PyTorch sees no CUDA device"):
        resolve_device("cuda:1")


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="`device` is 'gpu', which PyTorch does not know"):
        resolve_device("gpu")


def test_a_lazy_table_imports_on_use():
    getter, directory, names = lazy_exports("email", {"sqrt": "math"}, submodules=["mime"])
    assert names == directory() == ["mime", "sqrt"]
    assert getter("sqrt")(9) == 3
    assert getter("mime").__name__ == "email.mime"
    with pytest.raises(AttributeError, match="module 'email' has no attribute 'nothing'"):
        getter("nothing")


def test_warnings_point_at_the_line_that_called_the_package():
    with pytest.warns(UserWarning, match="beware") as caught:
        log.warn("beware")
    assert caught[0].filename == __file__


def test_warnings_from_deep_inside_point_outside_too(toy):
    import scperturbrl as spr

    network = pd.concat(
        [toy.uns["pathway_network"], pd.DataFrame({"source": ["tiny"], "target": ["none"], "weight": [1.0]})]
    )
    with pytest.warns(UserWarning, match="Left out") as caught:
        spr.pp.pathway_network(toy, network)
    assert caught[0].filename == __file__


@pytest.fixture
def logfile():
    before = sc.settings.verbosity, sc.settings._logfile
    sc.settings.logfile = io.StringIO()
    yield sc.settings.logfile
    sc.settings.verbosity, sc.settings._logfile = before
    sc.logging._set_log_file(sc.settings)


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [(1, []), (2, ["working", "aside", "finished"]), (3, ["working", "wrote uns['x'], obs['y']"])],
)
def test_logging_follows_the_verbosity_of_scanpy(logfile, verbosity, expected):
    shown, sc.settings.verbosity = logfile, verbosity
    started = log.start("working")
    log.note("aside")
    log.finish(started, ["uns['x']", "obs['y']"])
    assert all(text in shown.getvalue() for text in expected)
    assert bool(shown.getvalue()) == bool(expected)


def test_logging_does_not_load_scanpy(monkeypatch):
    monkeypatch.delitem(sys.modules, "scanpy")
    started = log.start("working")
    log.finish(started, ["uns['x']"])
    assert "scanpy" not in sys.modules
    assert sc.logging.info("later", time=started) >= started
