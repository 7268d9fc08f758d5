"""Shared parts of docstrings."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = TypeVar("Function", bound=Callable[..., Any])

PARTS = {
    "modality": """
        modality
            Modality of a MuData; by default its only one, or the only one that was set up.
        """,
    "figure": """
        show
            Whether to show the figure; as ``scanpy.settings.autoshow`` by default. Never if `ax` is given.
        return_fig
            Return the figure instead of the axes.
        """,
}


def documented(function: Function) -> Function:
    """Fill :data:`PARTS` into the docstring of `function`, where a line holds the name of one in braces.

    Examples
    --------
    >>> @documented
    ... def verb(adata, modality=None):
    ...     \"\"\"Do it.
    ...
    ...     {modality}
    ...     \"\"\"
    >>> print(verb.__doc__.splitlines()[2].strip())
    modality
    """
    # without docstrings (python -OO) there is nothing to fill
    if function.__doc__:
        function.__doc__ = re.sub(r"^( *)\{(\w+)\}$", _part, function.__doc__, flags=re.MULTILINE)
    return function


def _part(found: re.Match[str]) -> str:
    return textwrap.indent(textwrap.dedent(PARTS[found[2]]).strip(), found[1])
