from __future__ import annotations

import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.source import CONTROL_NOISE, Source


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
