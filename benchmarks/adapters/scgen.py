"""scGen (Lotfollahi et al. 2019) as it comes with pertpy: one perturbation carried over to another context."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmarks.adapters.base import Adapter, NotApplicable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData

_LABEL, _CONTEXT = "scgen_label", "scgen_context"


class ScgenAdapter(Adapter):
    """Latent arithmetic with the mean shift of the training contexts, pertpy's defaults and early stopping."""

    name: ClassVar[str] = "scgen"
    package: ClassVar[str] = "pertpy"

    def __init__(self, *, max_epochs: int = 100) -> None:
        self.max_epochs = max_epochs
        self.model: Any = None

    def fit(self, train: AnnData, seed: int) -> None:
        """Train the autoencoder."""
        if train.obs[_CONTEXT].nunique() < 2 or train.obs[_LABEL].nunique() < 2:
            msg = "scGen needs a perturbation measured in other contexts"
            raise NotApplicable(msg)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pertpy as pt
            import scvi

            scvi.settings.seed = seed
            pt.tl.Scgen.setup_anndata(train, batch_key=_LABEL, labels_key=_CONTEXT)
            self.model = pt.tl.Scgen(train)
            self.model.train(max_epochs=self.max_epochs, batch_size=64, early_stopping=True, early_stopping_patience=10)

    def predict(
        self, queries: pd.DataFrame, controls: Mapping[str, AnnData], n_cells: int, seed: int
    ) -> dict[str, np.ndarray]:
        """Shift control cells of the wanted context; negative values are set to 0."""
        known, found = set(self.model.adata.obs[_LABEL].astype(str)), {}
        rng = np.random.default_rng(seed)
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
