"""Measurements as Markdown and plots: wins, ties and losses in tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import scperturbrl as spr
from benchmarks import calibration, parts_seen, published, unseen
from benchmarks.arms import BASE, LONGER, RL
from benchmarks.suites import DATASETS
from scperturbrl.data.evaluation.metric_calibration import SHARE
from scperturbrl.get._read.labels import model_label
from scperturbrl.metrics import METRICS

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

COLUMNS = {
    "score_pearson_topk": "Pearson top-k",
    "score_rmse_topk": "RMSE top-k",
    "score_de_spearman": "DE Spearman",
    "score_pathway_activity": "Pathway",
    "pearson_delta_systema": "Systema Pearson",
    "weighted_r2_delta": "Weighted R2",
    "discrimination": "Discrimination",
    "mse": "MSE x 1e3",
    "energy_distance": "E-distance",
    "mmd": "MMD x 1e3",
    "classifier_auroc": "C2ST AUROC",
    "neighbour_coverage": "Coverage",
    "variance_ratio": "Variance ratio",
    "module_correlation_error": "Module error",
    "interaction_fitted": "Interaction",
}
SCALE = {"mse": 1e3, "mmd": 1e3}
CLAIMED = list(COLUMNS)[:4]
SHORT_COLUMNS = [*CLAIMED, "discrimination", "mse", "energy_distance", "variance_ratio"]
SHORT_MODELS = ["split_half", BASE, LONGER, RL, "additive", "additive_ridge", "combination_ridge"]
LABELS = {"split_half": "real cells (one half)", "interpolated_duplicate": "real cells, interpolated"}
RIVALS = [LONGER, BASE, "combination_ridge", "additive_ridge", "additive", "perturbed_mean"]
ORDER = [RL, BASE, LONGER, "energy_only", "unguarded"]


def write(results: pd.DataFrame, out: Path, *, short: bool = False, provenance: str = "") -> str:
    """Write ``results.csv``, ``report.md`` and the pictures; return the report."""
    measured = results[results["kind"] != "skipped"]
    results.to_csv(out / "results.csv", index=False)
    drawn = [] if short else pictures(measured, out)
    text = summarise(results, short=short)
    if drawn:
        text += "\n" + "\n".join(f"![{name}]({name}.png)" for name in drawn) + "\n"
    if provenance and not short:
        text += f"\nMeasured with {provenance}.\n"
    (out / "report.md").write_text(text, encoding="utf-8")
    return text


def summarise(results: pd.DataFrame, *, short: bool = False) -> str:
    """Markdown: a table a data set, mean over held-out conditions, then median over seeds with the range behind it.

    The last row is the share of the conditions in which a metric tells a replicate from the mean response. The short form
    leaves out the range, some rows and columns, and the verdicts against every rival.
    """
    parts: list[str] = []
    for name, rows in results.groupby("suite", sort=False):
        measured = calibration.pooled(rows[rows["kind"] != "skipped"])
        known = calibration.table(measured)
        parts += [_title(str(name), measured), _table(measured, known, short=short)]
        if {RL, LONGER} <= set(measured["model"]):
            parts.append(_claim(measured))
        if not short:
            parts += [
                calibration.lines(known, str(name)),
                _verdicts(measured),
                unseen.lines(measured),
                parts_seen.lines(measured),
                _skipped(rows),
                _published(str(name)),
            ]
    return "\n".join(part for part in parts if part)


def _title(name: str, rows: pd.DataFrame) -> str:
    n = rows.groupby("seed")["condition"].nunique()
    words = f", {DATASETS[name].describes}" if name in DATASETS else ""
    return f"**{name.replace('_', ' ').capitalize()}**{words}; {len(n)} seeds, {'/'.join(map(str, n))} held-out conditions\n"


def _table(rows: pd.DataFrame, known: pd.DataFrame, *, short: bool) -> str:
    wanted = SHORT_COLUMNS if short else list(COLUMNS)
    columns = [name for name in wanted if name in set(rows["metric"])]
    means = (
        rows.groupby(["model", "seed", "metric"], sort=False)["value"].mean().unstack("metric").reindex(columns=columns)
    )
    means = means.mul(pd.Series({name: SCALE.get(name, 1) for name in columns})).rename(columns=COLUMNS)
    found = list(dict.fromkeys(rows["model"]))
    models = [name for name in SHORT_MODELS if name in found] if short else sorted(found, key=_position)
    lines = ["| model | " + " | ".join(means.columns) + " |", "|---" * (len(means.columns) + 1) + "|"]
    for model in models:
        own = means.loc[model]
        cells = [_cell(own[column], short=short) for column in means.columns]
        lines.append(f"| {LABELS.get(model, model)} | " + " | ".join(cells) + " |")
    shares = known.set_index("metric")["told_apart"].reindex(columns)
    lines.append("| *told apart* | " + " | ".join(_share(share) for share in shares) + " |")
    return "\n".join(lines) + "\n"


def _share(share: float) -> str:
    if np.isnan(share):
        return "-"
    return f"*{share:.2f}*" if share >= SHARE else f"*{share:.2f}, no verdict*"


def _position(model: str) -> int:
    return ORDER.index(model) if model in ORDER else len(ORDER)


def _cell(values: pd.Series, *, short: bool) -> str:
    if values.isna().all():
        return "-"
    digits = 2 if values.abs().max() >= 10 else 3
    median = f"{values.median():.{digits}f}"
    return median if short or len(values) == 1 else f"{median} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def _claim(rows: pd.DataFrame) -> str:
    wide = rows.groupby(["seed", "metric", "model"])["value"].mean().unstack("model")
    change = (wide[RL] - wide[LONGER]).unstack("metric")
    ratio = (wide[RL] / wide[LONGER]).unstack("metric")["energy_distance"]
    claimed = [name for name in CLAIMED if name in change and change[name].notna().any()]
    gains = ", ".join(f"{COLUMNS[name]} {_signed(change[name])}" for name in claimed)
    raised = int((change[claimed] > 0).all(axis=1).sum())
    return (
        f"Post-trained minus trained on for as long, per seed: {gains}. All {len(claimed)} raised in {raised} of {len(change)} "
        f"seeds; E-distance x {' / '.join(f'{value:.3f}' for value in ratio)}.\n"
    )


def _signed(values: pd.Series) -> str:
    return " / ".join(f"{value:+.4f}" for value in values)


def _verdicts(rows: pd.DataFrame) -> str:
    """Wins, ties and losses of the post-trained generator, by paired bootstrap over conditions."""
    found = set(rows["model"])
    rivals = [name for name in RIVALS if name in found and name != RL]
    if RL not in found or not rivals:
        return ""
    metrics = [name for name in METRICS if name in set(rows["metric"])]
    table = spr.get.differences(rows, RL, reference=rivals, metrics=metrics)
    lines = []
    for rival, part in table.groupby("reference", sort=False):
        named = {word: part.loc[part["verdict"] == word, "metric"].tolist() for word in ("better", "tie", "worse")}
        if not any(named.values()):
            continue
        words = [
            f"{word} in {len(names)} ({', '.join(names)})" if word != "tie" else f"tied in {len(names)}"
            for word, names in named.items()
            if names
        ]
        n = int(part["n_conditions"].max())
        lines.append(f"- `{RL}` against `{rival}`, {n} conditions: {'; '.join(words)}.")
    if not lines:
        return ""
    head = "Paired bootstrap over conditions, 95 % interval of the error, not corrected for the number of metrics:\n\n"
    return head + "\n".join(lines) + "\n"


def _skipped(rows: pd.DataFrame) -> str:
    left_out = rows[rows["kind"] == "skipped"].drop_duplicates("model")
    return "".join(f"`{row.model}` was not run: {row.stopped}.\n" for row in left_out.itertuples())


def _published(name: str) -> str:
    if name not in DATASETS or not DATASETS[name].published:
        return ""
    table = published.table(DATASETS[name].published)
    lines = ["Published by scDFM (transcribed, other implementations of the metrics):\n"]
    lines += ["| model | " + " | ".join(table.columns) + " |", "|---" * (len(table.columns) + 1) + "|"]
    for model, row in table.iterrows():
        cells = ["-" if np.isnan(value) else f"{value:g}" for value in row]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def pictures(rows: pd.DataFrame, out: Path) -> list[str]:
    """Draw one picture a data set, the scaled scores of the metrics that can judge, into `out`; returns their names."""
    import matplotlib.pyplot as plt

    names = []
    for name, part in rows.groupby("suite", sort=False):
        figure = _scaled(calibration.pooled(part))
        if figure is None:
            continue
        figure.savefig(out / f"{name}.png", dpi=150)
        plt.close(figure)
        names.append(str(name))
    return names


_COLOURS = {
    RL: "#D55E00",
    BASE: "#0072B2",
    LONGER: "#56B4E9",
    "combination_ridge": "#CC79A7",
    "additive_ridge": "#009E73",
    "additive": "#666666",
    "context_line": "#E69F00",
}


def _scaled(rows: pd.DataFrame) -> Figure | None:
    """Median and interquartile range over conditions and seeds of the scaled score, calibrated held-out metrics only."""
    import matplotlib.pyplot as plt

    judging = rows["calibrated"] & (rows["role"] == "held-out")
    part = rows[judging & rows["model"].isin(_COLOURS) & rows["scaled"].notna()]
    metrics = [name for name in METRICS if name in set(part["metric"])]
    if not metrics:
        return None
    models = [name for name in _COLOURS if name in set(part["model"])]
    figure, axes = plt.subplots(figsize=(7.2, 1.5 + 0.42 * len(metrics)), layout="constrained")
    for lane, model in enumerate(models):
        own = part[part["model"] == model].groupby("metric")["scaled"].quantile([0.25, 0.5, 0.75]).unstack()
        y = np.arange(len(metrics)) + (lane - (len(models) - 1) / 2) * 0.14
        own = own.reindex(metrics).clip(-1, 2)
        axes.hlines(y, own[0.25], own[0.75], color=_COLOURS[model], linewidth=1.4, alpha=0.6)
        axes.plot(own[0.5], y, "o", color=_COLOURS[model], markersize=5, label=model_label(model))
    for anchor, word in ((0, "mean response"), (1, "replicate")):
        axes.axvline(anchor, color="#999999", linewidth=1, zorder=0)
        axes.annotate(
            word,
            (anchor, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color="#555555",
        )
    axes.set_yticks(range(len(metrics)), [METRICS[name].label for name in metrics])
    axes.set(
        xlim=(-1.05, 2.05),
        ylim=(len(metrics) - 0.5, -0.5),
        xlabel="Scaled score of calibrated held-out metrics\n(beyond -1 and 2 drawn at the edge)",
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
