"""Table, picture and sentences of reward gain against distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.arms import BASE, LONGER, RL
from benchmarks.pareto import ALONE, BATCHES, ITERATIONS, RECIPE, RIVAL, best_of, front, reached, summary
from benchmarks.report import CLAIMED, COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE, PAGE = "_static/results/pareto.png", "development/reward_and_distance.md"
BEGIN, END = "<!-- reward against distance -->\n", "<!-- end of reward against distance -->\n"
QUARTER = 0.25
# Okabe and Ito's colours, and a marker each, so that nothing hangs on colour alone
STYLES = {
    "nft": ("#009E73", "s"),
    "grpo": ("#0072B2", "^"),
    "value_gradient": ("#CC79A7", "D"),
    "hybrid": ("#D55E00", "o"),
}
_KINDS = {ALONE: "alone", RECIPE: "in the recipe"}
_ALT = "Mean reward gain against energy distance, both relative to the generator after extra training: a line for each update rule through its anchors, and the front"


def medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Median over seeds of every point with all its rounds, whether it is on the front, and in how many seeds it is.

    Seeds of which fewer points have been measured than of others are left out.
    """
    full = rows[(rows["n_iterations"] == ITERATIONS) | rows["model"].isin([BASE, LONGER])]
    n_points = full.groupby("seed")["model"].transform("nunique")
    full = full[n_points == n_points.max()]
    full = full.assign(front=False)
    for _, own in full.groupby("seed"):
        full.loc[own.index, "front"] = front(own["distance"].to_numpy(), own["gain"].to_numpy())
    numbers = [*CLAIMED, "gain", "distance", "error", "variance_ratio", "cpu_seconds"]
    found = full.groupby("model", sort=False)
    table = found[["rule", "kind", "anchor"]].first().join(found[numbers].median())
    table["seeds_on_front"], table["n_seeds"] = found["front"].sum(), found["seed"].nunique()
    table["early"] = found["kept_iteration"].min() < ITERATIONS
    table["front"] = front(table["distance"].to_numpy(), table["gain"].to_numpy())
    return table


def markdown(table: pd.DataFrame) -> str:
    """Table of :func:`medians`."""
    heads = ["update rule", "anchor", "CPU s", *(COLUMNS[name] for name in CLAIMED), "mean gain"]
    heads += ["E-distance", "MSE", "variance ratio", "on the front"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    order = {rule: i for i, rule in enumerate(STYLES)}
    table = table.assign(rank=table["rule"].map(order).fillna(-1)).sort_values(
        ["kind", "rank", "anchor"], na_position="first"
    )
    for model, row in table.iterrows():
        bold = "**" if model == RL else ""
        cells = [f"{bold}{_label(str(model), row)}{bold}", "" if np.isnan(row["anchor"]) else f"{row['anchor']:g}"]
        cells += [f"{row['cpu_seconds']:.0f}"]
        cells += ["" if model == LONGER else f"{row[name]:+.4f}" for name in [*CLAIMED, "gain"]]
        cells += [f"{row[name]:.3f}" for name in ("distance", "error", "variance_ratio")]
        seeds = f" ({row['seeds_on_front']} of {row['n_seeds']} sets)" if row["n_seeds"] > 1 else ""
        cells.append(("yes" if row["front"] else "no") + seeds)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _label(model: str, row: pd.Series) -> str:
    if model in (BASE, LONGER):
        return f"`{model}`"
    stopped = ", set back by the guard" if row["early"] else ""
    return f"`{row['rule']}` {_KINDS[row['kind']]}{', the default' if model == RL else ''}{stopped}"


def reaching(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a seed: the best point of the rival, and when the default was there."""
    found = []
    for seed, own in rows.groupby("seed"):
        target, ours = best_of(RIVAL, own), _default_runs(own)
        last = ours.loc[ours["n_iterations"].idxmax()]
        row = {"seed": seed, "anchor": target["anchor"], "kind": target["kind"], "n_iterations": target["n_iterations"]}
        row |= {name: target[name] for name in ("cpu_seconds", "gain", "distance")}
        row |= {
            "default_seconds": last["cpu_seconds"],
            "default_gain": last["gain"],
            "default_distance": last["distance"],
        }
        row["reached"] = reached(ours, target)
        found.append(row)
    table = pd.DataFrame(found)
    return table.assign(ratio=table["reached"] / table["cpu_seconds"])


def curves(rows: pd.DataFrame) -> str:
    """Table of the default and of the rival at its best anchor after more and more rounds, medians over seeds."""
    tried = rows[(rows["rule"] == RIVAL) & (rows["kind"] == ALONE)]
    longer = tried[tried["n_iterations"] != ITERATIONS]
    best = tried.merge(longer[["seed", "anchor"]].drop_duplicates(), on=["seed", "anchor"])
    lines = ["| run | rounds | CPU s | mean gain | E-distance |", "|---" * 5 + "|"]
    for label, runs in (("the default", _default_runs(rows)), (f"`{RIVAL}` alone, its best anchor", best)):
        for n, own in runs.groupby("n_iterations")[["cpu_seconds", "gain", "distance"]].median().iterrows():
            cells = [label, f"{n:.0f}", f"{own['cpu_seconds']:.0f}", f"{own['gain']:+.4f}", f"{own['distance']:.3f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _default_runs(rows: pd.DataFrame) -> pd.DataFrame:
    default = rows[rows["model"] == RL].iloc[0]
    return rows[(rows[["rule", "kind", "anchor"]] == default[["rule", "kind", "anchor"]]).all(axis=1)]


def sentences(rows: pd.DataFrame) -> str:
    """Whether the default is on the front, and how fast it is where the best point of the rival is."""
    table, race = medians(rows), reaching(rows)
    default = table.loc[RL]
    n = int(default["n_seeds"])
    word = "is" if default["front"] else "is not"
    beaten = "" if default["front"] else f"; {_beaten_by(table)}"
    lines = [
        f"Among {len(table)} points, measured on {n} {_sets(n)}, the default {word} on the front of the medians{beaten}; it is on "
        f"the front of {int(default['seeds_on_front'])} of {n} {_sets(n)}. The aim for time, as much gain as the best `{RIVAL}` point "
        f"for no more distance in a quarter of its time, is met on {int((race['ratio'] <= QUARTER).sum())} of {len(race)} {_sets(len(race))}.\n\n"
    ]
    for row in race.itertuples():
        there = (
            f"the default has that gain for no more distance after {row.reached:.0f} CPU s, {row.ratio:.2f} times as long"
            if row.ratio > 0
            else f"the default does not get there: {row.default_gain:+.4f} at {row.default_distance:.3f} times after {row.default_seconds:.0f} CPU s"
        )
        lines.append(
            f"- Set {row.seed}: the best `{RIVAL}` point ({_KINDS[row.kind]}, anchor {row.anchor:g}, {int(row.n_iterations)} rounds, {row.cpu_seconds:.0f} CPU s) "
            f"gains {row.gain:+.4f} at {row.distance:.3f} times the distance; {there}.\n"
        )
    return "".join(lines)


def missing(rows: pd.DataFrame) -> str:
    """Names what has not been measured on any set, if there is something."""
    points = [point for batch in BATCHES for point in batch if point.n_iterations == ITERATIONS]
    left = [point for point in points if point.name not in set(rows["model"])]
    names = [f"`{point.rule}` {_KINDS[point.kind]} with anchor {point.anchor:g}" for point in left]
    return f"Not measured yet: {', '.join(names)}.\n" if names else ""


def _sets(n: int) -> str:
    return "set" if n == 1 else "sets"


def _beaten_by(table: pd.DataFrame) -> str:
    default = table.loc[RL]
    better = table[table["front"] & (table["distance"] <= default["distance"]) & (table["gain"] >= default["gain"])]
    names = [
        f"`{row['rule']}` {_KINDS[row['kind']]} with anchor {row['anchor']:g} ({row['gain']:+.4f} at {row['distance']:.3f} times)"
        for _, row in better.dropna(subset="rule").iterrows()
    ]
    return f"more gain for no more distance have {', '.join(names)}"


def picture(rows: pd.DataFrame) -> Figure:
    """Medians over seeds: a line a rule through its anchors, small to large, the front, and the default with its range."""
    import matplotlib.pyplot as plt

    table = medians(rows)
    figure, axes = plt.subplots(figsize=(7.2, 5.0), layout="constrained")
    _front_line(axes, table)
    for rule, (colour, marker) in STYLES.items():
        for kind, filled in ((ALONE, False), (RECIPE, True)):
            own = table[(table["rule"] == rule) & (table["kind"] == kind)].sort_values("anchor")
            if own.empty:
                continue
            style: dict[str, Any] = {
                "color": colour,
                "marker": marker,
                "markersize": 6.5,
                "markerfacecolor": colour if filled else "white",
            }
            axes.plot(
                own["distance"],
                own["gain"],
                "-" if filled else "--",
                linewidth=1.3,
                label=f"{rule}, {_KINDS[kind]}",
                **style,
            )
            _anchors(axes, own, colour)
    _marks(axes, table)
    axes.set(
        xlabel="E-distance of held-out doubles, times that of the generator trained on",
        ylabel="Mean gain of the four scores\nover the generator trained on",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.08)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    return figure


def _anchors(axes: Axes, points: pd.DataFrame, colour: str) -> None:
    """The anchor beside each point, on a white rim where lines cross."""
    from matplotlib.patheffects import withStroke

    for _, point in points.iterrows():
        text = axes.annotate(f"{point['anchor']:g}", (point["distance"], point["gain"]), color=colour, fontsize=8.5)
        text.set(path_effects=[withStroke(linewidth=2.5, foreground="white")], zorder=6)
        text.set_position((6, 5))
        text.set_anncoords("offset points")


def _front_line(axes: Axes, table: pd.DataFrame) -> None:
    own = table[table["front"]].sort_values("distance")
    axes.step(own["distance"], own["gain"], where="post", color="#BBBBBB", linewidth=5, label="front", zorder=0)


def _marks(axes: Axes, table: pd.DataFrame) -> None:
    """The default, larger than the rest, and the generators that were not post-trained."""
    default = table.loc[RL]
    axes.plot(default["distance"], default["gain"], "*", color="#000000", markersize=15, label="the default", zorder=5)
    for model, marker in ((LONGER, "P"), (BASE, "X")):
        if model in table.index:
            point = table.loc[model]
            axes.plot(point["distance"], point["gain"], marker, color="#666666", markersize=8, label=model, zorder=4)


def write(results: pd.DataFrame, docs: Path | None = None) -> str:
    """Tables and sentences; with a folder of the documentation they go into its page on reward and distance, and the picture beside it."""
    rows = summary(results)
    parts = [markdown(medians(rows)), sentences(rows), missing(rows), curves(rows)]
    text = "\n".join(part for part in parts if part)
    if docs is None:
        return text
    import matplotlib.pyplot as plt

    figure = picture(rows)
    (docs / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(docs / PICTURE, dpi=110)
    plt.close(figure)
    page = docs / PAGE
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    image = f"```{{image}} /{PICTURE}\n:alt: {_ALT}\n:width: 720px\n```\n"
    page.write_text(f"{before}{BEGIN}\n{image}\n{text}\n{END}{after}", encoding="utf-8")
    return text
