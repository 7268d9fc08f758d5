"""The page of results and the table of README, from the folds and trained conditions that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from benchmarks import calibration, post_training, screening_report, trained, verdicts
from benchmarks.arms import BASE
from benchmarks.folds import METRICS
from benchmarks.kept import read, table_file
from benchmarks.simulated import CONTEXTS, UNSEEN
from benchmarks.suites import DATASETS, SUITES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE, PICTURES = "results.md", "_static/results"
BEGIN, END = "<!-- results-table -->\n", "<!-- end of results-table -->\n"
NO_CHANGE = "control"
_MOST_NAMES = 3
# data sets for readers of the README, who do not know the names of the benchmarks
_LABELS = {
    "kang_types": "interferon on blood cells",
    "kang_types_hvg": "interferon on blood cells, 2,000 genes",
    "kang_pairs": "interferon on blood cells, one other cell type",
    "zhao_patients": "panobinostat on glioblastoma",
    "norman_singles": "CRISPR activation in K562",
    "schraivogel": "CRISPR interference in K562, 72 genes",
    "vcc": "CRISPR interference in H1",
    "norman": "CRISPR activation in K562",
    "norman_all": "CRISPR activation in K562, parts unseen too",
    "contexts": "simulated",
    "depth": "simulated, uneven depth",
    "doses": "simulated",
    "unseen_singles": "simulated, genes act on their own programs",
    "unseen_unrelated": "simulated, co-expression unrelated to effects",
}


class Question(NamedTuple):
    """What is predicted for held-out conditions: as a title, as a table cell and as a question."""

    title: str
    short: str
    asks: str


_CONTEXTS = Question(
    "Held-out contexts",
    "a context",
    "How does a cell type or a patient respond if only its control cells were in training?",
)
_UNSEEN = Question("Unseen perturbations", "a perturbation", "What does a perturbation without any training cells do?")
_DOSES = Question(
    "Unseen doses", "a dose", "What does a drug do at an unmeasured dose, between or beyond the measured ones?"
)
_COMBINATIONS = Question(
    "Combinations", "a combination", "What do two perturbations do together if their combination was not in training?"
)
QUESTIONS = (_CONTEXTS, _UNSEEN, _DOSES, _COMBINATIONS)
_ASKED = {
    **dict.fromkeys([*SUITES["contexts"], *CONTEXTS, "kang", "zhao", "planted_contexts"], _CONTEXTS),
    **dict.fromkeys([*SUITES["unseen_real"], *UNSEEN, "planted_singles"], _UNSEEN),
    **dict.fromkeys(SUITES["doses"], _DOSES),
}
_HEAD = """# Results

`python -m benchmarks results` writes this page from the tables in `benchmarks/results`, so do not edit it by hand. All settings are the defaults. Each row is a fold. Its
conditions were held out whole, and the figures are means over them. Small is good. The best simple rule is chosen for each fold and metric among all
[baselines](concepts/evaluation.md), using the held-out cells, so it could not have been chosen beforehand. The figure in brackets is the ratio of the generator to it:
below 1, the generator is closer to the real cells. *No change* predicts unchanged control cells. The estimate of the energy distance is unbiased, so it can be
below 0 if the populations are alike; the ratio is then meaningless and left out. [Benchmarks](benchmarks.md) describes the protocol.
"""
_TRAINED = """
## Trained conditions

Are generated cells like real cells of a condition that was trained on? A third of the cells of each condition is held out. In brackets: unchanged control cells;
as many other real cells of the condition, which is the best that can be reached. *Zeros* is the error of the zero fraction of a gene. *C2ST* is the area under the
ROC curve of a classifier that discriminates generated from real cells (.5 is chance). The last column lists metrics beyond the limits in `benchmarks/trained.py`.

"""
_FINETUNED = """
## Post-training

What does {func}`~scperturbrl.tl.rl_finetune` do to the cells of held-out conditions? Each row is a run, compared with the same generator after extra training for as many CPU seconds.
*Unchanged*: the guard kept the pretrained generator. Scores: the rise,
and in brackets the share of the gap between that generator and real cells (*no gap*: it is not below them). Distances: the ratio; below 1, post-training is closer to the real cells. If one of the two is as close as
real cells are to each other, both distances are given instead. The last three metrics were not rewarded. Seconds are those of post-training and of fitting. A run is *harmed* if its energy distance
is larger by more than 3 %.

"""
_JUDGED = """
## Verdicts

Is the generator better than the best simple rule of a data set? The rule has the best median score over all conditions of the data set, chosen with the held-out cells. A metric counts if it
tells a replicate of real cells from the mean response there and was not rewarded. *Better* and *worse*: the 95 % interval of the difference over conditions excludes 0,
not corrected for the number of metrics. The verdict is the larger of the two numbers. Metrics of effects agree with each other, and with fewer than six conditions the interval is too narrow, so such a verdict
is weak evidence. Metrics of single cells are left out: baselines are shifted control cells.
"""


def write(out: Path, docs: Path) -> Path:
    """Write the page into the folder of the documentation, and the table into the README in its parent folder.

    Returns
    -------
    The file of the page.

    Raises
    ------
    FileNotFoundError
        If `out` has no table of folds.
    """
    tables = found(out)
    if not tables:
        msg = f"{out} has no folds_<name>.csv.gz: run `python -m benchmarks folds --suites NAME` first."
        raise FileNotFoundError(msg)
    file = docs / FILE
    checked = read(table_file(out, trained.NAME))
    known = calibration.of(out, DATASETS)
    text = page(tables, checked, judged=judged(out, known), known=known)
    text += finetuned(read(table_file(out, post_training.NAME)))
    file.write_text(text + screening_report.section(out), encoding="utf-8")
    readme = docs.parent / "README.md"
    if readme.exists() and BEGIN in (text := readme.read_text(encoding="utf-8")):
        before, rest = text.split(BEGIN)
        readme.write_text(f"{before}{BEGIN}\n{short(tables)}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return file


def found(out: Path) -> dict[str, pd.DataFrame]:
    """Tables of folds by name; a fold in which only baselines were measured so far is left out."""
    files = sorted(out.glob("folds_*.csv.gz"))
    tables = {file.name.removeprefix("folds_").removesuffix(".csv.gz"): read(file) for file in files}
    measured = lambda fold: (fold["model"] == BASE).any()
    return {name: rows.groupby(["suite", "seed"]).filter(measured) for name, rows in tables.items()}


def judged(out: Path, known: pd.DataFrame) -> str:
    """A section for each table of verdicts, with the calibration of every metric."""
    parts = []
    for file in sorted(out.glob(f"{verdicts.PREFIX}*.csv.gz")):
        name, rows = file.name.removeprefix(verdicts.PREFIX).removesuffix(".csv.gz"), read(file)
        which = f"--suite {name}" if name in SUITES else f"--suites {' '.join(rows['suite'].unique())}"
        line = f"```bash\npython -m benchmarks verdicts {which} --seeds {rows['n_folds'].max()}\n```\n"
        parts += [f"\n### Verdicts: {name}\n\n", verdicts.markdown(rows), "\n"]
        parts += [_calibrated(known, rows["suite"].unique()), line]
    return "".join([_JUDGED, *parts]) if parts else ""


def _calibrated(known: pd.DataFrame, suites: Iterable[str]) -> str:
    found = [text for suite in suites if (text := calibration.lines(known, suite))]
    return ":::{dropdown} Calibration of every metric\n" + "\n".join(found) + ":::\n\n" if found else ""


def page(
    tables: dict[str, pd.DataFrame], checked: pd.DataFrame, *, judged: str = "", known: pd.DataFrame | None = None
) -> str:
    """The page: verdicts, one section for each table of folds, grouped by question, and one for trained conditions."""
    parts, known = [_HEAD, judged], pd.DataFrame() if known is None else known
    for question in QUESTIONS:
        for name, folds in tables.items():
            # a suite of several kinds has its rows under each of them
            rows = folds[[_ASKED.get(suite, _COMBINATIONS) is question for suite in folds["suite"]]]
            if len(rows):
                words = "; ".join(_described(suite) for suite in rows["suite"].unique())
                parts.append(f"\n## {question.title}: {name.replace('_', ' ')}\n\n{question.asks} Data: {words}.\n\n")
                parts += [_verdict(rows), "\n\n", fold_lines(rows), "\n"]
                parts += [_calibrated(known, rows["suite"].unique()), command(name, folds)]
    if len(checked):
        seeds = int(checked["seed"].max()) + 1
        names = " ".join(checked["suite"].unique())
        line = f"```bash\npython -m benchmarks trained --suites {names} --seeds {seeds}\n```\n"
        parts += [_TRAINED, trained.markdown(checked).split("\n\n", 1)[1], "\n", line]
    return "".join(parts)


def finetuned(rows: pd.DataFrame) -> str:
    """The section on post-training; empty if it was not measured."""
    if rows.empty:
        return ""
    line = f"python -m benchmarks post-training --suites {' '.join(rows['suite'].unique())} --seeds {rows['seed'].max() + 1}"
    return f"{_FINETUNED}{post_training.markdown(rows)}\n```bash\n{line}\n```\n"


def _described(suite: str) -> str:
    return f"{suite}, {DATASETS[suite].describes}" if suite in DATASETS else suite


def _verdict(rows: pd.DataFrame) -> str:
    sentences = []
    for metric, label in (("energy_distance", "energy distance"), ("mse", "squared error of the mean")):
        own, best, _, control = _figures(rows, metric)
        sentences.append(
            f"By {label}, the generator is closer than the best simple rule in {(own < best).sum()} of {len(own)} "
            f"folds and closer than no change in {(own < control).sum()}."
        )
    return " ".join(sentences)


def _figures(rows: pd.DataFrame, metric: str) -> tuple[pd.Series, pd.Series, pd.Series, pd.Series]:
    """For each fold: figures of the generator and of the best simple rule, the name of that rule, and no change."""
    own = rows[rows["metric"] == metric].set_index(["suite", "seed", "model"])
    values = own["value"].unstack("model")
    names = own["best_baseline"].xs(BASE, level="model").reindex(values.index)
    best = pd.Series([values.loc[fold, name] for fold, name in names.items()], index=values.index)
    return values[BASE], best, names, values[NO_CHANGE]


def fold_lines(rows: pd.DataFrame) -> str:
    """One row per fold: both metrics of the generator, of the best simple rule and of no change."""
    lines = [f"| fold | {' | '.join(f'{label} | best rule | no change' for label, _ in METRICS.values())} |"]
    lines.append("|---" * 7 + "|")
    figures = {metric: _figures(rows, metric) for metric in METRICS}
    held_out = rows.groupby(["suite", "seed"])["held_out"].first()
    for fold in rows.set_index(["suite", "seed"]).index.unique():
        cells = []
        for metric, (_, scale) in METRICS.items():
            own, best, name, control = (column[fold] for column in figures[metric])
            ratio = f" ({own / best:.2f})" if min(own, best) > 0 else ""
            rule = "no change" if name == NO_CHANGE else name.replace("_", " ")
            cells += [f"{scale * own:.3g}{ratio}", f"{scale * best:.3g} ({rule})", f"{scale * control:.3g}"]
        lines.append(f"| {fold[0]} {fold[1]}: {_named(held_out[fold])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _named(held_out: str) -> str:
    names = str(held_out).replace("|", "\\|").split(", ")
    if len(names) <= _MOST_NAMES + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"


def command(name: str, folds: pd.DataFrame) -> str:
    """The command that measures a table again."""
    which = f"--suite {name}" if name in SUITES else f"--suites {' '.join(folds['suite'].unique())}"
    models = list(folds.loc[folds["kind"] != "baseline", "model"].unique())
    others = "" if models == [BASE] else f" --models {' '.join(models)}"
    return f"```bash\npython -m benchmarks folds {which} --seeds {int(folds['seed'].max()) + 1}{others}\n```\n"


def short(tables: dict[str, pd.DataFrame]) -> str:
    """One row per data set: in how many folds the generator is closer than the best simple rule, and ratios to it."""
    folds = pd.concat(tables.values(), ignore_index=True)
    folds = folds.drop_duplicates(["suite", "seed", "model", "metric"])
    lines = ["| Held out | Data | Folds | Closer cells | E-distance | MSE |", "|---" * 6 + "|"]
    for question in QUESTIONS:
        for suite in folds["suite"].unique():
            if _ASKED.get(suite, _COMBINATIONS) is not question:
                continue
            rows = folds[folds["suite"] == suite]
            own, best, _, _ = _figures(rows, "energy_distance")
            ratios = [_ratio(rows, metric) for metric in METRICS]
            cells = [
                question.short,
                _LABELS.get(suite, suite.replace("_", " ")),
                str(len(own)),
                str((own < best).sum()),
                *ratios,
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _ratio(rows: pd.DataFrame, metric: str) -> str:
    """Median ratio over folds and its range; only folds in which both figures are above 0."""
    own, best, _, _ = _figures(rows, metric)
    ratios = (own / best)[(own > 0) & (best > 0)]
    if ratios.empty:
        return "-"
    return f"{ratios.median():.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
