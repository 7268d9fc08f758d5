from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.latent.cells import common_total, sparse_counts


@pytest.fixture
def cells(toy):
    return Cells.of(toy)


def test_the_total_is_that_of_normalisation(cells):
    rows = np.arange(50)
    assert common_total(cells, rows) == pytest.approx(np.expm1(cells.block(rows)).sum(1).mean(), rel=1e-5)


def test_a_panel_has_no_common_total(cells):
    assert common_total(replace(cells, expression=cells.expression[:, :20]), np.arange(50)) == 0


def test_counts_are_those_of_the_rows_in_their_order(cells):
    rows, unit = np.array([7, 3, 3, 40]), np.array([0.5, 2.0, 2.0, 1.0])
    found = sparse_counts(cells, rows, unit).dense(torch.arange(4)).numpy()
    np.testing.assert_allclose(found, np.rint(np.expm1(cells.block(rows)) / unit[:, None]), atol=1)
