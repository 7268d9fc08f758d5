from __future__ import annotations

import pytest
import torch
from scipy import stats

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.path import CONTROL_NOISE, GAUSSIAN, Source, sample_path


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


def test_noise_does_not_depend_on_the_control_cells():
    draw = lambda level: Source().draw(torch.full((50, 3), level), torch_rng(0, "test"))
    assert torch.equal(draw(0.0), draw(9.0))
    assert draw(0.0).var().item() == pytest.approx(Source().variance, rel=0.3)


def test_control_cells_get_a_little_noise():
    control = 5 * torch.randn(4000, 2, generator=torch_rng(1, "test"))
    off = Source("control").draw(control, torch_rng(2, "test")) - control
    assert off.std().item() == pytest.approx(CONTROL_NOISE, rel=0.05)
    assert Source("control").variance == pytest.approx(CONTROL_NOISE**2)


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match=r"`source` is 'uniform'.*gaussian"):
        Source("uniform")
