"""The whole report as a page of the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import intervals, overview, report

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

FILE, PICTURES = "results.md", "_static/results"
_HEAD = """# Results

`python -m benchmarks report --page docs` has written this page from the files in `benchmarks/results`; change it there. What the arms, baselines and data
sets are, and what the figures mean in plain sentences, stands in [Benchmarks](benchmarks.md).

<!-- overview -->

## The generator beside the best baseline

Each figure is the median over seeds of the mean over held-out conditions; the baseline is the one that is best on this data set by that very
metric, so it is chosen with hindsight. Ratios are taken seed by seed, with their range; below 1 the generator is closer to the real cells.

"""
_POST = """
## Post-training beside training on for as long

Differences of the four rewarded scores (median over seeds, and in how many seeds they are above 0), ratios of the distances (below 1:
post-trained cells are closer to the real ones), and the paired bootstrap over conditions for the metrics that no reward is related to.

"""

_INTERVALS = """
## What post-training changes, and what better means would

Mean differences from the generator trained on for as long, with the 95 % interval of a paired bootstrap over held-out conditions of single seeds: **better**, *worse*, or within it. The last five are no rewards, though DE overlap and pathway recovery are related to some. Beside `generator_rl` stand the oracles of
[cells that look like cells](#cells-that-look-like-cells). What better means do not raise, an honest update cannot be expected to raise.

"""

_ARMS = """
## What each part of post-training does

Every arm beside the generator trained on for as many CPU seconds as the default took, medians over seeds, on the data sets where the parts were measured. Systema Pearson and discrimination were never
rewarded. `energy_only`, `rewards_only` and `unguarded` have as much time as `generator_rl`; the best of eight takes no training and eight times as long to generate. (The
seconds of these three hold the short runs that find how many rounds fit into that time.)

"""
_MAGNITUDE = """
## Combinations that do less than their sum

The generator relative to itself with an additivity and a magnitude of 1 (`whole_effects`), medians over seeds with their range; below 1 the two bring cells closer, as they do in so many seeds. Both start
at the same control cells and noise. Without unseen combinations they change nothing.

"""

_PAIRED = """
## The generator beside the straight lines, set by set

The generator minus the additive prediction, the additive ridge and the combination ridge on the same data: median over seeds, and in how many seeds the generator is at least as good. A difference of medians, as in the tables below, mixes
what models and what data sets differ by.

"""
_LIKENESS = """
## Cells that look like cells

Variance ratio, error of the zero fraction, and how well a classifier tells cells of held-out conditions from real ones (.5: not at all), medians over seeds with their range. `right means` is an oracle: the generator, with
the mean of each held-out condition moved to that of half its real cells. What it leaves is what the generator gets wrong of cells rather than of means. `measured singles` is another: its mean is the sum of the effects that
both singles have in all of their cells, times the mean weight that singles have in doubles. `known singles` is the simulator itself with the true responses of the singles and that weight. No model can know more of a held-out double, for how its
singles interact is drawn at random. `split half` is one half of the real cells beside the other.

"""

# what the page on the protocol includes
_END = "\n<!-- end of the overview -->\n"


def write(results: pd.DataFrame, docs: Path, provenance: str) -> Path:
    """Write the page and its pictures into the folder of the documentation; returns the file of the page."""
    measured = results[results["kind"] != "skipped"]
    pictures = docs / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [_HEAD, overview.generator_lines(measured), _PAIRED, overview.paired_lines(measured)]
    parts += [_LIKENESS, overview.likeness_lines(measured), _POST, overview.post_training_lines(measured)]
    parts += [_INTERVALS, intervals.interval_lines(measured)]
    parts += [_ARMS, overview.arm_lines(measured), _MAGNITUDE, overview.magnitude_lines(measured), _END]
    drawn = report.pictures(measured, pictures, dpi=110)
    for name, rows in results.groupby("suite", sort=False):
        parts.append(f"\n## {str(name).replace('_', ' ').capitalize()}\n\n{report.summarise(rows)}")
        if name in drawn:
            alt = "Scaled scores of the metrics that were not rewarded, for each model: median and middle half"
            parts.append(f"\n```{{image}} {PICTURES}/{name}.png\n:alt: {alt}\n:width: 640px\n```\n")
    parts.append(f"\nMeasured with {provenance}.\n")
    file = docs / FILE
    file.write_text("".join(parts), encoding="utf-8")
    return file
