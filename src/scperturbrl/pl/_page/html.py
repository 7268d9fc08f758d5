"""Elements of an HTML page: tables, images, sections."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 72rem; padding: 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
p, li { max-width: 46rem; }
.quiet { color: #595959; }
.verdict { font-size: 1.15rem; border-left: 4px solid #1f6f8b; background: #f2f7f9; padding: .7rem 1rem; max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #eee; }
thead th { vertical-align: bottom; border-bottom: 1px solid #999; max-width: 8rem; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; min-width: 9rem; }
th.text, td.text { text-align: left; }
tr.own td { font-weight: 600; background: #f2f7f9; }
tr.told td { color: #595959; font-style: italic; border-top: 1px solid #999; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #595959; max-width: 46rem; font-size: .9rem; }
summary { cursor: pointer; font-weight: 600; margin: .5rem 0; }
dl { display: grid; grid-template-columns: minmax(8rem, auto) 1fr; gap: .15rem 1rem; font-size: .88rem; }
dt { color: #595959; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 45rem) { body { padding: 1rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media (max-width: 60rem) { .wide::before { content: "Wide tables scroll sideways."; color: #595959; font-size: .8rem; } }
@media print { details > * { display: block; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole document without external resources."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{"".join(parts)}</body></html>\n'


def file_of(path: str | os.PathLike[str]) -> Path:
    """The file at `path`, which must not be a folder."""
    file = Path(path)
    if file.is_dir():
        msg = f"`path` is {str(path)!r}, a folder. Name a file in it, such as {str(file / 'report.html')!r}."
        raise ValueError(msg)
    return file


def write(file: Path, title: str, parts: Iterable[str]) -> Path:
    """Write a :func:`page` to `file`, whose folder is created if necessary."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(title, parts), encoding="utf-8")
    return file


def section(title: str, *parts: str) -> str:
    """Return a heading and its content."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def paragraph(text: str, *, role: str = "") -> str:
    """Return a paragraph; `role` is a class of the style sheet."""
    return f"<p{f' class={role!r}' if role else ''}>{_words(text)}</p>"


def items(sentences: Iterable[str]) -> str:
    """Return a list."""
    return f"<ul>{''.join(f'<li>{_words(text)}</li>' for text in sentences)}</ul>"


def _words(text: str) -> str:
    """Escaped text in which no percent sign begins a line."""
    return escape(text).replace(" %", "&nbsp;%")


def table(frame: pd.DataFrame, *, own: Sequence[str] = (), told: str = "") -> str:
    """Return a table with the index as first column; rows named in `own` stand out, and the row `told` is quieter."""
    head = f"<th>{escape(str(frame.index.name or ''))}</th>"
    for i, name in enumerate(frame.columns):
        is_text = len(frame) > 0 and all(isinstance(value, str) for value in frame.iloc[:, i])
        head += f"<th{' class=text' if is_text else ''}>{escape(str(name))}</th>"
    body = []
    for name, row in zip(frame.index, frame.itertuples(index=False, name=None), strict=True):
        cells = "".join(_cell(value) for value in row)
        role = " class=own" if name in own else " class=told" if name == told else ""
        body.append(f"<tr{role}><td>{escape(str(name))}</td>{cells}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, str):
        return f'<td class="text">{_words(value)}</td>'
    return f"<td>{number(value)}</td>"


def number(value: float) -> str:
    """Return a number in a short readable form."""
    if pd.isna(value):
        return "-"
    if isinstance(value, (int, np.integer)):
        return str(value)
    size = abs(float(value))
    return f"{value:.3f}" if size < 10 else f"{value:.1f}" if size < 1e4 else f"{value:.2g}"


def settings(values: Mapping[str, Any]) -> str:
    """Return names with their values."""
    rows = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(_plain(value))}</dd>" for name, value in values.items())
    return f"<dl>{rows}</dl>"


def _plain(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def details(title: str, *parts: str) -> str:
    """Return a section that is collapsed by default."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>"


def picture(figure: Figure, *, alt: str, caption: str) -> str:
    """Return a figure as an embedded PNG, and close it."""
    import matplotlib.pyplot as plt

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=140, bbox_inches="tight")
    plt.close(figure)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt, quote=True)}">'
        f"<figcaption>{_words(caption)}</figcaption></figure>"
    )
