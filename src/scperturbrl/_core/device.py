"""Choice of the device that tensors live on."""

from __future__ import annotations

import torch


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device for `device`; ``"auto"`` prefers CUDA, then MPS, then the CPU.

    Raises
    ------
    ValueError
        If the device asked for is not available.
    """
    if str(device) != "auto":
        chosen = torch.device(device)
        if chosen.type == "cuda" and not torch.cuda.is_available():
            msg = f"`device` is {str(device)!r}, but this PyTorch sees no CUDA device. Use `device='auto'` or 'cpu'."
            raise ValueError(msg)
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
