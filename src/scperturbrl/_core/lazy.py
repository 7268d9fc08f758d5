"""Lazy exports (PEP 562): a name is imported when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def lazy_exports(
    package: str, names: Mapping[str, str], *, submodules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Build ``__getattr__``, ``__dir__`` and ``__all__`` for a package.

    Parameters
    ----------
    package
        Name of the package, its ``__name__``.
    names
        Public name to the module that defines it.
    submodules
        Names that are modules of the package themselves.

    Returns
    -------
    The three objects, to be bound to ``__getattr__``, ``__dir__`` and ``__all__``.
    """
    modules = set(submodules)
    exported = sorted({*names, *modules})

    def getter(name: str) -> Any:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name in names:
            return getattr(importlib.import_module(names[name]), name)
        msg = f"module {package!r} has no attribute {name!r}"
        raise AttributeError(msg)

    return getter, lambda: exported, exported
