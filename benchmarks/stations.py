"""How far a reader travels through the package to follow one call.

A station is a file that has to be opened. The call is followed function by function, and each function is read only once,
where it is first called. When the next function stands in another file than the last one, that is a station: a file that
was never open is *entered*, one that was left before is a *return*.

Only functions of the main thread count. Lambdas and comprehensions do not.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import scperturbrl as spr

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

PACKAGE = Path(spr.__file__).parent


def stations(call: Callable[[], Any], package: Path = PACKAGE) -> list[str]:
    """Files of `package` in the order in which `call` leads through them; the same file never twice in a row."""
    root = f"{package}/"
    read: set[CodeType] = set()
    road: list[str] = []

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event != "call" or code in read or code.co_name.startswith("<") or not code.co_filename.startswith(root):
            return
        read.add(code)
        name = code.co_filename.removeprefix(root)
        if road[-1:] != [name]:
            road.append(name)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)
    return road


def counted(road: list[str]) -> dict[str, int]:
    """Files entered, and returns to a file that was left before."""
    entered = len(set(road))
    return {"files entered": entered, "returns": len(road) - entered}


def run() -> pd.DataFrame:
    """Stations of fitting, post-training and evaluation of the toy data set."""
    warnings.filterwarnings("ignore", category=UserWarning)
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    spr.pp.reference(adata)
    short = {"device": "cpu", "progress": False}
    calls = {
        "tl.fit_generator": lambda: spr.tl.fit_generator(adata, n_steps=3, width=16, n_latent=4, **short),
        "tl.rl_finetune": lambda: spr.tl.rl_finetune(adata, n_iterations=1, n_conditions=2, group_size=4, **short),
        "tl.evaluate": lambda: spr.tl.evaluate(adata, keys=["generator", "generator_rl"], n_cells=20, device="cpu"),
    }
    found = {}
    for name, call in calls.items():
        # modules are imported when first used, which calls functions of its own
        call()
        found[name] = counted(stations(call))
    return pd.DataFrame(found).T
