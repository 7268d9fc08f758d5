from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator.self_check import self_check, self_check_problems
from scperturbrl.data.generator.stored import read_generator

pytestmark = pytest.mark.usefixtures("all_cells_for_means")

GOOD = {
    "energy": 0.02,
    "energy_control": 1.0,
    "energy_halves": 0.0,
    "squared_error": 0.012,
    "squared_error_control": 0.1,
    "squared_error_halves": 0.01,
    "zeros": 0.02,
    "zeros_control": 0.05,
    "zeros_halves": 0.015,
    "variance_ratio": 1.0,
}


@pytest.fixture(scope="module")
def screen():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=120,
        n_singles=6,
        n_doubles=4,
        n_cells_per_condition=80,
        n_controls=300,
        n_programs=8,
        n_pathways=4,
        seed=3,
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    spr.tl.fit_generator(adata, n_steps=250, width=64, progress=False)
    return adata


def test_it_is_measured_on_trained_conditions_and_kept_with_the_generator(screen):
    stored, cells = read_generator(screen, "generator"), Cells.of(screen)
    again = self_check(stored, cells, seed=0)
    assert again == pytest.approx(dict(stored.fitted["self_check"]), rel=0.02)
    assert again["energy"] < 0.5 * again["energy_control"]
    assert again["squared_error_halves"] < again["squared_error_control"]


def test_a_generator_that_went_wrong_is_found_out(screen):
    stored, cells = read_generator(screen, "generator"), Cells.of(screen)
    assert self_check_problems(self_check(stored, cells, seed=0)) == []
    stored.generator.observation.loading *= 2
    assert self_check_problems(self_check(stored, cells, seed=0))


def test_held_out_cells_do_not_count(screen):
    stored, cells = read_generator(screen, "generator"), Cells.of(screen)
    tampered = screen.copy()
    tampered.X = sparse.csr_matrix(screen.X.multiply((cells.split == "train")[:, None]), dtype=np.float32)
    assert self_check(stored, Cells.of(tampered), seed=0) == self_check(stored, cells, seed=0)


def test_the_summary_shows_it(screen):
    shown = str(spr.get.generator(screen, key="generator"))
    assert "Energy distance, trained conditions" in shown


def test_good_figures_are_no_problem_and_nothing_measured_neither():
    assert self_check_problems(GOOD) == []
    assert self_check_problems({}) == []


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("energy", 0.5, "energy distance"), ("squared_error", 0.09, "mean expression"), ("zeros", 0.1, "share of zeros")],
)
def test_what_is_off_is_named_with_a_remedy(name, value, word):
    (problem,) = self_check_problems(GOOD | {name: value})
    assert word in problem
    assert "`n_" in problem
