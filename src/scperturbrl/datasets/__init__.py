"""A built-in simulator with a known truth, and loaders of public perturbation screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.lazy import lazy_exports as _lazy_exports

if TYPE_CHECKING:
    from scperturbrl.datasets._planted import plant_effects as plant_effects
    from scperturbrl.datasets._public import adamson_2016 as adamson_2016
    from scperturbrl.datasets._public import combosciplex as combosciplex
    from scperturbrl.datasets._public import kang_2018 as kang_2018
    from scperturbrl.datasets._public import norman_2019 as norman_2019
    from scperturbrl.datasets._public import replogle_2022_k562_essential as replogle_2022_k562_essential
    from scperturbrl.datasets._public import replogle_2022_rpe1 as replogle_2022_rpe1
    from scperturbrl.datasets._simulated import simulated_perturbseq as simulated_perturbseq
    from scperturbrl.datasets._simulated import toy as toy
    from scperturbrl.datasets._simulated_contexts import simulated_contexts as simulated_contexts

_SIMULATED = "scperturbrl.datasets._simulated"
_PUBLIC = "scperturbrl.datasets._public"

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {
        "adamson_2016": _PUBLIC,
        "combosciplex": _PUBLIC,
        "kang_2018": _PUBLIC,
        "norman_2019": _PUBLIC,
        "plant_effects": "scperturbrl.datasets._planted",
        "replogle_2022_k562_essential": _PUBLIC,
        "replogle_2022_rpe1": _PUBLIC,
        "simulated_contexts": f"{_SIMULATED}_contexts",
        "simulated_perturbseq": _SIMULATED,
        "toy": _SIMULATED,
    },
)
