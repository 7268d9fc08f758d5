"""Linear layers, computed by the fastest library that PyTorch includes."""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn

# elsewhere PyTorch chooses the right library itself
_ONEDNN = torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")


class Linear(nn.Linear):
    """:class:`torch.nn.Linear`, by oneDNN in single precision on x86 processors.

    PyTorch uses MKL there, which uses only half of the vector width on processors of other makers than Intel. Results differ in
    the last bit. Second derivatives, ``torch.func.jvp`` and ``torch.vmap`` do not work through this layer on the CPU.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(..., out_features)`` of ``(..., in_features)``."""
        if not _ONEDNN or not _plain(input) or torch.compiler.is_compiling():
            return super().forward(input)
        return nn.functional.linear(input.to_mkldnn(), self.weight, self.bias).to_dense()


def _plain(input: Tensor) -> bool:
    """Whether oneDNN accepts these values; with autocast, PyTorch calls it itself."""
    on_cpu = input.device.type == "cpu" and input.dtype == torch.float32
    return on_cpu and input.numel() > 0 and not torch.is_autocast_enabled("cpu")
