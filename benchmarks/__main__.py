"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from benchmarks import main_job
from benchmarks.suites import SUITES


def main() -> None:
    """Run ``python -m benchmarks main`` or redraw its report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what", choices=["main", "report"], help="measure, or only rewrite the report of what was measured"
    )
    parser.add_argument("--suites", nargs="+", default=list(SUITES), choices=SUITES)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with the real data sets")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--short", action="store_true", help="fewer rows and columns")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.what == "main":
        for suite in arguments.suites:
            for seed in range(arguments.seeds):
                _measure(suite, seed, arguments.data, arguments.out)
    found = [pd.read_csv(file) for suite in arguments.suites for file in sorted(arguments.out.glob(f"{suite}-*.csv"))]
    report = main_job.summarise(pd.concat(found), short=arguments.short)
    (arguments.out / "report.md").write_text(report, encoding="utf-8")
    print(report)


def _measure(suite: str, seed: int, data: Path, out: Path) -> None:
    file = out / f"{suite}-{seed}.csv"
    if file.exists():
        print(f"{file} exists and is kept; delete it to measure again")
        return
    main_job.run(suite, seed, data).to_csv(file, index=False)
    print(f"wrote {file}", flush=True)


if __name__ == "__main__":
    main()
