"""Results of `python -m benchmarks screen`: two tables and a section of the page of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.kept import add, read, table_file
from scperturbrl.screen.conformal import SUPPORTED, UNSUPPORTED
from scperturbrl.screen.line import BASELINES

if TYPE_CHECKING:
    from pathlib import Path

RANKS, INTERVALS = "screen_ranks", "screen_intervals"
RANKERS = ("line", *BASELINES)
SCORES = {"spearman": 1, "precision": 1, "regret": -1}
"""Scores of a ranking: 1 if larger is better, -1 if smaller is."""
N_BOOTSTRAP, N_BOOTSTRAP_CONDITIONS, FEW = 1000, 200, 4
CHANCE = "chance"
_NAMES = {"spearman": "Spearman", "precision": "precision among the best", "regret": "regret"}
_MINUS = "\N{MINUS SIGN}"
_HEAD = """
## Screens

Does {func}`~scperturbrl.tl.screen` rank held-out conditions in the order of their real cells? Objectives are all pathways and the size of the effect. *Precision* is the
share of the true best third (at most ten) among the predicted best. *Regret* is the best true value minus that of the candidate ranked first, in standard deviations; small is good.
The best simple rule is chosen for each suite and score using the held-out cells. The difference is the linear model minus that rule, with a 95 % bootstrap interval
over seeds and objectives, or over the held-out conditions if all folds are of one data set. Bold: the linear model is better, and the interval excludes 0.
A rule that does not apply to a condition gets the mean of its other predictions there: on `norman_all` the ridge does not predict nine of the 15 doubles.
Sampling noise is subtracted from measured sizes.

"""
_COVERAGE = """
For how many held-out conditions does the 80 % interval contain the real value? *Width* is relative to that of intervals around the mean response. *Error* is the median error of
the predicted effect relative to the size of the real one; sampling noise is subtracted from both.

"""


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman, precision among the best third (at most ten) and regret, one row per suite, seed, objective and ranker.

    Regret is the best true value minus that of the candidate ranked first, over the standard deviation of the true values.
    """
    found = []
    for keys, part in rows.assign(seed=_together(rows)).groupby(["suite", "seed", "objective"], sort=False):
        truth = part["truth"].to_numpy()
        for ranker in RANKERS:
            own = part[ranker].to_numpy(dtype=float)
            known = np.isfinite(own)
            filled = np.where(known, own, own[known].mean() if known.any() else 0.0)
            told = dict(zip(("suite", "seed", "objective"), keys, strict=True))
            found.append({**told, "ranker": ranker, **_scores(filled, truth)})
    return pd.DataFrame(found)


def _scores(own: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    k = min(10, max(1, len(truth) // 3))
    spread = max(float(truth.std(ddof=1)) if len(truth) > 1 else 0.0, 1e-12)
    # a rule that predicts the same for all conditions is as good as chance
    if np.ptp(own) == 0 or np.ptp(truth) == 0:
        return {"spearman": 0.0, "precision": k / len(truth), "regret": float(truth.max() - truth.mean()) / spread}
    best, chosen = (np.argsort(-values, kind="stable")[:k] for values in (truth, own))
    return {
        "spearman": float(np.corrcoef(stats.rankdata(own), stats.rankdata(truth))[0, 1]),
        "precision": len({*best} & {*chosen}) / k,
        "regret": float(truth.max() - truth[chosen[0]]) / spread,
    }


def _together(rows: pd.DataFrame) -> pd.Series:
    """The seed of each row; 0 for suites whose folds hold out only a few conditions each, so that all folds are ranked together."""
    few = rows.groupby("suite")["condition"].transform("size") / rows.groupby("suite")["seed"].transform("nunique")
    return rows["seed"].where(few / rows.groupby("suite")["objective"].transform("nunique") >= FEW, 0)


def ranks(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per suite and score: the line, the best simple rule, and their difference with its 95 % interval."""
    found = []
    for suite, own in rows.groupby("suite", sort=False):
        part = scores(own)
        again = _drawn_again(own) if part["seed"].nunique() == 1 else []
        means = part.groupby("ranker")[list(SCORES)].mean()
        for score, sign in SCORES.items():
            rival = (sign * means[score].drop("line")).idxmax()
            gap, low, high = _difference(part, again, score, rival)
            line, best = means.loc["line", score], means.loc[rival, score]
            told = {"suite": suite, "seeds": own["seed"].nunique(), "score": score, "line": line, "best": best}
            # rules that predict the same for all conditions are as good as chance
            told["rival"] = rival if means.loc[rival, "spearman"] else CHANCE
            found.append({**told, "gap": gap, "low": low, "high": high})
    return pd.DataFrame(found)


def _difference(table: pd.DataFrame, again: list[pd.DataFrame], score: str, rival: str) -> tuple[float, float, float]:
    """Line minus rival, mean over seeds and objectives, with the quantiles of a bootstrap.

    The bootstrap resamples seeds and objectives. If `again` has tables of resampled conditions, those are used instead.
    """
    gap = _gaps(table, score, rival)
    by_seed = [own.to_numpy() for _, own in gap.groupby(level="seed")]
    if again:
        drawn = [_gaps(one, score, rival).mean() for one in again]
    else:
        rng = np.random.default_rng(0)
        some = rng.integers(len(by_seed), size=(N_BOOTSTRAP, len(by_seed)))
        drawn = [np.mean([rng.choice(by_seed[i], len(by_seed[i])).mean() for i in own]) for own in some]
    return float(gap.mean()), *np.quantile(drawn, [0.025, 0.975]).tolist()


def _gaps(table: pd.DataFrame, score: str, rival: str) -> pd.Series:
    wide = table.pivot_table(index=["seed", "objective"], columns="ranker", values=score)
    return (wide["line"] - wide[rival]).dropna()


def _drawn_again(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Scores of conditions drawn with replacement. All objectives share the conditions, so more objectives are not more evidence."""
    names = rows["condition"].unique()
    of = dict(list(rows.assign(seed=0).groupby("condition")))
    rng = np.random.default_rng(0)
    draws = [rng.choice(names, len(names)) for _ in range(N_BOOTSTRAP_CONDITIONS)]
    # a draw that repeats a single condition has no ranking
    return [scores(pd.concat([of[name] for name in draw], ignore_index=True)) for draw in draws if len({*draw}) > 1]


def intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per suite and kind: candidates, coverage, width relative to that around the mean response, support, error of the effect."""
    found = []
    for (suite, kind), part in rows.groupby(["suite", "kind"], sort=False):
        told = part[part["width"].notna()]
        covered = (told["truth"] - told["line"]).abs() <= told["width"]
        conditions = part.drop_duplicates(["seed", "condition"])
        shares = conditions["support"].value_counts(normalize=True)
        found.append(
            {
                "suite": suite,
                "kind": kind,
                "candidates": len(conditions),
                "coverage": covered.mean(),
                "width": (told["width"] / told["mean_width"]).median(),
                "support": ", ".join(f"{word} {share:.0%}" for word, share in shares.items()),
                "error": conditions["error"].median(),
                **{f"error_{word}": own for word, own in _errors(conditions).items()},
                **{f"n_{word}": int(n) for word, n in conditions["support"].value_counts().items()},
            }
        )
    return pd.DataFrame(found)


def _errors(conditions: pd.DataFrame) -> dict[str, float]:
    return {str(word): float(own) for word, own in conditions.groupby("support")["error"].median().items()}


def write(rows: pd.DataFrame, out: Path) -> str:
    """Add the suites of `rows` to both stored tables, and return the section of the page as Markdown."""
    add(ranks(rows), table_file(out, RANKS), keys=("suite", "score"))
    add(intervals(rows), table_file(out, INTERVALS), keys=("suite", "kind"))
    return section(out)


def _ratio(cover: pd.DataFrame) -> float:
    """Median error of unsupported over that of supported predictions, averaged over suites weighted by their candidates."""
    errors = []
    for word in (UNSUPPORTED, SUPPORTED):
        if f"error_{word}" not in cover:
            return float("nan")
        told = cover[cover[f"error_{word}"].notna()]
        errors.append(np.average(told[f"error_{word}"], weights=told[f"n_{word}"]) if len(told) else np.nan)
    return float(errors[0] / errors[1])


def section(out: Path) -> str:
    """Markdown of the stored tables, with the commands that measure them; "" if there are none."""
    told, cover = read(table_file(out, RANKS)), read(table_file(out, INTERVALS))
    if told.empty:
        return ""
    told = told.sort_values("score", key=lambda names: names.map(list(SCORES).index), kind="stable")
    told = told.sort_values("suite", kind="stable")
    lines = [
        _HEAD,
        "| suite | seeds | score | linear model | best simple rule | difference (95 %) |\n",
        "|---" * 6 + "|\n",
    ]
    lines += [_rank_line(row) for row in told.itertuples()]
    lines += [_COVERAGE, "| suite | kind | candidates | coverage | width | support | error |\n", "|---" * 7 + "|\n"]
    lines += [_interval_line(row) for row in cover.itertuples()]
    lines += [f"\n{_verdict(told, cover)}\n", "\n```bash\n", *_commands(told), "```\n"]
    return "".join(lines)


def _rank_line(row: tuple) -> str:
    better = SCORES[row.score] * row.gap > 0 and row.low * row.high > 0
    gap = f"{_signed(row.gap)} ({_signed(row.low)} to {_signed(row.high)})"
    cells = [
        row.suite,
        row.seeds,
        _NAMES[row.score],
        f"{row.line:.3f}",
        f"{row.best:.3f} ({row.rival.replace('_', ' ')})",
    ]
    return f"| {' | '.join(map(str, cells))} | {f'**{gap}**' if better else gap} |\n"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", _MINUS)


def _interval_line(row: tuple) -> str:
    number = lambda value: f"{value:.2f}" if np.isfinite(value) else "no interval"
    cells = [
        row.suite,
        row.kind,
        row.candidates,
        number(row.coverage),
        number(row.width),
        row.support,
        f"{row.error:.2f}",
    ]
    return f"| {' | '.join(map(str, cells))} |\n"


def _verdict(told: pd.DataFrame, cover: pd.DataFrame) -> str:
    """Which aims are reached, and which suites miss the others."""
    behind = told[(told["score"].map(SCORES) * told["gap"] < 0) & (told["low"] * told["high"] > 0)]
    many = cover[cover["coverage"].notna() & (cover["candidates"] >= 20)]
    off = many[(many["coverage"] < 0.74) | (many["coverage"] > 0.86)]
    wide = many[many["width"] > 0.8]
    few = cover[cover["coverage"].isna()]
    ratio = _ratio(cover)
    lines = [
        _aim(
            "No score of the linear model is worse than the best simple rule by an interval that excludes 0",
            [f"{r.suite} ({_NAMES[r.score]})" for r in behind.itertuples()],
        ),
        _aim(
            "80 % intervals contain 74 to 86 % of the real values (suites with 20 candidates or more)",
            list(off["suite"]),
        ),
        _aim("Intervals are at most .8 times as wide as those around the mean response", list(wide["suite"])),
    ]
    if np.isfinite(ratio):
        word = "" if ratio >= 2 else "not "
        lines.append(
            f"- *Unsupported* predictions have {ratio:.2f} times the error of *supported* ones: the aim of 2 is {word}reached."
        )
    if len(few):
        named = ", ".join(dict.fromkeys(f"{r.suite} ({r.kind})" for r in few.itertuples()))
        lines.append(f"- No interval, because there are too few conditions for calibration: {named}.")
    return "\n".join(lines)


def _aim(what: str, missed: list[str]) -> str:
    return f"- {what}: {'reached' if not missed else 'not reached on ' + ', '.join(missed)}."


def _commands(told: pd.DataFrame) -> list[str]:
    seeds = told.drop_duplicates("suite").groupby("seeds", sort=False)["suite"].agg(" ".join)
    return [f"python -m benchmarks screen --suites {names} --seeds {n}\n" for n, names in seeds.items()]
