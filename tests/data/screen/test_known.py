from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.reference.statistics import fit_reference
from scperturbrl.data.screen.known import Known, design_of, training_rows


@pytest.fixture(scope="module")
def cells():
    adata = spr.datasets.simulated_perturbseq(n_genes=60, n_singles=6, n_doubles=6, n_cells_per_condition=30)
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    return Cells.of(adata)


def test_effects_are_those_of_the_reference(cells):
    known = Known.of(cells, wanted=["NOVEL"])
    names = known.measured.names.tolist()
    assert names == cells.conditions("train", min_cells=2)
    network = np.zeros((len(cells.genes), 0), dtype=np.float32)
    reference = fit_reference(known.cells, cells.is_training(), conditions=names, network=network)
    np.testing.assert_allclose(known.measured.effects, reference.mean_effect, atol=1e-5)
    noise = np.square(reference.mean_effect / np.where(reference.statistic == 0, np.nan, reference.statistic))
    np.testing.assert_allclose(known.measured.noise, np.nanmean(noise, axis=1), rtol=0.05)
    assert known.ground.names[-1] == "NOVEL"
    assert known.ground.genes[-1] == -1


def test_conditions_come_back_by_their_parts(cells):
    known = Known.of(cells)
    table = cells.table[~cells.table["is_control"]]
    conditions = known.encode(table.loc[known.measured.names])
    assert conditions.labels() == known.measured.conditions.labels()
    named = [tuple(known.ground.names[code] for code in label) for label in conditions.labels()]
    assert named == table.loc[known.measured.names, "parts"].tolist()


def test_a_context_without_controls_is_refused(cells):
    table = cells.table.iloc[[1]].assign(group="elsewhere")
    with pytest.raises(ValueError, match="'elsewhere' has fewer than 2 training control cells"):
        Known.of(cells).encode(table)


def test_the_design_needs_no_expression(cells):
    table = cells.table.loc[cells.conditions("train", min_cells=2)]
    asked, measured = design_of(cells, table)
    assert asked.labels() == measured.labels()


def test_training_rows_are_training_cells(cells):
    names = cells.conditions("train", min_cells=2)
    for name, rows in zip(names, training_rows(cells, names), strict=True):
        assert (cells.codes[rows] == cells.table.index.get_loc(name)).all()
        assert (cells.split[rows] == "train").all()
