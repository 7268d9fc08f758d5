"""CellFlow (Klein et al. 2025), if the user has installed it. Its licence is PolyForm Noncommercial: never a dependency."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import mock

import numpy as np
import pandas as pd

from benchmarks.adapters.base import Adapter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from anndata import AnnData

_REP, _CONTROL, _GENES, _LABEL, _CONTEXT = "X_cellflow", "is_control", "part_features", "scgen_label", "scgen_context"
_NO_LIMIT = 10_000_000


class CellFlowAdapter(Adapter):
    """Optimal-transport flow on 50 components; a perturbation is the loadings of its gene, or a unit vector without one.

    Layers are of a size that a CPU can train; the defaults of the package are made for a GPU. With ``n_ode_steps`` it generates
    in so many equal steps of its solver; its adaptive steps take minutes. Its default optimiser adds up the gradients of 20
    iterations for a step of 5e-5; ``learning_rate`` is for Adam at every iteration, which gets much further in a few minutes.
    """

    name: ClassVar[str] = "cellflow"
    package: ClassVar[str] = "cellflow-tools"
    module: ClassVar[str] = "cellflow.model"

    def __init__(
        self,
        *,
        num_iterations: int = 4000,
        width: int = 256,
        n_ode_steps: int | None = None,
        learning_rate: float | None = None,
    ) -> None:
        self.num_iterations, self.width, self.n_ode_steps = num_iterations, width, n_ode_steps
        self.learning_rate = learning_rate
        self.model: Any = None

    def fit(self, train: AnnData, seed: int) -> None:
        """Fit components and flow."""
        self.installed_version()
        if self.budgets:
            self.budgets.start()
        from cellflow.model import CellFlow
        from sklearn.decomposition import PCA

        # a context with control cells only has no target cells
        perturbed = train.obs.loc[train.obs[_LABEL] != "control", _CONTEXT].unique()
        train = train[train.obs[_CONTEXT].isin(perturbed)].copy()
        self.pca = PCA(min(50, train.n_vars - 1, train.n_obs - 1), svd_solver="full").fit(_dense(train))
        self.parts = [label.split("+") for label in train.obs[_LABEL].astype(str)]
        self.n_parts = max(map(len, self.parts))
        self.features = self._part_features(train)
        data = train.copy()
        data.obsm[_REP] = self.pca.transform(_dense(train)).astype(np.float32)
        data.obs[_CONTROL] = (data.obs[_LABEL].astype(str) == "control").to_numpy()
        for column, values in self._columns(self.parts).items():
            data.obs[column] = pd.Categorical(values)
        data.uns[_GENES] = self.features
        data.obs[_CONTEXT] = pd.Categorical(data.obs[_CONTEXT].astype(str))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model = CellFlow(data, solver="otfm")
            self.model.prepare_data(
                sample_rep=_REP,
                control_key=_CONTROL,
                perturbation_covariates={"gene": tuple(self._columns(self.parts))},
                perturbation_covariate_reps={"gene": _GENES},
                split_covariates=[_CONTEXT],
            )
            width = (self.width, self.width)
            self.model.prepare_model(
                condition_embedding_dim=64,
                time_encoder_dims=width,
                hidden_dims=width,
                decoder_dims=width,
                cond_output_dropout=0.0,
                seed=seed,
                **self._optimiser(),
            )
            self._train()

    def _train(self) -> None:
        if not self.budgets:
            self.model.train(num_iterations=self.num_iterations, batch_size=256, valid_freq=10 * self.num_iterations)
            return
        from cellflow.training import _trainer

        # the trainer draws the same cells in every call, so repeated short calls would use only a few of them
        with mock.patch.object(_trainer, "tqdm", self._until_used_up):
            self.model.train(num_iterations=_NO_LIMIT, batch_size=256, valid_freq=10 * _NO_LIMIT)

    def _until_used_up(self, steps: Iterable[int]) -> Iterator[int]:
        """Replaces the progress bar over which the trainer loops: the only way to stop it early."""
        # needed for prediction
        self.model.solver.is_trained = True
        for step in steps:
            yield step
            self.done = f"{step + 1} iterations"
            if self.budgets and self.budgets.used_up():
                return

    def predict(
        self, queries: pd.DataFrame, controls: Mapping[str, AnnData], n_cells: int, seed: int
    ) -> dict[str, np.ndarray]:
        """Transport control cells of the requested context along the flow; negative values are set to 0."""
        rng, found, steps = np.random.default_rng(seed), {}, self._steps()
        for condition, row in queries.iterrows():
            cells = controls[row["group"]]
            source = cells[rng.choice(cells.n_obs, n_cells, replace=cells.n_obs < n_cells)].copy()
            source.obs_names_make_unique()
            source.obsm[_REP] = self.pca.transform(_dense(source)).astype(np.float32)
            source.obs[_CONTROL] = True
            source.uns[_GENES] = self.features
            wanted = pd.DataFrame(self._columns([list(row["parts"])]) | {_CONTEXT: [row["group"]], _CONTROL: [False]})
            source.obs[_CONTEXT] = pd.Categorical([row["group"]] * n_cells)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = self.model.predict(adata=source, sample_rep=_REP, covariate_data=wanted, **steps)
            latent = np.asarray(next(iter(made.values())))
            found[str(condition)] = np.maximum(self.pca.inverse_transform(latent), 0).astype(np.float32)
        return found

    def _optimiser(self) -> dict[str, Any]:
        if self.learning_rate is None:
            return {}
        import optax

        return {"optimizer": optax.adam(self.learning_rate)}

    def _steps(self) -> dict[str, Any]:
        if self.n_ode_steps is None:
            return {}
        import diffrax

        return {"dt0": 1 / self.n_ode_steps, "stepsize_controller": diffrax.ConstantStepSize()}

    def _columns(self, parts: list[list[str]]) -> dict[str, list[str]]:
        padded = [[*own, *["control"] * (self.n_parts - len(own))] for own in parts]
        return {f"part_{i}": [own[i] for own in padded] for i in range(self.n_parts)}

    def _part_features(self, train: AnnData) -> dict[str, np.ndarray]:
        names = sorted({part for own in self.parts for part in own} - {"control"})
        loadings = dict(zip(train.var_names, self.pca.components_.T, strict=True))
        measured = all(name in loadings for name in names)
        vectors = [loadings[name] for name in names] if measured else list(np.eye(len(names)))
        zero = np.zeros(len(vectors[0]), dtype=np.float32)
        return {"control": zero} | {name: v.astype(np.float32) for name, v in zip(names, vectors, strict=True)}


def _dense(adata: AnnData) -> np.ndarray:
    return np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=np.float32)
