"""Results as tidy tables, the ones that the plots are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.lazy import lazy_exports as _lazy_exports

if TYPE_CHECKING:
    from scperturbrl.get._differences import differences
    from scperturbrl.get._embedding import embedding
    from scperturbrl.get._evaluation import evaluation
    from scperturbrl.get._held_out import held_out
    from scperturbrl.get._split import split_manifest
    from scperturbrl.get._training_history import training_history
    from scperturbrl.get._verifier_scores import verifier_scores

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {
        "differences": "scperturbrl.get._differences",
        "embedding": "scperturbrl.get._embedding",
        "evaluation": "scperturbrl.get._evaluation",
        "held_out": "scperturbrl.get._held_out",
        "split_manifest": "scperturbrl.get._split",
        "training_history": "scperturbrl.get._training_history",
        "verifier_scores": "scperturbrl.get._verifier_scores",
    },
)
