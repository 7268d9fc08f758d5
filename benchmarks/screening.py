"""Ranking of held-out conditions by a screen, and validity of its intervals.

Candidates are the held-out conditions. The truth is the value of the same objective for their measured cells. Baselines are ranked by the
same objective.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.kept import add, has, read, table_file
from benchmarks.suites import DATASETS, SCREENED
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.screen.candidates import perturbation_features
from scperturbrl.data.screen.known import Known
from scperturbrl.data.screen.objective import build_objective
from scperturbrl.data.screen.real_values import real_values
from scperturbrl.screen.conformal import effect_errors, interval_width, support
from scperturbrl.screen.left_out import leave_out
from scperturbrl.screen.line import Line
from scperturbrl.screen.objectives import Effects
from scperturbrl.screen.stream import predict_all, values_of
from scperturbrl.screen.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from anndata import AnnData

SUITES = ["many_conditions", "contexts", "unseen_singles", "unseen_unrelated", "norman_all", "kang_types"]
NAME, KEYS = "screen", ("suite", "seed", "objective", "condition")
LEVEL = 0.8
# folds of real data; a further seed would repeat the first
FOLDS = {"norman_all": 5, "kang_types": 7, "lincs": 5}


def measure(name: str, seed: int, data: Path, objectives: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per objective and held-out condition: truth, predictions, interval and support.

    Objectives are all stored pathways and the size of the effect by default.
    """
    prepared = (DATASETS | SCREENED)[name].load(seed, data)
    adata = prepared.adata
    cells = Cells.of(adata, Setup.of(adata))
    test = cells.table.loc[cells.conditions("test", min_cells=prepared.min_cells)]
    features = perturbation_features(adata, None, prepared.embeddings)
    known = Known.of(cells, wanted=sorted({p for parts in test["parts"] for p in parts}), embeddings=features)
    line, conditions = Line(known.ground, known.measured), known.encode(test)
    trust = Trust(known.ground, known.measured, conditions)
    line_of_mean = {kind: _mean_response(known, kind) for kind in trust.left}
    found = []
    for word in objectives or [*_pathways(adata), "size"]:
        given = dict.fromkeys(("signature", "towards", "like", "reward"))
        wanted = build_objective(adata, cells, known, line, word, given, seed=seed)
        real = real_values(known, line, wanted).values[:, 0]
        predicted = predict_all(line, conditions, wanted)
        residuals = trust.residuals(wanted, line, real)
        frame = pd.DataFrame({"line": predicted.values[:, 0], **predicted.baselines}, index=test.index)
        frame["truth"] = _truth(known, line, wanted, conditions, test)
        frame["width"] = trust.widths(residuals, LEVEL)
        frame["mean_width"] = _mean_widths(known, line, wanted, line_of_mean, real, trust.kind)
        frame["support"] = [support(kind, trust.errors.get(kind)) for kind in trust.kind]
        found.append(frame.assign(objective=word, kind=trust.kind, error=_effect_error(known, line, conditions, test)))
    return pd.concat(found).reset_index(names="condition").assign(suite=name, seed=seed)


def _pathways(adata: AnnData) -> list[str]:
    return sorted(adata.uns["pathway_network"]["source"].unique()) if "pathway_network" in adata.uns else []


def _test_block(known: Known, row: int) -> np.ndarray:
    rows = np.flatnonzero(known.cells.codes == row)
    return known.cells.block(rows)


def _truth(known: Known, line: Line, wanted: object, conditions: object, test: pd.DataFrame) -> list[float]:
    sums, departure, found = line.measured_sums(conditions), line.noise_of_sums(conditions), []
    for i, row in enumerate(known.cells.rows(list(test.index))):
        group, block = int(conditions.group[i]), _test_block(known, row)
        control, noise = known.ground.controls[group], known.ground.control_noise[group]
        own = Effects(block[:1], group, control, sums[i : i + 1], noise, departure[i])
        found.append(float(wanted.of_population(block, own)[0]))
    return found


def _effect_error(known: Known, line: Line, conditions: object, test: pd.DataFrame) -> list[float]:
    """Root mean square error of the predicted effect relative to the measured effect, both corrected for sampling noise."""
    predicted, _ = line.predict(conditions)
    found = []
    for i, row in enumerate(known.cells.rows(list(test.index))):
        block = _test_block(known, row)
        real = block.mean(0) - known.ground.controls[conditions.group[i]]
        noise = float(block.var(0, ddof=1).sum()) / len(block)
        square, size = np.square(predicted[i] - real).sum() - noise, np.square(real).sum() - noise
        found.append(float(np.sqrt(max(square, 0) / size)) if size > 0 else np.nan)
    return found


def _mean_response(known: Known, kind: str) -> object:
    rule = lambda line, rows: line.baseline("mean_response", known.measured.conditions.select(rows))[0]
    return leave_out(known.ground, known.measured, kind, rule)


def _mean_widths(
    known: Known, line: Line, wanted: object, left: dict[str, object], real: np.ndarray, kinds: np.ndarray
) -> np.ndarray:
    widths = {}
    for kind, own in left.items():
        if effect_errors(known.measured, own, kind).enough:
            values = values_of(wanted, line, known.measured.conditions.select(own.index), own.effects)[:, 0]
            widths[kind] = interval_width(real[own.index] - values, LEVEL)
    return np.array([widths.get(kind, np.nan) for kind in kinds])


def run(names: Sequence[str], seeds: Iterable[int], *, data: Path, out: Path) -> pd.DataFrame:
    """Results of all data sets and seeds. Each is stored when it is done, so that an interrupted run continues where it stopped.

    Real data sets have the number of folds in :data:`FOLDS`; further seeds are skipped.
    """
    seeds, file = list(seeds), table_file(out, NAME)
    for name in names:
        for seed in (seed for seed in seeds if seed < FOLDS.get(name, np.inf)):
            if has(read(file), suite=name, seed=seed):
                continue
            found = measure(name, seed, data)
            add(found, file, keys=KEYS)
            print(f"{name} {seed}: {found['condition'].nunique()} held-out conditions", flush=True)
    kept = read(file)
    return kept[kept["suite"].isin(names) & kept["seed"].isin(seeds)].reset_index(drop=True)
