from __future__ import annotations

import pytest

from scperturbrl.datasets import simulated_perturbseq


@pytest.fixture(scope="package")
def screen():
    return simulated_perturbseq(
        n_genes=300, n_singles=10, n_doubles=20, n_cells_per_condition=80, n_controls=500, cell_types=("A", "B"), seed=3
    )


@pytest.fixture(scope="package")
def dosed():
    return simulated_perturbseq(
        n_genes=150, n_singles=6, n_doubles=4, n_cells_per_condition=60, n_controls=300, doses=(10, 0.1, 1), seed=4
    )


@pytest.fixture(scope="package")
def smallest():
    return simulated_perturbseq(
        n_genes=40, n_singles=1, n_doubles=0, n_cells_per_condition=1, n_controls=1, n_programs=3, n_pathways=1
    )
