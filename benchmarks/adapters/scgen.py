"""scGen (Lotfollahi et al. 2019) as in pertpy: transfers a perturbation to another context."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmarks.adapters.base import Adapter, NotApplicable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData

    from benchmarks.clock import Budgets

_LABEL, _CONTEXT = "scgen_label", "scgen_context"
_NO_LIMIT = 100_000


class ScgenAdapter(Adapter):
    """Latent arithmetic with the mean shift of the training contexts, pertpy's defaults and early stopping.

    It cannot predict unseen combinations. With ``sum_parts`` the latent shifts of the parts are added, which pertpy
    does not support; this is for data with a single context.
    """

    name: ClassVar[str] = "scgen"
    package: ClassVar[str] = "pertpy"
    module: ClassVar[str] = "pertpy"

    def __init__(self, *, max_epochs: int = 100, sum_parts: bool = False) -> None:
        self.max_epochs, self.sum_parts = max_epochs, sum_parts
        self.model: Any = None

    def fit(self, train: AnnData, seed: int) -> None:
        """Train the autoencoder."""
        if train.obs[_LABEL].nunique() < 2 or (train.obs[_CONTEXT].nunique() == 1) != self.sum_parts:
            msg = "scGen needs a perturbation measured in other contexts"
            raise NotApplicable(msg)
        if self.budgets:
            self.budgets.start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pertpy as pt
            import scvi

            scvi.settings.seed = seed
            pt.tl.Scgen.setup_anndata(train, batch_key=_LABEL, labels_key=_CONTEXT)
            self.model = pt.tl.Scgen(train)
            options: dict[str, Any] = {"early_stopping": True, "early_stopping_patience": 10}
            if self.budgets:
                options["callbacks"] = [self._watch(self.budgets)]
            self.model.train(max_epochs=_NO_LIMIT if self.budgets else self.max_epochs, batch_size=64, **options)
        if self.budgets:
            self.budgets.end()

    def _watch(self, budgets: Budgets) -> Any:
        """A callback that checks `budgets` after every batch, with the module in prediction mode."""
        from lightning.pytorch.callbacks import LambdaCallback

        look = budgets.look

        def trained(*arguments: Any) -> None:
            self.model.is_trained_ = True
            self.model.module.eval()
            look(*arguments)
            self.model.module.train()

        def ask(trainer: Any, *_: Any) -> None:
            self.done = f"{trainer.current_epoch} epochs"
            trainer.should_stop = budgets.used_up() or trainer.should_stop

        budgets.look = trained
        return LambdaCallback(on_train_batch_end=ask)

    def predict(
        self, queries: pd.DataFrame, controls: Mapping[str, AnnData], n_cells: int, seed: int
    ) -> dict[str, np.ndarray]:
        """Shift control cells of the requested context; negative values are set to 0."""
        rng = np.random.default_rng(seed)
        if self.sum_parts:
            return self._summed(queries, n_cells, rng)
        known, found = set(self.model.adata.obs[_LABEL].astype(str)), {}
        for condition, row in queries.iterrows():
            if row["perturbation"] not in known:
                msg = f"scGen cannot predict {row['perturbation']!r}, which no training cell has"
                raise NotApplicable(msg)
            cells = controls[row["group"]]
            drawn = cells[rng.choice(cells.n_obs, n_cells, replace=cells.n_obs < n_cells)].copy()
            drawn.obs_names_make_unique()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made, _ = self.model.predict(ctrl_key="control", stim_key=row["perturbation"], adata_to_predict=drawn)
            values = made.X.toarray() if hasattr(made.X, "toarray") else np.asarray(made.X)
            found[str(condition)] = np.maximum(values, 0).astype(np.float32)
        return found

    def _summed(self, queries: pd.DataFrame, n_cells: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Control cells shifted by the sum of the mean latent shifts of the parts, each computed as in pertpy."""
        labels = self.model.adata.obs[_LABEL].astype(str).to_numpy()
        latent = np.asarray(self.model.get_latent_representation())
        control, found = latent[labels == "control"], {}
        for condition, row in queries.iterrows():
            missing = [part for part in row["parts"] if part not in labels]
            if missing:
                msg = f"scGen cannot predict {row['perturbation']!r}: no training cell has {missing} alone"
                raise NotApplicable(msg)
            shift = sum(latent[labels == part].mean(0) - control.mean(0) for part in row["parts"])
            drawn = control[rng.choice(len(control), n_cells, replace=len(control) < n_cells)]
            values = np.asarray(self.model.module.as_bound().generative(drawn + shift)["px"])
            found[str(condition)] = np.maximum(values, 0).astype(np.float32)
        return found
