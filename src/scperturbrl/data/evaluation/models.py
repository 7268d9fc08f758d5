"""The evaluated models: generators, and predicted cells from other sources."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core import log
from scperturbrl._core.provenance import generator_hash
from scperturbrl._core.random import numpy_rng
from scperturbrl.data.cells.cell_keys import distinct_keys
from scperturbrl.data.cells.depth import at_depths, read_units
from scperturbrl.data.cells.draw import order_by, shuffled
from scperturbrl.data.evaluation.compared_depth import thinned
from scperturbrl.data.evaluation.evaluation import CEILING, DUPLICATE
from scperturbrl.data.evaluation.population import Population, draw_population, mean_of, population_order
from scperturbrl.data.generator.depth import in_order_of
from scperturbrl.data.generator.generation import generate_cells
from scperturbrl.data.generator.stored import generator_keys
from scperturbrl.data.latent.cells import control_units
from scperturbrl.data.reference.baselines import BASELINES, CONTEXT_BASELINES, DOSE_BASELINES
from scperturbrl.metrics.baselines.registry import ADDED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.depth import Depths
    from scperturbrl.data.cells.other_depth import OtherCells
    from scperturbrl.data.generator.stored import StoredGenerator


def check_model_names(generators: Sequence[str], layers: Sequence[str], predictions: Sequence[str]) -> None:
    """Raise if two models have the same name, because their rows in the table would be ambiguous.

    Raises
    ------
    ValueError
        If a generator, layer or prediction has the name of another one, or of a baseline or ceiling.
    """
    taken = dict.fromkeys((*BASELINES, *CONTEXT_BASELINES, *DOSE_BASELINES, *ADDED), "a baseline")
    taken |= {CEILING: "a ceiling", DUPLICATE: "a ceiling"}
    remedy = {
        "generator": "Fit it with another `key_added`, or leave it out of `keys`.",
        "layer": "Rename the layer, or leave the generator of that name out of `keys`.",
        "prediction": "Give it another name in `predictions`.",
    }
    for kind, names in (("generator", generators), ("layer", layers), ("prediction", predictions)):
        for name in names:
            if name in taken:
                msg = f"The {kind} {name!r} has the name of {taken[name]}. {remedy[kind]}"
                raise ValueError(msg)
            taken[name] = f"another {kind}" if kind == "layer" else f"a {kind}"
        taken |= dict.fromkeys(names, f"a {kind}")


def with_controls(adata: AnnData, wanted: Sequence[str]) -> list[str]:
    """Add the parent of each post-trained generator, and the parent with extra training, for comparison."""
    found, generators = list(wanted), generator_keys(adata)
    params = {key: adata.uns[key]["params"] for key in generators}
    for key in wanted:
        own = params.get(key, {})
        if own.get("method") != "rl_finetune":
            continue
        parent = str(own.get("parent", ""))
        if parent in generators and own.get("parent_hash", "") not in {"", generator_hash(adata, parent)}:
            log.warn(
                f"{parent!r} was fitted again since {key!r} was post-trained from it, so the two differ by more than "
                "post-training. Post-train it again."
            )
        longer = [name for name in generators if params[name].get("parent") == parent and name != key]
        longer = [name for name in longer if params[name].get("method") == "fit_generator"]
        if not longer:
            log.note(
                f"{key!r} cannot be compared with extra training of {parent!r}; "
                f"`tl.fit_generator(adata, init_from={parent!r}, key_added=...)` makes it"
            )
        found += [name for name in [parent, *longer] if name in generators and name not in found]
    return found


@dataclass
class Models:
    """Yields the populations of all models for one condition after another.

    Attributes
    ----------
    cells
        Expression and conditions, as measured.
    generators
        Generators by name. They start from the measured control cells.
    others
        Predicted cells by name.
    depths
        Depths at which cells are compared; None without thinning.
    n_cells, max_cells, seed, device
        Number of generated cells, and maximum number of compared cells.
    """

    cells: Cells
    generators: Mapping[str, StoredGenerator]
    others: Mapping[str, OtherCells]
    depths: Depths | None
    n_cells: int
    max_cells: int
    seed: int
    device: torch.device
    # on a GPU, conditions are processed one by one, because generators are moved there and back
    _turn: Lock = field(default_factory=Lock, init=False, repr=False)
    _gaps: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def predict(self, condition: str) -> Iterator[Population]:
        """The population of each model."""
        cap: dict[str, Any] = {"max_cells": self.max_cells}
        table, n = self.cells.table.loc[[condition]], self.n_cells
        row = self.cells.control_row(int(self.cells.table.index.get_loc(condition)))
        usable = np.flatnonzero((self.cells.codes == row) & self.cells.is_training())
        # Baselines shift the same cells in the same order, so that models do not differ by the choice of control cells.
        controls = np.resize(population_order(self.cells, usable, self.seed), n)
        # Cells generated from one control cell are nearly identical, which would affect distances between populations.
        # So only one from each control cell is compared (the first ones); the mean is that of all cells.
        one_each = min(self.max_cells, len(usable))
        for key, stored in self.generators.items():
            with self._turn if self.device.type != "cpu" else nullcontext():
                made = generate_cells(
                    stored,
                    self.cells,
                    table,
                    np.zeros(n, dtype=int),
                    controls,
                    unit=self.units(condition, controls),
                    seed=self.seed,
                    device=self.device,
                )
            population = draw_population(key, "generator", self.cells, np.arange(n), matrix=made, max_cells=one_each)
            if stored.generator.observation.carries:
                population = population._replace(mean=population.centre + self._not_drawn(row, usable, controls))
            yield population._replace(n_cells=min(n, len(usable)))
        for name, matrix in self._matrices.items():
            found = np.flatnonzero(self.others[name].labels == condition)
            found = found[order_by(self._keys[name][found], numpy_rng(self.seed, "cells of a prediction"))]
            yield draw_population(name, "prediction", self.cells, found, matrix=matrix, **cap)

    def _not_drawn(self, group: int, usable: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Difference ``(G,)`` between the mean of the `usable` control cells and that of the `drawn` ones.

        A generated mean is the mean of all control cells plus the mean change of the drawn ones (a control variate),
        because baselines add their effects to the mean of all.
        """
        if group not in self._gaps:
            self._gaps[group] = mean_of(self._compared, usable) - mean_of(self._compared, drawn)
        return self._gaps[group]

    @cached_property
    def _compared(self) -> Cells:
        return self.cells if self.depths is None else at_depths(self.cells, self.depths)

    def units(self, condition: str, controls: np.ndarray) -> np.ndarray | None:
        """Value of one count in each cell to be generated from `controls` ``(n,)``, as in observed cells.

        If the condition is as deep as its controls, a cell has the depth of its control cell. Otherwise the deepest
        control cell becomes the deepest cell, so that as many counts as possible are carried over.
        """
        if self.depths is None or not np.isfinite(self.depths.table.loc[condition, "depth"]):
            return None
        row = int(self.cells.table.index.get_loc(condition))
        of_both = self.depths.table.iloc[[row, self.cells.control_row(row)]]
        if not of_both["differs"].any() and (of_both["factor"] == 1).all():
            return control_units(self.cells, controls)
        rows = np.flatnonzero(self.cells.codes == row)
        rows = shuffled(self.cells, rows, self.seed, "cells that give depths")
        unit, _ = read_units(self.cells.expression, rows, chunk=self.cells.chunk)
        unit = unit[np.isfinite(unit)] / float(of_both["factor"].iloc[0])
        rng = numpy_rng(self.seed, "depths of generated cells", row)
        rounds = [rng.permutation(unit) for _ in range(-(-len(controls) // len(unit)))]
        return in_order_of(control_units(self.cells, controls), np.concatenate(rounds)[: len(controls)])

    @cached_property
    def _keys(self) -> dict[str, np.ndarray]:
        """Key of each predicted cell, independent of its position."""
        return {
            name: distinct_keys(pd.Index(other.names), other.matrix, self.cells.genes, chunk=other.chunk)
            for name, other in self.others.items()
        }

    @cached_property
    def _matrices(self) -> dict[str, Any]:
        """Predicted cells, thinned if they are deeper than the cells with which they are compared."""
        if self.depths is None:
            return {name: other.matrix for name, other in self.others.items()}
        groups = self.cells.table["group"].astype(str).to_dict()
        return thinned(self.others, self.depths, groups)
