"""Plots of what the verbs wrote; every one is drawn from a table of :mod:`scperturbrl.get`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.lazy import lazy_exports as _lazy_exports

if TYPE_CHECKING:
    from scperturbrl.pl._embedding import embedding
    from scperturbrl.pl._evaluation import evaluation
    from scperturbrl.pl._training_history import training_history
    from scperturbrl.pl._verifier_scores import verifier_scores

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {
        "embedding": "scperturbrl.pl._embedding",
        "evaluation": "scperturbrl.pl._evaluation",
        "training_history": "scperturbrl.pl._training_history",
        "verifier_scores": "scperturbrl.pl._verifier_scores",
    },
)
