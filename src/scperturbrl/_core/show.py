"""Labelled values as text and as HTML, for display in notebooks."""

from __future__ import annotations

import textwrap
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH = 100
_STYLE = "text-align: left; vertical-align: top; padding: 2px 12px 2px 0"


def as_text(title: str, rows: Mapping[str, str]) -> str:
    """Title and aligned rows; long values continue in their own column.

    Examples
    --------
    >>> print(as_text("Thing", {"Name": "x", "Colour": "red"}))
    Thing
      Name    x
      Colour  red
    """
    column = max(map(len, rows), default=0) + 4
    lines = [title]
    for label, value in rows.items():
        wrapped = textwrap.wrap(value, WIDTH - column) or [""]
        lines += [f"  {label:<{column - 2}}{wrapped[0]}", *(" " * column + part for part in wrapped[1:])]
    return "\n".join(lines)


def as_html(title: str, rows: Mapping[str, str]) -> str:
    """Title and a table of two columns, everything escaped.

    Examples
    --------
    >>> "<th" in as_html("Thing", {"Name": "<x>"}), "&lt;x&gt;" in as_html("Thing", {"Name": "<x>"})
    (True, True)
    """
    body = "".join(
        f'<tr><th style="{_STYLE}">{escape(label)}</th><td style="{_STYLE}">{escape(value)}</td></tr>'
        for label, value in rows.items()
    )
    return f"<div><strong>{escape(title)}</strong><table><tbody>{body}</tbody></table></div>"
