"""Measurements as a table, a plot and a CSV."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmarks.speed.row import Row

_UNITS = {"s": "CPU seconds", "MB": "Memory (MB)"}


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """All rows, in order."""
    return pd.DataFrame([row.plain() for row in rows])


def markdown(frame: pd.DataFrame) -> str:
    """The table with three significant digits."""
    shown = frame.copy()
    for name in ("value", "ratio", "stated"):
        shown[name] = [_digits(value) for value in frame[name]]
    lines = ["| " + " | ".join(map(str, shown.columns)) + " |", "|" + "---|" * len(shown.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in shown.itertuples(index=False)]
    return "\n".join(lines)


def markdown_floor(frame: pd.DataFrame) -> str:
    """The arithmetic of :mod:`benchmarks.speed.floor`."""
    lines = ["| floor of | operations | bytes |", "|---|---|---|"]
    lines += [f"| {row.what} | {row.operations:.3g} | {row.bytes:.3g} |" for row in frame.itertuples()]
    return "\n".join(lines)


def _digits(value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def device() -> str:
    """Processor and versions."""
    packages = ("torch", "numpy", "scipy", "decoupler", "pertpy", "scperturbrl")
    return f"{_processor()}, {', '.join(f'{name} {version(name)}' for name in packages)}, Python {platform.python_version()}"


def _processor() -> str:
    from pathlib import Path

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def growth_picture(growth: pd.DataFrame, exponents: pd.DataFrame, file: Path) -> None:
    """Time and memory on logarithmic axes, one column an axis; the exponents stand in the legends."""
    import matplotlib.pyplot as plt

    axes_names = list(dict.fromkeys(growth["axis"]))
    figure, axes = plt.subplots(2, len(axes_names), figsize=(4 * len(axes_names), 6.4), squeeze=False, sharex="col")
    for column, axis in enumerate(axes_names):
        for row, unit in enumerate(_UNITS):
            _curves(axes[row, column], growth[growth["axis"] == axis], exponents[exponents["axis"] == axis], unit)
            axes[row, 0].set_ylabel(_UNITS[unit])
        axes[1, column].set_xlabel(axis.capitalize())
    _save(figure, file)


def _curves(ax: Axes, growth: pd.DataFrame, exponents: pd.DataFrame, unit: str) -> None:
    slope = dict(zip(exponents["quantity"], exponents["exponent"], strict=True))
    for quantity, rows in growth.groupby("quantity", sort=False):
        name, own = str(quantity).rsplit(", ", 1)
        if own != unit:
            continue
        label = f"{name} ({slope[quantity]:.2f})" if quantity in slope else name
        ax.loglog(rows["size"], rows["value"].clip(lower=1e-2), marker="o", markersize=4, label=label)
    ax.legend(fontsize=7, frameon=False, title="stage (exponent)", title_fontsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def solver_picture(curve: pd.DataFrame, file: Path) -> None:
    """Energy distance against function evaluations."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.8, 3.2))
    for solver, rows in curve.groupby("solver", sort=False):
        ax.plot(rows["evaluations"], rows["distance"], marker="o", markersize=4, label=str(solver).capitalize())
    ax.set_xscale("log")
    ax.set_xlabel("Function evaluations of the velocity")
    ax.set_ylabel("Energy distance\n(share of the effects' own)")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    import matplotlib.pyplot as plt

    figure.tight_layout()
    figure.savefig(file, dpi=150)
    plt.close(figure)
