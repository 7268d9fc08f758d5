"""History of fitting or post-training, one row for each value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._read.slots import missing

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

BOTH = "training and validation"
GOLD = "gold"

FIT = {
    "loss": {"loss": "training", "validation_loss": "validation"},
    # fitting monitors the mean of both
    "energy": {"validation_energy": BOTH},
}

POST_TRAINING = {
    "reward": {"reward": "rollout", "check_reward": "check", "check_unrewarded": "unrewarded"},
    "verifiers": {},
    "proxy_gold": {"check_reward": "proxy", GOLD: "gold"},
    "energy": {"check_energy": "training", "check_validation_energy": "validation"},
    "spread": {"check_spread": "check"},
    "drift": {"check_drift": "check"},
    "rollout_drift": {"distance": "rollout"},
}

_SPREAD_OF = {"reward": "reward_sd"}


@documented
def training_history(adata: AnnData | MuData, *, key: str | None = None, modality: str | None = None) -> pd.DataFrame:
    """Collect the history of a generator in long form.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.fit_generator` or :func:`~scperturbrl.tl.rl_finetune`.
    key
        Which generator; by default the newest post-trained generator, else ``"generator"``.
    {modality}

    Returns
    -------
    One row per step and series:

    ``step``
        Optimiser step (fitting) or iteration (post-training).
    ``panel``
        Fitting: ``"loss"``, ``"energy"``. Post-training: ``"reward"``, ``"verifiers"``, ``"proxy_gold"``,
        ``"energy"``, ``"spread"``, ``"drift"``, ``"rollout_drift"``.
    ``series``
        - losses and energies: ``"training"``, ``"validation"``, or the mean over conditions of both,
        - ``"rollout"``: cells generated in this round, or ``"check"``: cells of the same conditions and noise every
          time, generated with the averaged weights,
        - ``"unrewarded"``: the reward at the checks of conditions that are not rewarded, by which the guard chooses,
        - the name of a verifier,
        - ``"proxy"``: the reward at the checks, and ``"gold"``: closeness to real cells, 1 minus the energy distance to the
          real cells of validation conditions (of training conditions if there are none). Both are 0 for control cells;
          a perfect generator has a ``"gold"`` of 1. If ``"proxy"`` rises and ``"gold"`` falls, the reward is being
          hacked.
    ``value``
        Depends on the panel: the loss; the calibrated reward; the raw verifier score; the energy distance to real cells,
        as a share of that of control cells; the spread (1 = pretrained); the squared distance of the velocity to the
        pretrained one, as a share of the mean squared velocity (``"drift"``, which the guard monitors) or unscaled
        (``"rollout_drift"``).
    ``sd``
        Standard deviation over the cells of the round, for the reward of ``"rollout"``; else NaN.

    Raises
    ------
    KeyError
        If there is no such generator.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.get.training_history(adata, key="generator")["series"].unique().tolist()
    ['training', 'validation', 'training and validation']
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    record = read_trained(adata, key)
    history, params = record["history"], record["params"]
    if "step" in history:
        step, panels = "step", FIT
    else:
        step, panels, history = "iteration", _panels(history, params), history.assign(**{GOLD: _gold(history)})
    parts = [
        pd.DataFrame(
            {
                "step": history[step].astype(int),
                "panel": panel,
                "series": label,
                "value": history[column].astype(float),
                "sd": history[_SPREAD_OF[column]].astype(float) if column in _SPREAD_OF else np.nan,
            }
        )
        for panel, series in panels.items()
        for column, label in series.items()
        if column in history
    ]
    return pd.concat(parts, ignore_index=True)


def read_trained(adata: AnnData, key: str) -> dict[str, Any]:
    """Read ``uns[key]`` of a generator with a history.

    Raises
    ------
    KeyError
        If there is no such generator, or it has no history.
    """
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "history" not in record:
        verb = "tl.rl_finetune(adata)" if key == keys.GENERATOR_RL else f"tl.fit_generator(adata, key_added={key!r})"
        raise KeyError(missing("uns", key, verb, {name: None for name in adata.uns if name != key}))
    if not len(record["history"]):
        msg = f"`uns[{key!r}]` has an empty history: training stopped before the first check."
        raise KeyError(msg)
    return record


def _panels(history: pd.DataFrame, params: dict[str, Any]) -> dict[str, dict[str, str]]:
    # files keep the order of columns, but not that of `params`
    return POST_TRAINING | {"verifiers": {name: name for name in history.columns if name in params["verifiers"]}}


def _gold(history: pd.DataFrame) -> pd.Series:
    """Closeness to real cells of validation (or training) conditions: 0 like control cells, 1 like real cells."""
    validation = history["check_validation_energy"].astype(float)
    return 1 - validation.where(validation.notna(), history["check_energy"].astype(float))
