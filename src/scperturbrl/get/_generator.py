"""Summary of a generator in an AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.show import as_html, as_text
from scperturbrl._core.validate import near_matches
from scperturbrl.flow.architecture import described_space

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

_PARTS = {"params", "fitted", "weights", "space", "conditions"}


@dataclass(frozen=True, repr=False)
class GeneratorSummary:
    """Training data and settings of a generator. It prints as a table, in a notebook as an HTML table.

    Attributes
    ----------
    key
        Its slot in ``uns``.
    params
        Settings, seed, versions and parent.
    fitted
        How training ended, the share of the linear part, and the self-check.
    conditions
        One row for each condition: perturbation, group, dose, cells, parts, split.
    history
        One row for each logged step.
    n_parameters
        Number of values in its weights.
    n_genes, n_latent
        Genes, and dimensions of the latent space.
    space, backbone
        Kind of latent space, and of the velocity network.
    """

    key: str
    params: dict[str, Any]
    fitted: dict[str, Any]
    conditions: pd.DataFrame
    history: pd.DataFrame
    n_parameters: int
    n_genes: int
    n_latent: int
    space: str = "pca"
    backbone: str = "mlp"

    def rows(self) -> dict[str, str]:
        """The displayed text by label."""
        perturbed = self.conditions[self.conditions["n_parts"] > 0]
        counts = perturbed[keys.SPLIT].astype(str).value_counts()
        known = ", ".join(
            f"{counts[name]} {name}" for name in (keys.TRAIN, keys.VALIDATION, keys.TEST) if name in counts
        )
        return {
            "Method": str(self.params.get("method", "unknown")),
            "Parent": str(self.params.get("parent") or "none"),
            "Space": described_space(self.space, self.n_latent, self.n_genes),
            "Backbone": self.backbone,
            "Parameters": f"{self.n_parameters:,}",
            "Perturbed conditions": known or "none",
            **_training(self.params, self.fitted),
            **_self_check(self.fitted["self_check"]),
            "Seed": str(self.params.get("seed", "unknown")),
        }

    def __repr__(self) -> str:
        """Show it as aligned text."""
        return as_text(f"Generator {self.key!r}", self.rows())

    def _repr_html_(self) -> str:
        return as_html(f"Generator {self.key!r}", self.rows())


def _self_check(measured: Mapping[str, float]) -> dict[str, str]:
    """Self-check on trained conditions: generated cells, unchanged controls and halves of the real cells."""
    labels = {"energy": "Energy distance", "squared_error": "Squared error of means", "zeros": "Error of zeros"}
    found = {}
    for name, label in labels.items():
        if name in measured:
            own, control, halves = (float(measured[f"{name}{what}"]) for what in ("", "_control", "_halves"))
            # an estimate without bias scatters around 0 where populations are alike
            note = "; below 0: no difference was found" if min(own, control, halves) < 0 else ""
            found[f"{label}, trained conditions"] = (
                f"{own:.3g} (controls {control:.3g}, halves of the real cells {halves:.3g}{note})"
            )
    return found


@documented
def generator(adata: AnnData | MuData, *, key: str | None = None, modality: str | None = None) -> GeneratorSummary:
    """Summarise a generator.

    Parameters
    ----------
    adata
        Annotated data with a generator.
    key
        Which generator; by default the newest post-trained generator, else ``"generator"``.
    {modality}

    Returns
    -------
    A summary that prints as text and shows as a table in a notebook; its attributes hold the settings, the
    conditions and the history.

    Raises
    ------
    KeyError
        If there is no such generator; the message lists the existing ones.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.get.generator(adata)
    Generator 'generator'
      Method                fit_generator
      Parent                none
      Space                 8 principal components of 60 genes
      ...
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    record = adata.uns.get(key)
    if not isinstance(record, dict) or not set(record) >= _PARTS:
        found = [name for name in adata.uns if isinstance(adata.uns[name], dict) and set(adata.uns[name]) >= _PARTS]
        hint = near_matches(key, found) if found else " Call `scperturbrl.tl.fit_generator(adata)` first."
        msg = f"`uns` has no generator {key!r}.{hint}"
        raise KeyError(msg)
    architecture = record["space"]["architecture"]
    return GeneratorSummary(
        key=key,
        params=dict(record["params"]),
        fitted=dict(record["fitted"]),
        conditions=record["conditions"],
        history=record["history"],
        n_parameters=sum(int(np.size(weight)) for weight in record["weights"].values()),
        n_genes=int(architecture["n_genes"]),
        n_latent=int(architecture["n_latent"]),
        # missing for generators that were loaded without it
        space=str(architecture.get("space", "pca")),
        backbone=str(architecture.get("backbone", "mlp")),
    )


def _training(params: dict[str, Any], fitted: dict[str, Any]) -> dict[str, str]:
    """Outcome of training in words."""
    if params.get("method") == "rl_finetune":
        # sorted, because files do not keep the order
        names = ", ".join(sorted(params["verifiers"]))
        alarms = len(fitted["alarms"])
        kept = f"iteration {fitted['kept_iteration']} of {params['n_iterations']}"
        state = f"{kept}, {alarms} alarm{'' if alarms == 1 else 's'} of the guard"
        return {"Verifiers": names, "Kept state": state, "Outcome": str(fitted["outcome"])}
    kept = f"step {fitted['best_step']}" if params.get("keep_best") else "the last one"
    return {"Kept state": f"{kept} of at most {params['n_steps']} steps"}
