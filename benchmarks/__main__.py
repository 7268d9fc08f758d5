"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import (
    backbones,
    calibration,
    campaigns,
    denoising,
    equal_time,
    evaluation_speed,
    folds,
    grid,
    page,
    pareto,
    pareto_report,
    post_training,
    report,
    screening,
    screening_report,
    stations,
    trained,
    verdicts,
)
from benchmarks.arms import ARMS, BASE, BASELINES, DEFAULT
from benchmarks.kept import keep, read, table_file
from benchmarks.speed import run as speed
from benchmarks.speed.report import markdown, table
from benchmarks.suites import CHECKED, DATASETS, SCREENED, SUITES, TRAINED

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

WHAT = {
    "main": "measure simulated, kang, norman and zhao",
    "run": "measure a suite: real, simulated, paper or main",
    "report": "only write the report of existing measurements again",
    "folds": "measure a suite and print every fold with every baseline",
    "verdicts": "measure a suite, compare the generator with the best simple rule of each data set, and keep the verdicts",
    "results": "write the page of results and the table of the README from what folds, verdicts and trained measured",
    "trained": "compare cells of trained conditions with held-out real cells",
    "evaluate": "time the evaluation itself",
    "backbones": "compare spaces and backbones of the generator, each fitted for as many minutes",
    "equal-time": "as many CPU minutes for the generator, CellFlow and scGen",
    "post-training": "what post-training does to held-out conditions, compared with equally long extra training",
    "pareto": "reward gain against energy distance for all update rules and anchors",
    "screen": "rank held-out conditions by an objective, with baselines; coverage and width of intervals",
    "campaigns": "number of measurements needed to find the best simulated pairs, for every strategy",
    "denoising": "mean effects of held-out combinations, from measured and from denoised effects of the trained ones",
    "stations": "files that a reader opens to follow one call of fit_generator, rl_finetune and evaluate",
    "speed": "time scoring, training and generation against references in the same run",
}


def main(arguments: list[str] | None = None) -> None:
    """Run ``python -m benchmarks``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.what != "equal-time" and not set(options.models or DEFAULT) <= set(ARMS):
        parser.error(f"--models are of {', '.join(ARMS)}")
    if options.what != "trained" and set(options.suites or []) & set(TRAINED):
        parser.error(f"only `trained` takes {', '.join(TRAINED)}, of which no condition is held out")
    if options.what != "screen" and set(_names(options)) & set(SCREENED):
        parser.error(f"only `screen` takes {', '.join(SCREENED)}, from which no generator can be fitted")
    if options.again and options.what not in ("main", "run", "folds", "verdicts", "post-training"):
        parser.error("--again is for main, run, folds, verdicts and post-training")
    options.out.mkdir(parents=True, exist_ok=True)
    _COMMANDS[options.what](options)


def _evaluate(options: argparse.Namespace) -> None:
    del options
    print(evaluation_speed.run().to_string())


def _stations(options: argparse.Namespace) -> None:
    del options
    print(stations.run().to_string())


def _grid(options: argparse.Namespace) -> None:
    names = _names(options)
    if options.what in ("main", "run"):
        where = {"data": options.data, "out": options.out}
        grid.run(names, options.models or DEFAULT, range(options.seeds), **where, again=options.again)
    results = grid.collect(options.out, names)
    print(report.write(results, options.out, short=options.short, provenance=grid.provenance()))


def _names(options: argparse.Namespace) -> list[str]:
    suite = "main" if options.what == "main" else options.suite
    return options.suites or SUITES.get(suite, [suite])


def _folds(options: argparse.Namespace) -> None:
    models = options.models or [BASE]
    results = _measured(options, models)
    print(folds.write(results, models, options.out, _title(options)))
    print(calibration.write(results, options.out))


def _verdicts(options: argparse.Namespace) -> None:
    results = _measured(options, options.models or [BASE])
    print(verdicts.write(results, options.out, _title(options)))
    print(calibration.write(results, options.out))


def _measured(options: argparse.Namespace, models: list[str]) -> pd.DataFrame:
    names, where = _names(options), {"data": options.data, "out": options.out}
    grid.run(names, [BASELINES, *models], range(options.seeds), **where, again=options.again)
    return grid.collect(options.out, names)


def _title(options: argparse.Namespace) -> str:
    return "_".join(options.suites) if options.suites else options.suite


def _results(options: argparse.Namespace) -> None:
    print(page.write(options.out, options.page or Path("docs")))


def _trained(options: argparse.Namespace) -> None:
    names = options.suites or CHECKED
    results = trained.run(names, range(options.seeds), data=options.data, out=options.out)
    print(trained.markdown(results[results["suite"].isin(names)]))


def _post_training(options: argparse.Namespace) -> None:
    where = {"data": options.data, "out": options.out}
    results = post_training.run(_names(options), range(options.seeds), **where, again=options.again)
    print(post_training.markdown(results[results["suite"].isin(_names(options))]))


def _pareto(options: argparse.Namespace) -> None:
    pareto.run(range(options.seeds), data=options.data, out=options.out)
    print(pareto_report.write(pareto.collect(options.out), options.page))


def _screen(options: argparse.Namespace) -> None:
    names = options.suites or ([options.suite] if options.suite in SCREENED else screening.SUITES)
    results = screening.run(names, range(options.seeds), data=options.data, out=options.out)
    print(screening_report.write(results, options.out))


def _campaigns(options: argparse.Namespace) -> None:
    results = campaigns.run(range(options.seeds))
    keep(results, table_file(options.out, "campaigns"))
    print(campaigns.summary(results))


def _denoising(options: argparse.Namespace) -> None:
    results = denoising.run(options.suites or denoising.SUITES, range(options.seeds), data=options.data)
    print(denoising.summary(results))


def _equal_time(options: argparse.Namespace) -> None:
    models = [name for name in equal_time.MODELS if name in (options.models or equal_time.MODELS)]
    folder = options.page / page.PICTURES if options.page else options.out
    folder.mkdir(parents=True, exist_ok=True)
    for suite in options.suites or [equal_time.COMBINATIONS]:
        where = {"out": options.out, "data": options.data, "suite": suite}
        equal_time.run(options.minutes or [1, 3, 10], models, range(options.seeds), **where)
        results, name = equal_time.collect(options.out, suite), equal_time.name_of(suite)
        equal_time.picture(results, folder / f"{name}.png")
        print(equal_time.markdown(results))
        if suite != equal_time.COMBINATIONS:
            print(equal_time.fold_markdown(results, read(table_file(options.out, name))))


def _backbones(options: argparse.Namespace) -> None:
    arms, (minutes, *_) = options.arms or list(backbones.ARMS), options.minutes or [3]
    results = backbones.run(options.out, arms, range(options.seeds), minutes=minutes, device=options.device)
    print(backbones.markdown(results))


def _speed(options: argparse.Namespace) -> None:
    if not options.smoke:
        print(speed.run(options.out / "speed", options.parts or speed.PARTS, largest=options.largest))
        return
    rows = speed.smoke()
    print(markdown(table(rows)))
    sys.exit(speed.check(rows))


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "main": _grid,
    "run": _grid,
    "report": _grid,
    "folds": _folds,
    "verdicts": _verdicts,
    "results": _results,
    "trained": _trained,
    "evaluate": _evaluate,
    "post-training": _post_training,
    "pareto": _pareto,
    "backbones": _backbones,
    "equal-time": _equal_time,
    "screen": _screen,
    "campaigns": _campaigns,
    "denoising": _denoising,
    "stations": _stations,
    "speed": _speed,
}


def _parser() -> argparse.ArgumentParser:
    what = "; ".join(f"{name}: {words}" for name, words in WHAT.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=WHAT, help=what)
    parser.add_argument(
        "--suite",
        default="main",
        choices=list(dict.fromkeys([*SUITES, *DATASETS])),
        metavar="NAME",
        help=f"data sets that belong together ({', '.join(SUITES)}), or one",
    )
    parser.add_argument(
        "--suites",
        nargs="+",
        choices=[*DATASETS, *TRAINED, *SCREENED],
        metavar="NAME",
        help=f"data sets: {', '.join([*DATASETS, *TRAINED, *SCREENED])}",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        choices=[*dict.fromkeys([*ARMS, *equal_time.MODELS])],
        metavar="NAME",
        help=f"of {', '.join(ARMS)} (default: {', '.join(DEFAULT)}); equal-time: of {', '.join(equal_time.MODELS)} (all)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument(
        "--minutes",
        type=float,
        nargs="+",
        help="equal-time: CPU minutes (default: 1 3 10); backbones: to fit each of them (default: 3)",
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with the real data sets")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--again", action="store_true", help="repeat existing measurements; main, run, folds and verdicts"
    )
    parser.add_argument("--short", action="store_true", help="fewer rows and columns, no pictures")
    parser.add_argument(
        "--page", type=Path, help="results, pareto, equal-time: folder of the documentation to write into"
    )
    parser.add_argument("--arms", nargs="+", choices=backbones.ARMS, help="backbones: which (default: all)")
    parser.add_argument("--device", default="auto", help="backbones: where to fit (default: auto)")
    parser.add_argument("--smoke", action="store_true", help="speed: only check that ratios hold, in under a minute")
    parser.add_argument("--parts", nargs="+", choices=speed.PARTS, help="speed: what to measure (default: all)")
    parser.add_argument("--largest", type=int, help="speed: largest size of the growth curves")
    return parser


if __name__ == "__main__":
    main()
