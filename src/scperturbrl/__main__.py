"""Command line: ``python -m scperturbrl demo``, ``run`` and ``report``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scperturbrl import __version__
from scperturbrl._run import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Sequence

# exit status that shells report after an interrupt
INTERRUPTED = 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scperturbrl",
        description="Verifier-guided post-training of generative models of single-cell perturbation responses.",
    )
    parser.add_argument("--version", action="version", version=f"scperturbrl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser(
        "demo",
        help="every step on simulated cells, in a few minutes on a CPU",
        description=(
            "Simulate a Perturb-seq screen, hold combinations out, fit a generator and post-train it. Evaluate it "
            "together with the same generator after extra training, baselines and the ceiling. Write the AnnData and "
            "pictures."
        ),
    )
    demo.add_argument("--out", type=Path, default=Path("scperturbrl-demo"), help="folder to write to (%(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="seed of all random numbers (%(default)s)")
    demo.add_argument(
        "--fast", action="store_true", help="a tiny screen and very little training, only to check that every step runs"
    )
    for add in COMMANDS:
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv
        Arguments; those of the process by default.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        if arguments.command != "demo":
            arguments.action(arguments)
            return 0
        # the dependencies take seconds to load, and --help and --version do not need them
        from scperturbrl._demo import FAST, FULL, run

        run(arguments.out, FAST if arguments.fast else FULL, seed=arguments.seed)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Files of an earlier run, if any, are unchanged.\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
