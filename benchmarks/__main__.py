"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import evaluation_speed, grid, page, pareto, pareto_report, report
from benchmarks.arms import ARMS, DEFAULT
from benchmarks.speed import run as speed
from benchmarks.speed.report import markdown, table
from benchmarks.suites import DATASETS, SUITES

WHAT = {
    "main": "measure the data sets of the README",
    "run": "measure a suite: real, simulated, paper or main",
    "report": "only write the report of what was measured again",
    "evaluate": "time the evaluation itself",
    "pareto": "reward gain against energy distance for all update rules and anchors",
    "speed": "time scoring, training and generation against references in the same run",
}


def main(arguments: list[str] | None = None) -> None:
    """Run ``python -m benchmarks``."""
    options = _parser().parse_args(arguments)
    if options.what == "evaluate":
        print(evaluation_speed.run().to_string())
        return
    if options.what == "speed":
        _speed(options)
        return
    if options.what == "pareto":
        pareto.run(range(options.seeds), data=options.data, out=options.out)
        print(pareto_report.write(pareto.collect(options.out), options.page))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.suites or SUITES["main" if options.what == "main" else options.suite]
    if options.what in ("main", "run"):
        grid.run(names, options.models, range(options.seeds), data=options.data, out=options.out)
    results = grid.collect(options.out, names)
    if options.page:
        print(page.write(results, options.page, grid.provenance()))
        return
    print(report.write(results, options.out, short=options.short, provenance=grid.provenance()))


def _speed(options: argparse.Namespace) -> None:
    if not options.smoke:
        print(speed.run(options.out / "speed", options.parts or speed.PARTS, largest=options.largest))
        return
    rows = speed.smoke()
    print(markdown(table(rows)))
    sys.exit(speed.check(rows))


def _parser() -> argparse.ArgumentParser:
    what = "; ".join(f"{name}: {words}" for name, words in WHAT.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=WHAT, help=what)
    parser.add_argument("--suite", default="main", choices=SUITES, help="data sets that belong together")
    parser.add_argument(
        "--suites", nargs="+", choices=DATASETS, metavar="NAME", help=f"data sets: {', '.join(DATASETS)}"
    )
    parser.add_argument(
        "--models", nargs="+", default=DEFAULT, choices=ARMS, metavar="NAME", help=f"of {', '.join(ARMS)}"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with the real data sets")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--short", action="store_true", help="fewer rows and columns, no pictures")
    parser.add_argument("--page", type=Path, help="write the report into the documentation in this folder")
    parser.add_argument("--smoke", action="store_true", help="speed: only check that ratios hold, in under a minute")
    parser.add_argument("--parts", nargs="+", choices=speed.PARTS, help="speed: what to measure (default: all)")
    parser.add_argument("--largest", type=int, help="speed: largest size of the growth curves")
    return parser


if __name__ == "__main__":
    main()
