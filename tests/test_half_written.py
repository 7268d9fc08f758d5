"""Whatever goes wrong, and whenever: an AnnData is as it was before a verb or as it is after it, and nothing between."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr
from scperturbrl._core import write as room

PACKAGE = str(Path(spr.__file__).parent)
SMALL = {"n_steps": 2, "width": 8, "n_latent": 4, "n_blocks": 1, "batch_size": 16, "progress": False}
SHORT = {"n_iterations": 1, "n_conditions": 2, "group_size": 2, "progress": False}


def saved_and_loaded(adata, folder):
    spr.tl.save_generator(adata, folder / "generator")
    spr.tl.load_generator(adata, folder / "generator", key_added="loaded")


def scored_elsewhere(adata, _):
    theirs = adata[adata.obs["perturbation"] != "control"].copy()
    spr.tl.score(theirs, reference=adata)


def screened_and_proposed(adata, _):
    spr.tl.screen(adata, "pairs", objective="size", n_refine=2, n_cells=5)
    spr.tl.propose(adata, n=2)


def predicted_elsewhere(adata, folder):
    spr.tl.save_generator(adata, folder / "model")
    others = adata[adata.obs["perturbation"] == "control"].copy()
    spr.tl.predict_elsewhere(others, folder / "model", n_cells=3)


VERBS = {
    "pp.setup_anndata": lambda a, _: spr.pp.setup_anndata(a),
    "pp.split": lambda a, _: spr.pp.split(a, seed=3),
    "pp.split_folds": lambda a, _: spr.pp.split_folds(a, k=2),
    "pp.pathway_network": lambda a, _: spr.pp.pathway_network(a, a.uns["pathway_network"].iloc[10:]),
    "pp.reference": lambda a, _: spr.pp.reference(a, seed=3, network=a.uns["pathway_network"].iloc[10:]),
    "tl.fit_generator": lambda a, _: spr.tl.fit_generator(a, **SMALL),
    "tl.fit_generator, further": lambda a, _: spr.tl.fit_generator(a, init_from="generator", **SMALL),
    "tl.rl_finetune": lambda a, _: spr.tl.rl_finetune(a, **SHORT),
    "tl.generate": lambda a, _: spr.tl.generate(a, seed=3),
    "tl.predict": lambda a, _: spr.tl.predict(a, n_cells=3),
    "tl.score": lambda a, _: spr.tl.score(a, percentile=True),
    "tl.score, elsewhere": scored_elsewhere,
    "tl.select": lambda a, _: spr.tl.select(a, key="generator_rl"),
    "tl.evaluate": lambda a, _: spr.tl.evaluate(a, n_cells=10, conditions=a.obs["perturbation"].astype(str)[-1:]),
    "tl.leakage_canary": lambda a, _: spr.tl.leakage_canary(
        a, lambda b: np.asarray(b.X[(b.obs["split"] == "train").to_numpy()].sum(0))
    ),
    "tl.save_generator, tl.load_generator": saved_and_loaded,
    "tl.screen, tl.propose": screened_and_proposed,
    "tl.predict_elsewhere": predicted_elsewhere,
    "tl.to_cell_eval": lambda a, folder: spr.tl.to_cell_eval(a, folder / "out", prediction="generator", n_cells=3),
}


def entries(value):
    """What stands in a slot: which objects under which names, without a look into them."""
    if isinstance(value, dict):
        return sorted((key, entries(part)) for key, part in value.items())
    return id(value)


def state(adata, *, tables=True):
    """Which objects an AnnData holds. Cheap enough to be taken at every step."""
    aligned = [
        {str(key): id(value) for key, value in part._data.items()} for part in (adata.layers, adata.obsm, adata.varm)
    ]
    columns = [(*table.columns, *map(id, table._mgr.arrays)) for table in (adata.obs, adata.var) if tables]
    return str((id(adata.X), [sorted(part.items()) for part in aligned], columns, entries(adata.uns)))


class Steps:
    """States of an AnnData at every line of the package in a function that has one in its hands."""

    def __init__(self, adata):
        self.adata, self.states, self.n_steps = adata, {}, 0
        # an object that is gone may give its number to another one
        self.alive = [
            *adata.layers.values(),
            *adata.obsm.values(),
            *adata.varm.values(),
            *adata.uns.values(),
            *self.arrays(),
        ]

    def arrays(self):
        return [*self.adata.obs._mgr.arrays, *self.adata.var._mgr.arrays]

    def __enter__(self):
        sys.settrace(self.enter)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def enter(self, frame, _event, _argument):
        code = frame.f_code
        mine = code.co_filename.startswith(PACKAGE) and code.co_filename != room.__file__
        holds = "adata" in (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
        return self.line if mine and holds else None

    def line(self, frame, _event, _argument):
        self.states.setdefault(state(self.adata), f"{frame.f_code.co_filename}:{frame.f_lineno}")
        self.n_steps += 1
        return self.line


def interrupted(work, line):
    """Call `work` with an interrupt at the given line of the room that writes, counted; False if it has fewer."""
    count, outer = 0, sys.gettrace()

    def step(_frame, event, _argument):
        nonlocal count
        count += event == "line"
        if event == "line" and count == line:
            raise KeyboardInterrupt
        return step

    sys.settrace(lambda frame, *_: step if frame.f_code.co_filename == room.__file__ else None)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(outer)
    return False


@pytest.fixture
def interrupts(monkeypatch):
    """Makes every verb, before it writes, try what an interrupt at every line of the writing leaves; counts these."""
    real, counts = room.write, []

    def write(adata, **slots):
        before, cells = state(adata, tables=False), adata.obs.copy()
        line = 1
        while interrupted(lambda: real(adata, **slots), line):
            assert state(adata, tables=False) == before, f"{list(slots)} after line {line}"
            pd.testing.assert_frame_equal(adata.obs, cells)
            line += 1
        counts.append(line)

    for name, module in list(sys.modules.items()):
        if name.startswith("scperturbrl.") and getattr(module, "write", None) is real:
            monkeypatch.setattr(module, "write", write)
    return counts


@pytest.mark.parametrize("verb", VERBS)
def test_every_step_leaves_all_or_nothing(finished, digest, interrupts, tmp_path, verb):
    adata = finished.copy()
    before, digested = state(adata), digest(adata)
    with warnings.catch_warnings(), Steps(adata) as steps:
        warnings.simplefilter("ignore", UserWarning)
        VERBS[verb](adata, tmp_path)
    after = state(adata)
    between = {where for found, where in steps.states.items() if found not in {before, after}}
    assert between == set()
    assert steps.n_steps > 5
    if before == after:
        assert digest(adata) == digested
    else:
        assert min(interrupts) > 5


def test_what_is_half_written_is_found(toy, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", __file__)

    def verb(adata):
        adata.uns["first"] = 1
        adata.uns["second"] = 2
        return adata

    before = state(toy)
    with Steps(toy) as steps:
        verb(toy)
    assert len(set(steps.states) - {before, state(toy)}) == 1


def test_all_verbs_are_tried():
    exported = {f"{part.__name__.split('.')[-1]}.{name}" for part in (spr.pp, spr.tl) for name in part.__all__}
    # these only hold or read what they are given
    exported -= {"tl.DamagedFileError", "pp.SplitManifest", "pp.fingerprint_embeddings", "pp.network_embeddings"}
    assert {name for verb in VERBS for name in verb.split(", ") if "." in name} == exported
