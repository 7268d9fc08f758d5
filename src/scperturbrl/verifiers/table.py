"""The list of all verifiers, as a table that can be read."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from scperturbrl._core.show import as_text
from scperturbrl.verifiers.registry import get, names

_COLUMNS = ["name", "label", "range", "needs", "differentiable", "safeguard", "description"]
_HEADINGS = ("Name", "Measures", "Range", "Gradient", "Needs")
_CELL = "text-align: left; vertical-align: top"


class VerifierTable(pd.DataFrame):  # type: ignore[misc]
    """DataFrame of verifiers that shows whole sentences: as blocks of text, or as an HTML table in a notebook."""

    def __repr__(self) -> str:
        """Show one block of text for every verifier."""
        blocks = []
        for row in self._records():
            rows = dict(zip(_HEADINGS[1:], row[1:], strict=True))
            blocks.append(as_text(row[0], rows))
        return "\n".join(blocks)

    def _repr_html_(self) -> str:
        head = "".join(f'<th style="{_CELL}">{heading}</th>' for heading in _HEADINGS)
        body = ""
        for name, measures, *rest in self._records():
            cells = [f"<code>{escape(name)}</code>", *map(escape, (measures, *rest))]
            body += "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _records(self) -> list[tuple[str, str, str, str, str]]:
        return [
            (
                str(row["name"]),
                f"{row['label']}. {row['description']}",
                _interval(row["range"]),
                "yes" if row["differentiable"] else "no",
                ", ".join(row["needs"]) or "nothing",
            )
            for _, row in self.iterrows()
        ]


def show() -> pd.DataFrame:
    """List all verifiers with their default settings.

    Returns
    -------
    A DataFrame with one row per verifier: its name, label, range, what it needs of a reference, whether it is
    differentiable, whether it is a safeguard, and what it measures. It prints as text, and in a notebook as a table,
    with nothing cut off.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.show()["label"].tolist()[:2]
    ['Pearson top-k similarity', 'RMSE top-k proximity']
    >>> verifiers.show()
    pearson_topk
      Measures  Pearson top-k similarity. ...
      Range     [-1, 1]
      Gradient  yes
      Needs     control_mean, ranked_genes, bank
    ...
    """
    verifiers = [get(name) for name in names()]
    rows: list[list[Any]] = [
        [verifier.reads if column == "needs" else getattr(verifier, column) for column in _COLUMNS]
        for verifier in verifiers
    ]
    return VerifierTable(rows, columns=_COLUMNS)


def _interval(bounds: tuple[float, float]) -> str:
    low, high = bounds
    left, right = "(" if low == -float("inf") else "[", ")" if high == float("inf") else "]"
    return f"{left}{low:g}, {high:g}{right}"
