from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow import counted_cells, generated_blocks


def test_out_of_memory_means_smaller_blocks_with_a_warning(make_generator, make_batch, monkeypatch):
    generator, sizes = make_generator(), []
    draw = generated_blocks.draw_block

    def small_device(generator, control, *arguments):
        sizes.append(len(control.latent))
        if len(control.latent) > 200:
            msg = "CUDA out of memory. Tried to allocate 2.00 GiB"
            raise torch.OutOfMemoryError(msg)
        return draw(generator, control, *arguments)

    monkeypatch.setattr(generated_blocks, "draw_block", small_device)
    n, control = 600, torch.rand(600, 6, generator=torch_rng(0, "test"))
    index = torch.zeros(n, dtype=torch.long)
    with pytest.warns(UserWarning, match="Continuing with (256|128) generated cells at a time"):
        cells, counts = generator.generate(control, torch.ones(n), make_batch([(1,)]), index, seed=0)
    assert cells.shape == counts.shape == (n, 6)
    assert sizes == [512, 256] + [128] * 8
    assert len(np.unique(counts.numpy(), axis=0)) > 1


@pytest.mark.parametrize("wanted", [[17], [3, 17, 39]])
def test_conditions_that_no_cell_has_change_no_bit(make_generator, make_batch, wanted):
    generator = make_generator(n_tokens=40)
    n, conditions = 600, make_batch([(token,) for token in range(1, 41)])
    control = torch.rand(n, 6, generator=torch_rng(0, "test"))
    index = torch.tensor(wanted)[torch.arange(n) % len(wanted)]
    found = generator.generate(control, torch.ones(n), conditions, index, seed=0)
    # the same, with the code of every condition
    encoded, drawn = [], []
    keep = generator.encoder.register_forward_hook(lambda _, given, __: encoded.append(len(given[0])))
    for number, rows in enumerate(torch.arange(n).split(512)):
        rows = torch.cat([rows, rows.new_zeros(512 - len(rows))])
        cells, unit = generator.read_controls(control[rows], torch.ones(512)), torch.ones(512)
        rng = torch_rng(0, "generated block", number)
        drawn.append(generated_blocks.draw_block(generator, cells, unit, conditions, index[rows], rng))
    assert encoded == [40, 40]
    generator.generate(control, torch.ones(n), conditions, index, seed=0)
    assert encoded[2:] == [8, 8]
    keep.remove()
    for ours, theirs in zip(found, zip(*drawn, strict=True), strict=True):
        torch.testing.assert_close(ours, torch.cat(theirs)[:n], rtol=0, atol=0)


@pytest.mark.parametrize("space", ["pca", "genes"])
def test_cells_drawn_in_parts_are_those_of_the_whole_block(make_generator, make_batch, monkeypatch, space):
    generator = make_generator(space=space, n_latent=3 if space == "pca" else 6)
    n, unit = 300, torch.ones(300)
    control = generator.read_controls(torch.rand(n, 6, generator=torch_rng(0, "test")), unit)
    conditions = make_batch([(1,), (2,)])
    draw = lambda: generated_blocks.draw_block(
        generator, control, unit, conditions, torch.arange(n) % 2, torch_rng(0, "block")
    )
    found = draw()
    monkeypatch.setattr(counted_cells, "AT_ONCE", n)
    for ours, theirs in zip(found, draw(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
