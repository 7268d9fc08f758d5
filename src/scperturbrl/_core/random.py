"""Seeds: one integer in, independent streams out, global generators untouched."""

from __future__ import annotations

import numpy as np
import torch

Seed = int | np.random.Generator


def resolve_seed(seed: Seed) -> int:
    """Return the integer to record for `seed`; a NumPy generator is asked for one."""
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**31 - 1))
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        msg = f"`seed` is {seed!r}; it must be a whole number or a NumPy generator."
        raise TypeError(msg)
    if seed < 0:
        msg = f"`seed` is {seed!r}; it must not be negative."
        raise ValueError(msg)
    return int(seed)


def numpy_rng(seed: int, *stream: int) -> np.random.Generator:
    """NumPy generator of the sub-stream `stream` of `seed`."""
    return np.random.default_rng(np.random.SeedSequence([seed, *stream]))


def torch_rng(seed: int, *stream: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch generator on `device` of the sub-stream `stream` of `seed`."""
    state = np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0]
    generator = torch.Generator(device=device)
    generator.manual_seed(int(state) & (2**63 - 1))
    return generator


def on_device(rng: torch.Generator, device: torch.device) -> torch.Generator:
    """The generator itself if it is on the CPU as `device` is; else one on `device` that it seeds."""
    if device.type == "cpu":
        return rng
    seed = int(torch.randint(2**62, (1,), generator=rng))
    return torch.Generator(device=device).manual_seed(seed)
