"""All steps for a file, as run by ``python -m scperturbrl run``; an interrupted run can be continued."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scperturbrl._core import keys
from scperturbrl._core.files.given import make_folder, read_given
from scperturbrl._core.log import is_first_process
from scperturbrl._core.validate import check_positive

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from anndata import AnnData

LONGER = f"{keys.GENERATOR}_longer"
RECORD, RESULT, PAGE, STATES = "run.json", "run.h5ad", "report.html", "checkpoints"


def add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``run``; its options have the names of the arguments that they set.

    Parameters
    ----------
    commands
        Where to add it.
    """
    run = commands.add_parser(
        "run",
        help="set up, fit, post-train, evaluate and report a file of your own",
        description=(
            "Hold out conditions, fit a generator, post-train it, give the pretrained one extra training for "
            f"comparison, evaluate all of them and write {RESULT} and {PAGE}. Run the same command again to continue "
            "an interrupted run."
        ),
    )
    run.add_argument("file", type=Path, help="h5ad file of perturbed and control cells")
    run.add_argument("--out", type=Path, required=True, help="folder to write to")
    data = run.add_argument_group("data, as in pp.setup_anndata")
    data.add_argument("--target-sum", type=float, help="if X holds counts: normalise to this total, then log1p")
    data.add_argument("--perturbation-key", default="perturbation", help="column of obs (%(default)s)")
    data.add_argument("--control", default="control", help="its value for control cells (%(default)s)")
    data.add_argument(
        "--covariate-keys", nargs="+", default=[], metavar="COLUMN", help="columns of obs, such as cell_type"
    )
    data.add_argument("--dose-key", help="column of obs with doses")
    data.add_argument("--batch-key", help="column of obs with batches")
    data.add_argument("--layer", help="layer with the log-normalised expression; X by default")
    data.add_argument("--perturbation-sep", default="+", help="separator of combinations (%(default)s)")
    split = run.add_argument_group("what is held out, as in pp.split and pp.reference")
    split.add_argument(
        "--holdout", default="combinations", help="combinations, a column of obs, or a manifest (%(default)s)"
    )
    split.add_argument("--values", nargs="+", help="values of that column to hold out")
    split.add_argument("--fraction", type=float, default=0.3, help="share that is held out (%(default)s)")
    split.add_argument(
        "--validation-fraction", type=float, help="largest share of the perturbed cells for validation; see pp.split"
    )
    split.add_argument("--network", help="gene sets: hallmark, progeny, or a CSV file with source, target, weight")
    train = run.add_argument_group("training, as in tl.fit_generator, tl.rl_finetune and tl.evaluate")
    train.add_argument("--n-steps", type=int, default=2500, help="of fitting (%(default)s)")
    train.add_argument("--n-iterations", type=int, default=15, help="of post-training (%(default)s)")
    train.add_argument("--n-cells", type=int, default=500, help="generated per condition to evaluate (%(default)s)")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (%(default)s)")
    train.add_argument("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    run.set_defaults(action=lambda arguments: Road.of(arguments).walk())


@dataclass
class Road:
    """A run in a folder: its settings and its finished stages.

    Attributes
    ----------
    file
        The input.
    out
        Folder of the run.
    settings
        All settings that affect the result.
    done
        Names of finished stages.
    """

    file: Path
    out: Path
    settings: dict[str, Any]
    done: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Road:
        """Start a run, or continue the one in the folder.

        Parameters
        ----------
        arguments
            Parsed arguments of the command line.

        Returns
        -------
        The run.

        Raises
        ------
        SystemExit
            If the input does not exist, or the folder holds a run with other settings.
        """
        if not arguments.file.is_file():
            msg = f"There is no file {arguments.file}."
            raise SystemExit(msg)
        left_out = {"command", "action", "file", "out", "device"}
        settings = {name: value for name, value in vars(arguments).items() if name not in left_out}
        stat = arguments.file.stat()
        settings |= {"file": str(arguments.file.resolve()), "size": stat.st_size, "modified": stat.st_mtime_ns}
        road = cls(arguments.file, arguments.out, settings | {"device": arguments.device})
        record = arguments.out / RECORD
        if record.exists():
            found = json.loads(record.read_text(encoding="utf-8"))
            other = sorted(name for name in settings if found["settings"].get(name) != settings[name])
            if other:
                was = ", ".join(f"{name} was {found['settings'].get(name)!r}" for name in other)
                msg = f"{arguments.out} holds a run with other settings ({was}). Name another --out."
                raise SystemExit(msg)
            road.done = found["done"]
        return road

    def walk(self) -> None:
        """Run the remaining stages, and write after each of them."""
        make_folder(self.out)
        with warnings.catch_warnings():
            # these warnings concern the dependencies; warnings of this package are logged
            warnings.simplefilter("ignore")
            adata = read_given(self.out / RESULT if self.done else self.file)
            for name, stage in self._stages().items():
                if name in self.done:
                    _tell(f"{name}: done before")
                    continue
                _tell(f"{name} ...")
                start = time.perf_counter()
                try:
                    stage(adata)
                except (KeyError, ValueError) as error:
                    # these messages name the column or value at fault; a shell user does not need the traceback
                    counts = "\nThe option --target-sum 1e4 does both." if "raw counts" in str(error) else ""
                    msg = f"{name}: {error.args[0]}{counts}"
                    raise SystemExit(msg) from error
                self._keep(adata, name)
                _tell(f"{name}: {time.perf_counter() - start:.0f} s")
        _tell(f"Wrote {self.out / RESULT} and {self.out / PAGE}")

    def _stages(self) -> dict[str, Callable[[AnnData], None]]:
        return {
            "prepare": self._prepare,
            "fit": self._fit,
            "post-train": self._finetune,
            "extra training": self._longer,
            "generate and score": self._score,
            "evaluate": self._evaluate,
            "report": self._report,
        }

    def _keep(self, adata: AnnData, name: str) -> None:
        """Replace files atomically: a job may be killed at any time."""
        part = self.out / f"part-{RESULT}"
        adata.write_h5ad(part)
        part.replace(self.out / RESULT)
        self.done.append(name)
        record = self.out / f"part-{RECORD}"
        record.write_text(json.dumps({"settings": self.settings, "done": self.done}, indent=1), encoding="utf-8")
        record.replace(self.out / RECORD)

    def _prepare(self, adata: AnnData) -> None:
        import pandas as pd
        import scanpy as sc

        import scperturbrl as spr

        given = self.settings
        if given["target_sum"] is not None:
            check_positive(target_sum=given["target_sum"])
            sc.pp.normalize_total(adata, target_sum=given["target_sum"])
            sc.pp.log1p(adata)
        names = ("perturbation_key", "control", "covariate_keys", "dose_key", "batch_key", "layer", "perturbation_sep")
        spr.pp.setup_anndata(adata, **{name: given[name] for name in names})
        held_out = ("holdout", "values", "fraction", "validation_fraction", "seed")
        spr.pp.split(adata, **{name: given[name] for name in held_out})
        network = given["network"]
        table = pd.read_csv(network) if network and os.path.exists(network) else network  # noqa: PTH110 - a name or a path
        spr.pp.reference(adata, network=table, seed=given["seed"])

    def _train(self, adata: AnnData, verb: Callable[..., None], key: str, **options: Any) -> None:
        """Train with checkpoints, from which a second run continues."""
        shared = {name: self.settings[name] for name in ("seed", "device")}
        verb(adata, key_added=key, checkpoint_dir=self.out / STATES / key, resume=True, **shared, **options)
        if adata.uns[key]["fitted"]["stopped"] == "interrupted":
            raise KeyboardInterrupt

    def _fit(self, adata: AnnData) -> None:
        import scperturbrl as spr

        self._train(adata, spr.tl.fit_generator, keys.GENERATOR, n_steps=self.settings["n_steps"])

    def _finetune(self, adata: AnnData) -> None:
        import scperturbrl as spr

        self._train(adata, spr.tl.rl_finetune, keys.GENERATOR_RL, n_iterations=self.settings["n_iterations"])

    def _longer(self, adata: AnnData) -> None:
        import scperturbrl as spr

        minutes = float(adata.uns[keys.GENERATOR_RL]["fitted"]["seconds"]) / 60
        # limited by time, not by steps
        limits = {"n_steps": 1_000_000, "max_minutes": minutes, "learning_rate": 3e-4}
        self._train(adata, spr.tl.fit_generator, LONGER, init_from=keys.GENERATOR, **limits)

    def _score(self, adata: AnnData) -> None:
        import scanpy as sc

        import scperturbrl as spr

        spr.tl.score(adata)
        for key in (keys.GENERATOR, keys.GENERATOR_RL):
            spr.tl.generate(adata, key=key, seed=self.settings["seed"], device=self.settings["device"])
            # what scoring has to say was said of the measured cells
            with sc.settings.verbosity.override("error"):
                spr.tl.score(adata, layer=key)

    def _evaluate(self, adata: AnnData) -> None:
        import scperturbrl as spr

        given = {name: self.settings[name] for name in ("n_cells", "seed", "device")}
        spr.tl.evaluate(adata, keys=(keys.GENERATOR, LONGER, keys.GENERATOR_RL), **given)

    def _report(self, adata: AnnData) -> None:
        import matplotlib as mpl

        import scperturbrl as spr

        mpl.use("Agg")
        spr.pl.report(adata, self.out / PAGE, title=f"Predicted perturbation responses: {self.file.name}")


def _tell(text: str) -> None:
    """Print without buffering, so that the log of a running job is up to date."""
    if is_first_process():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``report``.

    Parameters
    ----------
    commands
        Where to add it.
    """
    page = commands.add_parser(
        "report",
        help="write an HTML report of an evaluated file",
        description="Write the report of pl.report for a file with an evaluation: verdict, tables, plots, settings.",
    )
    page.add_argument("file", type=Path, help="h5ad file with an evaluation")
    page.add_argument("--out", type=Path, help="page to write; next to the file by default")
    page.add_argument("--model", help="the model that the verdict compares with the others")
    page.set_defaults(action=_write_page)


def _write_page(arguments: argparse.Namespace) -> None:
    import matplotlib as mpl

    import scperturbrl as spr

    mpl.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = read_given(arguments.file)
        out = arguments.out or arguments.file.with_name(f"{arguments.file.stem}-report.html")
        title = f"Predicted perturbation responses: {arguments.file.name}"
        try:
            spr.pl.report(adata, out, model=arguments.model, title=title)
        except (KeyError, ValueError) as error:
            raise SystemExit(str(error.args[0])) from None
    _tell(f"Wrote {out}")


COMMANDS: Sequence[Callable[[Any], None]] = (add_run, add_report)
