"""Ranking of held-out conditions by a screen, and validity of its intervals.

Candidates are the held-out conditions; the truth is the same objective of their measured cells. Baselines are ranked by the same
objective.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.suites import DATASETS
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.screen.features import perturbation_features
from scperturbrl.data.screen.known import Known
from scperturbrl.data.screen.objective import build_objective
from scperturbrl.data.screen.real_values import real_values
from scperturbrl.screen.conformal import effect_errors, interval_width, support
from scperturbrl.screen.left_out import leave_out
from scperturbrl.screen.line import BASELINES, Line
from scperturbrl.screen.objectives import Effects
from scperturbrl.screen.stream import predict_all, values_of
from scperturbrl.screen.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from anndata import AnnData

SUITES = ["many_conditions", "contexts", "unseen_singles", "unseen_unrelated", "norman_all", "kang_types"]
LEVEL, N_BOOTSTRAP, FEW = 0.8, 1000, 4
RANKERS = ("line", *BASELINES)


def measure(name: str, seed: int, data: Path, objectives: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per objective and held-out condition: truth, predictions, interval and support.

    Objectives are all stored pathways and the size of the effect by default.
    """
    prepared = DATASETS[name].load(seed, data)
    adata = prepared.adata
    cells = Cells.of(adata, Setup.of(adata))
    test = cells.table.loc[cells.conditions("test", min_cells=10)]
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
        frame["truth"] = _truth(known, wanted, test)
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


def _truth(known: Known, wanted: object, test: pd.DataFrame) -> list[float]:
    found = []
    for name, row in zip(test.index, known.cells.rows(list(test.index)), strict=True):
        group = known.ground.groups.index(test.loc[name, "group"])
        block = _test_block(known, row)
        own = Effects(block[:1], group, known.ground.controls[group])
        found.append(float(wanted.of_population(block, own)[0]))
    return found


def _effect_error(known: Known, line: Line, conditions: object, test: pd.DataFrame) -> list[float]:
    """Root mean square error of the predicted effect over the measured size, both corrected for sampling noise."""
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


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman, precision among the best third (at most ten) and regret of each ranking, per suite, seed and objective.

    Regret is the best true value minus that of the first in rank, over the standard deviation of the true values.
    """
    found = []
    # folds of real data hold out a few conditions each, which are ranked together
    few = rows.groupby("suite")["condition"].transform("size") / rows.groupby("suite")["seed"].transform("nunique")
    few = few / rows.groupby("suite")["objective"].transform("nunique") < FEW
    for keys, part in rows.assign(seed=rows["seed"].where(~few, 0)).groupby(["suite", "seed", "objective"], sort=False):
        k = min(10, max(1, len(part) // 3))
        best = set(part.nlargest(k, "truth").index)
        spread = max(float(part["truth"].std()), 1e-12)
        for ranker in RANKERS:
            own = part[ranker].fillna(part[ranker].mean()).fillna(0.0)
            flat = own.nunique() < 2
            chosen = part.loc[own.nlargest(k).index]
            found.append(
                {
                    **dict(zip(("suite", "seed", "objective"), keys, strict=True)),
                    "ranker": ranker,
                    "spearman": 0.0 if flat else float(stats.spearmanr(own, part["truth"])[0]),
                    # a rule with equal predictions is right by chance
                    "precision": k / len(part) if flat else len(best & set(chosen.index)) / k,
                    "regret": float(part["truth"].max() - (part["truth"].mean() if flat else chosen["truth"].iloc[0]))
                    / spread,
                }
            )
    return pd.DataFrame(found)


def summary(rows: pd.DataFrame) -> str:
    """Markdown: the linear model and the best baseline of every suite, then coverage and width of the intervals."""
    table = scores(rows)
    lines = ["| suite | score | line | best baseline | difference (95 %) |", "|---" * 5 + "|"]
    for suite, part in table.groupby("suite", sort=False):
        means = part.groupby("ranker")[["spearman", "precision", "regret"]].mean()
        for score, sign in (("spearman", 1), ("precision", 1), ("regret", -1)):
            rival = (sign * means[score].drop("line")).idxmax()
            gap, low, high = _difference(part, score, rival)
            lines.append(
                f"| {suite} | {score} | {means.loc['line', score]:.3f} | {means.loc[rival, score]:.3f} ({rival}) "
                f"| {gap:+.3f} ({low:+.3f} to {high:+.3f}) |"
            )
    lines += [
        "",
        "| suite | kind | candidates | coverage | width over mean response's | support | error of the effect |",
        "|---" * 7 + "|",
    ]
    for (suite, kind), part in rows.groupby(["suite", "kind"], sort=False):
        told = part[part["width"].notna()]
        covered = (told["truth"] - told["line"]).abs() <= told["width"]
        n = part.groupby("seed")["condition"].nunique().sum()
        ratio = (told["width"] / told["mean_width"]).median()
        words = ", ".join(f"{word} {share:.0%}" for word, share in part["support"].value_counts(normalize=True).items())
        lines.append(
            f"| {suite} | {kind} | {n} | {covered.mean():.3f} | {ratio:.2f} | {words} | {part['error'].median():.2f} |"
        )
    by_word = rows.drop_duplicates(["suite", "seed", "condition"]).groupby("support")["error"].median()
    lines += ["", "Median relative error of the effect: " + ", ".join(f"{w} {e:.2f}" for w, e in by_word.items())]
    return "\n".join(lines)


def _difference(table: pd.DataFrame, score: str, rival: str) -> tuple[float, float, float]:
    """Line minus rival, mean over seeds and objectives, with a bootstrap over seeds and objectives within them."""
    wide = table.pivot_table(index=["seed", "objective"], columns="ranker", values=score)
    gap = (wide["line"] - wide[rival]).dropna()
    by_seed = [own.to_numpy() for _, own in gap.groupby(level="seed")]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(N_BOOTSTRAP):
        some = rng.integers(len(by_seed), size=len(by_seed))
        drawn.append(np.mean([rng.choice(by_seed[i], len(by_seed[i])).mean() for i in some]))
    return float(gap.mean()), *np.quantile(drawn, [0.025, 0.975]).tolist()


def run(names: Sequence[str], seeds: Iterable[int], *, data: Path) -> pd.DataFrame:
    """All of them together."""
    seeds = list(seeds)
    found = []
    for name in names:
        for seed in seeds:
            found.append(measure(name, seed, data))
            print(f"{name} {seed}: {found[-1]['condition'].nunique()} held-out conditions", flush=True)
    return pd.concat(found, ignore_index=True)
