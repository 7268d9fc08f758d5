"""The printed results of the demo: one table, and sentences that interpret its numbers."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rich import box
from rich.measure import Measurement
from rich.table import Table

import scperturbrl as spr
from scperturbrl._core import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from anndata import AnnData
    from rich.console import Console

CEILING = "split_half"
_UNLIMITED = 1000
_SPECIFIC = "Specific: the effect minus what all perturbations share (Systema)."


class Column(NamedTuple):
    """Header of a metric in the table, its name in a sentence, and the factor that makes its numbers short."""

    header: str
    name: str
    factor: float = 1.0


VERIFIERS = {
    "score_pearson_topk": Column("Pearson\ntop-k", "Pearson top-k"),
    "score_rmse_topk": Column("RMSE\ntop-k", "RMSE top-k"),
    "score_de_spearman": Column("DE\nrank", "DE Spearman"),
    "score_pathway_activity": Column("Path-\nway", "pathway activity"),
}
SHARED = {
    "pearson_delta_systema": Column("Pearson\nspecific", "Pearson of the specific effect"),
    "discrimination": Column("Discr.\nscore", "discrimination"),
    "mse": Column("MSE\nx1000", "MSE", 1000.0),
    "energy_distance": Column("Energy\ndist.", "energy distance"),
    "variance_ratio": Column("Var.\nratio", "variance ratio"),
}
COLUMNS = VERIFIERS | SHARED

_NAMES = {
    keys.GENERATOR: "generator",
    keys.GENERATOR_RL: "+ post-training",
    f"{keys.GENERATOR}_longer": "+ extra training",
    CEILING: "half of real",
}


def tell(adata: AnnData, console: Console, generators: Sequence[str]) -> None:
    """Print the table of ``uns["evaluation"]`` and its interpretation.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    console
        Where to print.
    generators
        Keys of the pretrained generator, of the one with extra training, and of the post-trained one.
    """
    results = adata.uns[keys.EVALUATION]
    results = results[results["metric"].isin(list(COLUMNS))]
    means = results.pivot_table(index="model", columns="metric", values="value", dropna=False, observed=True)
    means = means.reindex(columns=list(COLUMNS))
    order = [*generators, *(name for name in results["model"].unique() if name not in generators)]
    baselines = results.loc[results["kind"] == "baseline", "model"].unique().tolist()
    console.print()
    _print_table(console, means.loc[order], generators, results["condition"].nunique())
    parent, longer, tuned = generators
    sentences = [
        _guard(adata, tuned),
        _reward(adata, tuned, parent),
        *_against_longer(results, means, longer=longer, tuned=tuned),
        _against_baselines(means, tuned, baselines),
        _against_ceiling(means, tuned),
    ]
    for sentence in filter(None, sentences):
        text = textwrap.fill(f"- {sentence}", console.width, subsequent_indent="  ", break_on_hyphens=False)
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _print_table(console: Console, means: pd.DataFrame, generators: Sequence[str], n_conditions: int) -> None:
    """Print the means at their full width: a pipe or a file has no width, and a narrow terminal wraps."""
    table = _table(means, generators, bold=console.color_system is not None)
    best = "in bold" if console.color_system is not None else "marked *"
    console.print(f"Means over {n_conditions} held-out combinations (best generator {best})", style="italic")
    width = console.width
    try:
        console.width = Measurement.get(console, console.options.update(max_width=_UNLIMITED), table).maximum
        console.print(table)
    finally:
        console.width = width
    console.print(_SPECIFIC, highlight=False, soft_wrap=True)


def _table(means: pd.DataFrame, generators: Sequence[str], *, bold: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("\nmodel", no_wrap=True)
    best = _best(means.loc[list(generators)])
    marks = ("[bold]{}[/bold]", "{}") if bold else ("{}*", "{} ")
    for column in COLUMNS.values():
        table.add_column(column.header, justify="right", no_wrap=True)
    for model, row in means.iterrows():
        cells = [
            marks[0 if best[name] == model else 1].format(_cell(row[name], column)) for name, column in COLUMNS.items()
        ]
        table.add_row(_name(str(model)), *cells, style=None if model in generators else "dim")
    return table


def _best(means: pd.DataFrame) -> dict[str, str]:
    errors = means.apply(lambda column: column.map(_error(str(column.name))))
    return {name: str(errors[name].idxmin()) if errors[name].notna().any() else "" for name in COLUMNS}


def _cell(value: float, column: Column) -> str:
    value *= column.factor
    return "-" if np.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _name(model: str) -> str:
    return _NAMES.get(model, model.replace("_", " "))


def _error(metric: str) -> Callable[[float], float]:
    """Return the difference of a value of `metric` from the best possible value; lower is better."""
    known = spr.metrics.METRICS.get(metric)
    return known.error if known else lambda score: -score


def _guard(adata: AnnData, tuned: str) -> str:
    """Say whether the guard stopped post-training, and at which iteration."""
    fitted, asked = adata.uns[tuned]["fitted"], int(adata.uns[tuned]["params"]["n_iterations"])
    stopped, kept = str(fitted["stopped"]), int(fitted["kept_iteration"])
    if kept == asked:
        return ""
    why = f" ({stopped.removeprefix('guard: ')})" if stopped.startswith("guard") else ""
    if kept == 0:
        return f"The guard undid post-training{why}: the post-trained generator is identical to the pretrained one."
    return f"The guard returned to iteration {kept} of {asked}{why}."


def _reward(adata: AnnData, tuned: str, parent: str) -> str:
    after, before, real = (float(adata.obs[keys.reward(key)].mean()) for key in (tuned, parent, keys.OBSERVED))
    moved = "raised" if after > before else "lowered" if after < before else "left"
    text = f"On conditions seen in training, post-training {moved} the reward from {before:.2f} to {after:.2f}"
    if after <= real:
        return f"{text}; real cells have {real:.2f}."
    return f"{text}. Real cells have {real:.2f}; above this value, a higher reward does not mean better cells."


def _against_longer(results: pd.DataFrame, means: pd.DataFrame, *, longer: str, tuned: str) -> Iterator[str]:
    wide = results.pivot_table(index="condition", columns=["metric", "model"], values="value", observed=True)
    parts, raised = [], 0
    for name, column in VERIFIERS.items():
        change = wide[name][tuned] - wide[name][longer]
        raised += change.mean() > 0
        parts.append(f"{column.name} {change.mean():+.3f} (up in {int((change > 0).sum())} of {len(change)})")
    yield (
        f"On held-out combinations, {raised} of {len(VERIFIERS)} verifier scores are higher after post-training than "
        f"after extra training of the same duration: {', '.join(parts)}."
    )
    before, after = means.loc[longer], means.loc[tuned]
    words = [f"{column.name} {_verdict(name, before[name], after[name])}" for name, column in SHARED.items()]
    yield f"Metrics that no verifier scores, post-trained against extra training: {'; '.join(words)}."


def _verdict(metric: str, before: float, after: float) -> str:
    """Return "better", "worse" or "the same", with the numbers."""
    column, error = SHARED[metric], _error(metric)
    digits = 3 if abs(before) * column.factor < 10 else 1
    old, new = (f"{value * column.factor:.{digits}f}" for value in (before, after))
    if old == new:
        return f"the same ({old})"
    return f"{'better' if error(after) < error(before) else 'worse'} ({old} to {new})"


def _against_baselines(means: pd.DataFrame, tuned: str, baselines: Sequence[str]) -> str:
    errors = means.loc[[tuned, *baselines]].apply(lambda column: column.map(_error(str(column.name))))
    # shifted control cells keep the variance of control cells, so their variance is not a prediction
    asked = [name for name in COLUMNS if name != "variance_ratio" and errors.loc[baselines, name].notna().any()]
    lost: dict[str, list[str]] = {}
    for name in asked:
        best = str(errors.loc[baselines, name].idxmin())
        if errors.loc[tuned, name] >= errors.loc[best, name]:
            lost.setdefault(_name(best), []).append(COLUMNS[name].name)
    won = len(asked) - sum(map(len, lost.values()))
    text = f"Against the best of {len(baselines)} simple baselines it wins in {won} of {len(asked)} metrics"
    where = "; ".join(f"{baseline} is as good or better in {', '.join(names)}" for baseline, names in lost.items())
    return f"{text}. {where[0].upper()}{where[1:]}." if where else f"{text}."


def _against_ceiling(means: pd.DataFrame, tuned: str) -> str:
    reached = [
        column.name
        for name, column in COLUMNS.items()
        if _error(name)(means.loc[tuned, name]) <= _error(name)(means.loc[CEILING, name])
    ]
    text = "Compared with one half of the real cells as a prediction of the other"
    if not reached:
        return f"{text}, it falls short in everything."
    above = [column.name for column in VERIFIERS.values() if column.name in reached]
    note = (
        " A verifier score above that of real cells is not an advantage: such cells are more typical and less noisy, "
        "not better."
        if above
        else ""
    )
    return f"{text}, it is as good or better in {len(reached)} of {len(COLUMNS)}: {', '.join(reached)}.{note}"
