"""Peak memory of fit and generate, or of scoring, in a fresh process; prints it as JSON."""

from __future__ import annotations

import json
import sys

import torch

import scperturbrl as spr
from benchmarks.speed.memory import peak
from benchmarks.speed.screen import screen


def score(options: dict[str, int]) -> None:
    """Score every cell of a sparse layer; prints what that adds to the memory."""
    torch.set_num_threads(1)
    adata = screen(options["n_cells"], options["n_genes"], options["n_conditions"])
    spr.pp.reference(adata)
    adata.layers["scored"] = adata.X.copy()
    # what is imported and compiled only then
    small = screen(1500, 300, 10)
    spr.pp.reference(small)
    spr.tl.score(small)
    with peak() as found:
        spr.tl.score(adata, layer="scored")
    print(json.dumps({"extra": found.extra}))


def main(options: dict[str, int]) -> None:
    """Fit for some steps and generate a cell for every perturbed cell."""
    torch.set_num_threads(1)
    with peak() as imported:
        spr.tl.fit_generator  # noqa: B018
    adata = screen(options["n_cells"], options["n_genes"], options["n_conditions"])
    with peak() as found:
        spr.tl.fit_generator(adata, n_steps=options["n_steps"], device="cpu", progress=False)
        spr.tl.generate(adata, device="cpu")
    print(json.dumps({"peak": found.total, "imported": imported.total}))


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    (score if wanted.pop("what") == "score" else main)(wanted)
