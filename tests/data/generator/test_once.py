from __future__ import annotations

import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator import means
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.latent import cells as latent
from scperturbrl.data.latent.cells import Controls, encode_group, encode_rows


@pytest.fixture(scope="module")
def fitted(ready_toy):
    adata = ready_toy.copy()
    spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8, device="cpu", progress=False)
    return adata


def test_predict_finds_the_means_of_unseen_conditions_once(fitted, monkeypatch):
    given, work = [], means._flow_means
    monkeypatch.setattr(means, "_flow_means", lambda *parts: given.append(parts[2].tolist()) or work(*parts))
    once = spr.tl.predict(fitted, n_cells=8)
    assert len(given) == 1
    # each time anew, as it would be without keeping them
    monkeypatch.setattr(means, "PREDICTED", "nowhere")
    again = spr.tl.predict(fitted, n_cells=8)
    assert len(given) == 3
    assert (once.X != again.X).nnz == 0
    column = "uncertainty"
    np.testing.assert_array_equal(
        once.uns["prediction"]["conditions"][column], again.uns["prediction"]["conditions"][column]
    )


def test_control_cells_of_a_group_are_encoded_once_until_the_space_changes(fitted, monkeypatch):
    given = []
    monkeypatch.setattr(latent, "encode_rows", lambda *parts: given.append(len(parts[1])) or encode_rows(*parts))
    cells = Cells.of(fitted)
    space = read_generator(fitted, "generator").generator.space
    rows = Controls.of(cells).rows
    assert Controls.of(cells) is Controls.of(cells)
    first = encode_group(cells, rows, space)
    assert torch.equal(encode_group(cells, rows, space), first)
    assert torch.equal(first, encode_rows(cells, rows, space))
    assert len(given) == 1
    encode_group(cells, rows[:3], space)
    space.mean.add_(1)
    assert not torch.equal(encode_group(cells, rows, space), first)
    assert len(given) == 3
