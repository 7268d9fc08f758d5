"""Independent named random streams from one seed; global generators are not used."""

from __future__ import annotations

import hashlib
import operator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Seed = int | np.random.Generator


def resolve_seed(seed: Seed) -> int:
    """Return the integer to record for `seed`; draw it if `seed` is a NumPy generator."""
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
    """Return `rng` if `device` is the CPU; otherwise a generator on `device`, seeded by `rng`."""
    if device.type == "cpu":
        return rng
    import torch

    seed = int(torch.randint(2**62, (1,), generator=rng))
    return torch.Generator(device=device).manual_seed(seed)


def children(rng: torch.Generator, n: int) -> list[torch.Generator]:
    """`n` generators on the device of `rng`, which seeds them.

    The number of random numbers in some draws varies. With its own generator, a draw does not affect the others.
    """
    import torch

    # in place, because processes divide draws by rows, and these are not rows
    seeds = torch.empty(n, dtype=torch.int64, device=rng.device).random_(0, 2**62, generator=rng).tolist()
    return [torch.Generator(device=rng.device).manual_seed(seed) for seed in seeds]


def _entropy(seed: int, stream: str, numbers: tuple[int, ...]) -> int:
    # SeedSequence pads with zeros, so [seed] and [seed, 0] would be equal; the hash distinguishes them
    text = repr((operator.index(seed), stream, *map(operator.index, numbers)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
