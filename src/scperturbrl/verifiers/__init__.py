"""Verifiers: functions that score generated cells against the reference of their condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.lazy import files_of as _files_of
from scperturbrl._core.lazy import lazy_exports as _lazy_exports

if TYPE_CHECKING:
    from scperturbrl.verifiers._de_spearman import de_spearman
    from scperturbrl.verifiers._energy_witness import energy_witness
    from scperturbrl.verifiers._identity_retention import identity_retention
    from scperturbrl.verifiers._nonresponder_stability import nonresponder_stability
    from scperturbrl.verifiers._pathway_activity import pathway_activity, standardise_network, ulm_correlation, ulm_t
    from scperturbrl.verifiers._pearson_topk import pearson_topk
    from scperturbrl.verifiers._plausibility import plausibility
    from scperturbrl.verifiers._rmse_topk import rmse_topk
    from scperturbrl.verifiers._specificity import specificity
    from scperturbrl.verifiers._target_direction import target_direction
    from scperturbrl.verifiers._tf_activity import tf_activity
    from scperturbrl.verifiers.base import Reference, Verifier
    from scperturbrl.verifiers.calibration import Calibration, calibrate, combine, fit_calibration
    from scperturbrl.verifiers.prepared import Prepared, ReferenceCells, SetResponse
    from scperturbrl.verifiers.registry import DEFAULT, get, names, register, resolve
    from scperturbrl.verifiers.table import show

_MODULES = {
    "base": ["Reference", "Verifier"],
    "calibration": ["Calibration", "calibrate", "combine", "fit_calibration"],
    "prepared": ["Prepared", "ReferenceCells", "SetResponse"],
    "registry": ["DEFAULT", "get", "names", "register", "resolve"],
    "table": ["show"],
    "_pathway_activity": ["standardise_network", "ulm_correlation", "ulm_t"],
}

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {
        **{name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names},
        # every file that begins with an underscore is a verifier of that name
        **{name: f"{__name__}._{name}" for name in _files_of(__name__)},
    },
)
