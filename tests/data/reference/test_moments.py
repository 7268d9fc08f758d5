"""Means of trained conditions without their sampling noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.latent.cells import encode_rows
from scperturbrl.data.reference.moments import condition_moments, denoising_shifts
from scperturbrl.flow.space.base import PCASpace
from scperturbrl.metrics import denoised_effects


@pytest.fixture(scope="module")
def cells():
    adata = spr.datasets.simulated_perturbseq(n_genes=200, n_cells_per_condition=25, seed=3)
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="combinations", fraction=0.3, seed=0)
    return Cells.of(adata)


@pytest.fixture(scope="module")
def space(cells):
    # all coordinates, so that nothing is lost on the way
    return PCASpace(torch.zeros(len(cells.genes)), torch.eye(len(cells.genes)), 2.0)


def test_it_leads_from_the_measured_to_the_denoised_means(cells, space):
    names, shift = cells.conditions("train", min_cells=2), denoising_shifts(cells, space)
    expression = np.asarray(cells.block(np.arange(len(cells.codes))), dtype=float)
    effects, noise = [], []
    for row in cells.rows(names):
        own, control = (expression[cells.codes == code] for code in (row, cells.control_row(row)))
        effects.append(own.mean(0) - control.mean(0))
        noise.append(own.var(0, ddof=1) / len(own) + control.var(0, ddof=1) / len(control))
    expected = (denoised_effects(effects, noise) - effects) / 2
    np.testing.assert_allclose(shift[cells.rows(names)], expected, atol=1e-5)


def test_only_trained_conditions_are_shifted(cells, space):
    shift = denoising_shifts(cells, space)
    trained = np.isin(np.arange(len(cells.table)), cells.rows(cells.conditions("train", min_cells=2)))
    assert (shift[~trained] == 0).all()
    assert (shift[trained] != 0).any(1).all()


def test_denoised_means_are_closer_to_those_of_many_cells(cells, space):
    many = spr.datasets.simulated_perturbseq(n_genes=200, n_cells_per_condition=500, seed=3)
    spr.pp.setup_anndata(many)
    spr.pp.split(many, holdout="combinations", fraction=0.3, seed=0)
    many = Cells.of(many)
    shift, raw, denoised = denoising_shifts(cells, space), [], []
    means = lambda of, row: encode_rows(of, np.flatnonzero(of.codes == row), space).mean(0)
    for name in cells.conditions("train", min_cells=2):
        row, there = cells.rows([name])[0], many.rows([name])[0]
        true = means(many, there) - means(many, many.control_row(there))
        measured = means(cells, row) - means(cells, cells.control_row(row))
        raw.append(float((measured - true).square().sum()))
        denoised.append(float((measured + shift[row] - true).square().sum()))
    assert np.mean(denoised) < 0.7 * np.mean(raw)


@pytest.mark.parametrize("dense", [False, True])
def test_moments_do_not_depend_on_the_blocks_in_which_cells_are_read(cells, dense, monkeypatch):
    use = np.arange(len(cells.codes)) % 3 > 0
    whole = condition_moments(cells, use)
    for row in (0, 5):
        own = cells.block(np.flatnonzero(use & (cells.codes == row))).astype(float)
        for found, expected in zip(whole, (len(own), own.mean(0), own.var(0, ddof=1)), strict=True):
            np.testing.assert_allclose(found[row], expected, atol=1e-10)
    other = replace(cells, expression=cells.block(np.arange(len(cells.codes)))) if dense else cells
    monkeypatch.setattr(Cells, "chunk", 37)
    for found, expected in zip(condition_moments(other, use), whole, strict=True):
        np.testing.assert_array_equal(found, expected)
