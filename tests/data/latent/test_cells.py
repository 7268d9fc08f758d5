from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.latent.cells import common_total, suitable_source


@pytest.fixture
def cells(toy):
    return Cells.of(toy)


def test_the_total_is_that_of_normalisation(cells):
    rows = np.arange(50)
    assert common_total(cells, rows) == pytest.approx(np.expm1(cells.block(rows)).sum(1).mean(), rel=1e-5)


def test_a_panel_has_no_common_total(cells):
    assert common_total(replace(cells, expression=cells.expression[:, :20]), np.arange(50)) == 0


def test_a_held_out_patient_is_a_context(zhao):
    spr.pp.setup_anndata(zhao, covariate_keys=["patient_id"])
    spr.pp.split(zhao, holdout="patient_id")
    assert suitable_source(Cells.of(zhao)) == "control"


def test_held_out_combinations_are_no_contexts(norman):
    spr.pp.setup_anndata(norman)
    spr.pp.split(norman, holdout="combinations")
    assert suitable_source(Cells.of(norman)) == "gaussian"


def test_without_held_out_conditions_it_is_noise(toy):
    toy.obs["everything"] = "train"
    spr.pp.split(toy, holdout="column", column="everything")
    assert suitable_source(Cells.of(toy)) == "gaussian"
