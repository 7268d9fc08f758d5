"""Choice of the device."""

from __future__ import annotations

import torch


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device for `device`; ``"auto"`` prefers CUDA, then MPS, then the CPU.

    Raises
    ------
    ValueError
        If the requested device does not exist or is not available.
    """
    if str(device) != "auto":
        try:
            chosen = torch.device(device)
        except RuntimeError as error:
            msg = f"`device` is {device!r}, which PyTorch does not know. Use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."
            raise ValueError(msg) from error
        if chosen.type == "cuda" and not torch.cuda.is_available():
            msg = f"`device` is {str(device)!r}, but this PyTorch sees no CUDA device. Use `device='auto'` or 'cpu'."
            raise ValueError(msg)
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
