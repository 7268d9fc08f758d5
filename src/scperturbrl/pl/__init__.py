"""Plots of results; every plot is drawn from a table of :mod:`scperturbrl.get`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.lazy import files_of as _files_of
from scperturbrl._core.lazy import lazy_exports as _lazy_exports

if TYPE_CHECKING:
    from scperturbrl.pl._calibration import calibration
    from scperturbrl.pl._effects import effects
    from scperturbrl.pl._effects_heatmap import effects_heatmap
    from scperturbrl.pl._embedding import embedding
    from scperturbrl.pl._evaluation import evaluation
    from scperturbrl.pl._fits.dose_response import dose_response
    from scperturbrl.pl._fits.genetic_interactions import genetic_interactions
    from scperturbrl.pl._page.report import report
    from scperturbrl.pl._pathway_activity import pathway_activity
    from scperturbrl.pl._reward_shift import reward_shift
    from scperturbrl.pl._screen.plot import screen
    from scperturbrl.pl._training_history import training_history
    from scperturbrl.pl._verifier_agreement import verifier_agreement
    from scperturbrl.pl._verifier_correlation import verifier_correlation
    from scperturbrl.pl._verifier_scores import verifier_scores

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {
        # every file that begins with an underscore is a plot of that name
        **{name: f"{__name__}._{name}" for name in _files_of(__name__)},
        "dose_response": "scperturbrl.pl._fits.dose_response",
        "genetic_interactions": "scperturbrl.pl._fits.genetic_interactions",
        "report": "scperturbrl.pl._page.report",
        "screen": "scperturbrl.pl._screen.plot",
    },
)
