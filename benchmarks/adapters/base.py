"""The interface between the grid and competitors, and how to add one.

An adapter gets training cells only: `fit` gets an AnnData without the test cells, `predict` the names of conditions and
real control cells. To add one, subclass :class:`Adapter` in a new file, import the package inside the methods,
and list the class in ``benchmarks/adapters/__init__.py``::

    class MeanAdapter(Adapter):
        name = "my_mean"
        package = "mypackage"

        def fit(self, train, seed):
            self.mean = train[train.obs["perturbation"] != "control"].X.mean(axis=0)

        def predict(self, queries, controls, n_cells, seed):
            return {condition: np.tile(self.mean, (n_cells, 1)) for condition in queries.index}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from anndata import AnnData

    from benchmarks.clock import Budgets


class NotApplicable(Exception):  # noqa: N818
    """The model does not apply to this data set, or is not installed; the grid records why and continues."""


class Adapter(ABC):
    """A competitor.

    Attributes
    ----------
    name
        Name in the tables.
    package
        Package to install, and to record the version of.
    module
        Slow import of :meth:`fit`.
    budgets
        CPU times at which :meth:`fit` is evaluated and at which it stops; None for the adapter's own settings. An
        adapter with support for this calls ``start`` first, checks ``used_up`` after every step, and calls ``end``
        last.
    done
        Description of the progress of training.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    module: ClassVar[str] = ""
    budgets: Budgets | None = None
    done: str = ""

    @abstractmethod
    def fit(self, train: AnnData, seed: int) -> None:
        """Fit to training and validation cells: log-normalised ``X``, columns as declared in the setup."""

    @abstractmethod
    def predict(
        self, queries: pd.DataFrame, controls: Mapping[str, AnnData], n_cells: int, seed: int
    ) -> dict[str, np.ndarray]:
        """Log-normalised cells ``(n_cells, G)`` of every condition.

        Parameters
        ----------
        queries
            One row per condition: ``perturbation``, ``parts``, ``covariates``, ``group``; see the condition table.
        controls
            Real control cells of each group.
        n_cells, seed
            Number of cells, and seed.
        """

    @classmethod
    def installed_version(cls) -> str:
        """Version of the package.

        Raises
        ------
        NotApplicable
            If it is not installed.
        """
        try:
            return version(cls.package)
        except PackageNotFoundError:
            msg = f"{cls.package} is not installed"
            raise NotApplicable(msg) from None
