"""Draw how rewards are hacked: ``python docs/make_hacking.py RESULTS`` writes ``docs/_static/hacking.svg``.

``RESULTS`` is the folder of the benchmark: ``python -m benchmarks main --suites simulated --seeds 2 --models baselines
generator generator_rl unguarded_60 --out RESULTS``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd

import scperturbrl as spr

MODELS = ["generator", "generator_rl", "unguarded_60"]
TITLES = {
    "unguarded_60": "Unguarded, 60 rounds",
    "generator_rl": "With the defaults, the same cells",
}


def main(results: Path) -> None:
    """Draw, write, and print the means that the page quotes."""
    frame = pd.read_csv(results / "simulated.csv.gz", keep_default_na=False, na_values=[""])
    seeds = sorted(frame["seed"].unique())[:2]
    frame = frame[frame["seed"].isin(seeds)]
    adata = ad.AnnData(uns={"evaluation": frame[frame["model"].isin(MODELS)]})
    for key in TITLES:
        saved = results / "simulated" / str(seeds[0]) / "generators" / key
        config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
        parts = {"params": config["params"], "fitted": config["fitted"] | {"alarms": []}}
        adata.uns[key] = {"history": pd.read_csv(saved / "history.csv"), **parts}
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "scperturbrl"}):
        draw(adata).savefig(Path(__file__).parent / "_static" / "hacking.svg", metadata={"Date": None})
    shown = [f"score_{verifier}" for verifier in spr.verifiers.DEFAULT] + ["energy_distance", "mse", "variance_ratio"]
    table = frame.pivot_table(index="model", columns="metric", values="value").loc[[*MODELS, "split_half"], shown]
    sys.stdout.write(f"{table.round(3).to_string()}\n")


def draw(adata: ad.AnnData) -> plt.Figure:
    """Proxy and gold of both runs, and a verifier against the energy distance on held-out combinations."""
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.3), layout="constrained")
    for ax, (key, title) in zip(axes, TITLES.items(), strict=False):
        spr.pl.training_history(adata, key=key, panels="proxy_gold", ax=ax)
        ax.set(title=title, ylim=(-1.1, 1), ylabel="0 control cells, 1 real cells")
    spr.pl.verifier_agreement(adata, verifier="pearson_topk", metric="energy_distance", models=MODELS, ax=axes[2])
    axes[2].set_title("Held-out combinations of two data sets")
    for ax in axes:
        legend = ax.get_legend()
        handles, labels = legend.legend_handles, [text.get_text() for text in legend.texts]
        for old in [legend, *(artist for artist in ax.artists if isinstance(artist, mpl.legend.Legend))]:
            old.remove()
        ax.legend(*(ax.get_legend_handles_labels() if ax is not axes[2] else (handles, labels)), fontsize="small")
        ax.get_legend().set(loc="upper center", bbox_to_anchor=(0.5, -0.16))
        ax.get_legend().set_frame_on(False)
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1]))
