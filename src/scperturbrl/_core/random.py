"""Seeds: one integer in, independent named streams out, global generators untouched."""

from __future__ import annotations

import hashlib
import operator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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


def numpy_rng(seed: int, stream: str, *numbers: int) -> np.random.Generator:
    """NumPy generator of one stream of `seed`, given by its name and, for one of several, by numbers."""
    return np.random.default_rng(_entropy(seed, stream, numbers))


def torch_rng(seed: int, stream: str, *numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch generator on `device` of one stream of `seed`; see :func:`numpy_rng`."""
    import torch

    state = np.random.SeedSequence(_entropy(seed, stream, numbers)).generate_state(1, np.uint64)[0]
    generator = torch.Generator(device=device)
    generator.manual_seed(int(state) & (2**63 - 1))
    return generator


def on_device(rng: torch.Generator, device: torch.device) -> torch.Generator:
    """The generator itself if it is on the CPU as `device` is; else one on `device` that it seeds."""
    if device.type == "cpu":
        return rng
    import torch

    seed = int(torch.randint(2**62, (1,), generator=rng))
    return torch.Generator(device=device).manual_seed(seed)


def children(rng: torch.Generator, n: int) -> list[torch.Generator]:
    """`n` generators on the device of `rng`, which seeds them.

    Some draws take as many random numbers as they happen to need. With a generator of its own each leaves the others alone.
    """
    import torch

    # in place, because several processes share out what they draw by rows, and these are not rows
    seeds = torch.empty(n, dtype=torch.int64, device=rng.device).random_(0, 2**62, generator=rng).tolist()
    return [torch.Generator(device=rng.device).manual_seed(seed) for seed in seeds]


def _entropy(seed: int, stream: str, numbers: tuple[int, ...]) -> int:
    # SeedSequence pads with zeros, so that [seed] and [seed, 0] are one to it; the hash tells all apart
    text = repr((operator.index(seed), stream, *map(operator.index, numbers)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
