from __future__ import annotations

import numpy as np
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.control_cells import SparseRows
from scperturbrl.flow.rollout.control_pool import ControlPool


def test_control_cells_come_from_the_run_of_the_condition():
    pool = ControlPool(
        latent=torch.arange(10.0)[:, None],
        denoised=torch.arange(10.0)[:, None] / 2,
        counts=SparseRows.of(torch.arange(10.0)[:, None].expand(10, 3)),
        unit=torch.arange(10.0) / 10,
        start=torch.tensor([0, 3, 9]),
        count=torch.tensor([3, 6, 1]),
        depth=torch.tensor([1.0, 2.0, 1.0]),
    ).to("cpu")
    control, unit = pool.draw(torch.tensor([1, 2, 0]), 300, torch_rng(0, "test"))
    latent = control.latent
    assert latent.shape == (900, 1)
    torch.testing.assert_close(control.counts, latent.expand(900, 3))
    torch.testing.assert_close(control.denoised, latent / 2)
    torch.testing.assert_close(control.unit, latent[:, 0] / 10)
    # deeper cells have smaller units
    depth = np.repeat([2.0, 1.0, 1.0], 300)
    np.testing.assert_allclose(unit, latent[:, 0].numpy() / 10 / depth, rtol=1e-6)
    groups = [set(part.long().flatten().tolist()) for part in latent.split(300)]
    assert groups == [set(range(3, 9)), {9}, {0, 1, 2}]
