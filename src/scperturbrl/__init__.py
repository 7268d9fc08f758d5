"""Verifier-guided post-training of generative models of single-cell perturbation responses."""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from scperturbrl._core.lazy import lazy_exports as _lazy_exports

if TYPE_CHECKING:
    from scperturbrl import datasets, get, metrics, pl, pp, tl, verifiers
    from scperturbrl.flow.generator import Generator

__version__ = _version("scperturbrl")

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {"Generator": "scperturbrl.flow.generator"},
    submodules=["datasets", "get", "metrics", "pl", "pp", "tl", "verifiers"],
)
__all__ += ["__version__"]
