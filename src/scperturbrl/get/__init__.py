"""Results as tidy tables, from which the plots are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.lazy import lazy_exports as _lazy_exports

if TYPE_CHECKING:
    from scperturbrl.get._calibration import calibration
    from scperturbrl.get._differences import differences
    from scperturbrl.get._effects import effects
    from scperturbrl.get._effects_heatmap import effects_heatmap
    from scperturbrl.get._embedding import embedding
    from scperturbrl.get._evaluation import evaluation
    from scperturbrl.get._fits.dose_response import dose_response, dose_values
    from scperturbrl.get._fits.genetic_interactions import genetic_interactions
    from scperturbrl.get._gap_closed import gap_closed
    from scperturbrl.get._generator import GeneratorSummary, generator
    from scperturbrl.get._harm import harm
    from scperturbrl.get._held_out import held_out
    from scperturbrl.get._metric_calibration import metric_calibration
    from scperturbrl.get._pathway_activity import pathway_activity
    from scperturbrl.get._reward_shift import reward_shift
    from scperturbrl.get._screen import screen
    from scperturbrl.get._split import split_manifest
    from scperturbrl.get._training_history import training_history
    from scperturbrl.get._verifier_agreement import verifier_agreement
    from scperturbrl.get._verifier_correlation import verifier_correlation
    from scperturbrl.get._verifier_scores import verifier_scores

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {
        "calibration": "scperturbrl.get._calibration",
        "differences": "scperturbrl.get._differences",
        "dose_response": "scperturbrl.get._fits.dose_response",
        "dose_values": "scperturbrl.get._fits.dose_response",
        "effects": "scperturbrl.get._effects",
        "effects_heatmap": "scperturbrl.get._effects_heatmap",
        "embedding": "scperturbrl.get._embedding",
        "evaluation": "scperturbrl.get._evaluation",
        "gap_closed": "scperturbrl.get._gap_closed",
        "generator": "scperturbrl.get._generator",
        "GeneratorSummary": "scperturbrl.get._generator",
        "genetic_interactions": "scperturbrl.get._fits.genetic_interactions",
        "harm": "scperturbrl.get._harm",
        "held_out": "scperturbrl.get._held_out",
        "metric_calibration": "scperturbrl.get._metric_calibration",
        "pathway_activity": "scperturbrl.get._pathway_activity",
        "reward_shift": "scperturbrl.get._reward_shift",
        "screen": "scperturbrl.get._screen",
        "split_manifest": "scperturbrl.get._split",
        "training_history": "scperturbrl.get._training_history",
        "verifier_agreement": "scperturbrl.get._verifier_agreement",
        "verifier_correlation": "scperturbrl.get._verifier_correlation",
        "verifier_scores": "scperturbrl.get._verifier_scores",
    },
)
