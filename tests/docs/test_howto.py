import functools
import re
import types
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import scperturbrl as spr
from scperturbrl.flow.observation.denoise import fit_observation
from scperturbrl.verifiers import registry

PAGES = sorted((Path(__file__).parents[2] / "docs" / "howto").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

# the pages show the defaults; the tests only need the code to run, not the generator to be good
SMALL = {
    "fit_generator": {"n_steps": 10, "width": 32, "n_latent": 8, "batch_size": 64},
    "rl_finetune": {"n_iterations": 2, "n_conditions": 2, "group_size": 4, "reward_steps": 1, "energy_steps": 1},
    "evaluate": {"n_cells": 40, "max_cells": 60},
}


def fit_observation_briefly(*args, **settings):
    return fit_observation(*args, **settings | {"n_steps": 15})


def blocks(page):
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture
def reader(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", plt.close)
    for verb, settings in SMALL.items():
        small = functools.partial(getattr(spr.tl, verb), **settings)
        monkeypatch.setattr(spr.tl, verb, small, raising=False)
    monkeypatch.setattr("scperturbrl.data.generator.initial.fit_observation", fit_observation_briefly)
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    return types.ModuleType("reader").__dict__


def test_every_page_has_code():
    silent = [page.name for page in PAGES if page.name != "index.md" and not blocks(page)]
    assert PAGES
    assert not silent


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "index.md"], ids=lambda page: page.stem)
def test_code_of_a_page_runs(page, reader):
    with warnings.catch_warnings():
        # a tiny screen is warned about, and so may be libraries that a page borrows from
        warnings.simplefilter("ignore")
        for number, block in enumerate(blocks(page), start=1):
            exec(compile(block, f"{page.name}, block {number}", "exec"), reader)
