from __future__ import annotations

import torch
from scipy import stats

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.path import sample_path
from scperturbrl.flow.source import GAUSSIAN, Source


def test_identities_of_the_path():
    cells = torch.randn(500, 3, generator=torch_rng(0, "test")) + 4
    t, x_t, velocity = sample_path(cells, cells, GAUSSIAN, torch_rng(1, "test"))
    assert t.shape == (500,)
    noise = cells - velocity
    torch.testing.assert_close(x_t, (1 - t[:, None]) * noise + t[:, None] * cells)
    torch.testing.assert_close(x_t + (1 - t[:, None]) * velocity, cells, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x_t - t[:, None] * velocity, noise, atol=1e-5, rtol=1e-5)


def test_times_are_uniform_and_noise_is_normal_and_independent_of_them():
    cells = torch.zeros(4000, 1)
    sample = sample_path(cells, cells, GAUSSIAN, torch_rng(2, "test"))
    noise = -sample.velocity.flatten().numpy()
    assert stats.kstest(sample.t.numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    assert stats.spearmanr(sample.t.numpy(), noise).pvalue > 1e-3


def test_the_same_seed_gives_the_same_path():
    cells = torch.randn(5, 2)
    draw = lambda: sample_path(cells, cells, GAUSSIAN, torch_rng(3, "test"))
    for one, other in zip(draw(), draw(), strict=True):
        assert torch.equal(one, other)


def test_a_path_from_control_cells_starts_near_its_own():
    cells, control = torch.zeros(2000, 2), torch.arange(2000.0)[:, None].expand(-1, 2)
    sample = sample_path(cells, control, Source("control"), torch_rng(4, "test"), min_time=0.5)
    assert sample.t.min() >= 0.5
    off = (cells - sample.velocity - control).flatten().numpy()
    assert stats.kstest(off.astype(float) / 0.3, "norm").pvalue > 1e-3
