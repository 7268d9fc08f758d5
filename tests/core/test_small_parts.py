from __future__ import annotations

import ast
import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch

import scperturbrl
from scperturbrl._core import keys, log
from scperturbrl._core.lazy import lazy_exports
from scperturbrl._core.machine.device import resolve_device
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
    np.testing.assert_array_equal(draw(0, "a", 1, 2), draw(0, "a", 1, 2))
    # zeros at the end are numbers like others, and digits may stand in names
    streams = [
        (0, "a"),
        (1, "a"),
        (0, "b"),
        (0, "a", 0),
        (0, "a", 0, 0),
        (0, "a", 1),
        (0, "a1"),
        (0, "a", 12),
        (0, "a", 1, 2),
    ]
    assert len({tuple(draw(*stream)) for stream in streams}) == len(streams)
    with pytest.raises(TypeError):
        draw(0.5, "a")


def test_a_stream_is_the_hash_of_its_name():
    # written out, so that another hash, which would change every result, does not go unnoticed
    digest = hashlib.sha256(b"(7, 'generated block', 3)").digest()
    expected = np.random.default_rng(int.from_bytes(digest, "big")).integers(1000, size=4)
    assert numpy_rng(7, "generated block", 3).integers(1000, size=4).tolist() == expected.tolist()


# which argument names the stream
PLACE_OF_NAME = {"numpy_rng": 1, "torch_rng": 1, "shuffled": 3}


def streams_named(source):
    """Names of the random streams in `source`; None for one that is not written out."""
    for node in ast.walk(ast.parse(source)):
        called = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""
        if called in PLACE_OF_NAME:
            # verifiers draw by a method of the reference cells, which has the cells and the seed
            place = 1 if called == "shuffled" and isinstance(node.func, ast.Attribute) else PLACE_OF_NAME[called]
            name = node.args[place] if len(node.args) > place else None
            yield name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None


def test_every_stream_of_the_package_has_a_name_of_its_own():
    package = Path(scperturbrl.__file__).parent
    # the function and the method `shuffled` take their stream as an argument
    passes_on = {package / "data" / "cells" / "draw.py", package / "data" / "reference" / "material.py"}
    paths = [path for path in package.rglob("*.py") if path not in passes_on]
    found = [name for path in paths for name in streams_named(path.read_text(encoding="utf-8"))]
    assert len(found) > 25
    assert None not in found
    assert len(set(found)) == len(found), sorted(name for name in set(found) if found.count(name) > 1)


@pytest.mark.parametrize("call", ["numpy_rng(seed)", "random.torch_rng(seed, 0)", "numpy_rng(seed, f'{n}')"])
def test_the_search_for_streams_finds_nameless_ones(call):
    assert list(streams_named(call)) == [None]


def test_no_module_draws_from_a_seed_without_a_stream():
    # pictures and simulated data have seeds of their own, which nothing else uses
    package = Path(scperturbrl.__file__).parent
    others = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in {"pl", "datasets"}]
    for path in others:
        calls = [
            ast.unparse(node)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        drawn = [call for call in calls if "default_rng(" in call and path.name != "random.py"]
        assert drawn in (
            [],
            ["np.random.default_rng(0).standard_normal(min(matrix.shape))", "np.random.default_rng(0)"],
        ), path


def test_streams_leave_the_global_generators_alone():
    np_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    numpy_rng(0, "a").normal(), torch.randn(3, generator=torch_rng(0, "a"))
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
