from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow import generated_blocks


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
