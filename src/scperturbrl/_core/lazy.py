"""Lazy exports (PEP 562), and discovery of modules."""

from __future__ import annotations

import importlib
import pkgutil
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
        Defining module of each public name.
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


def files_of(package: str) -> list[str]:
    """Names of the modules of `package` that begin with one underscore, without it; none of them is imported.

    Such a module defines the public function of that name. The underscore prevents a name clash with the function.

    Examples
    --------
    >>> "pearson_topk" in files_of("scperturbrl.verifiers")
    True
    """
    path = importlib.import_module(package).__path__
    return [found.name[1:] for found in pkgutil.iter_modules(path) if found.name.startswith("_") and not found.ispkg]


def declared(package: str, name: str) -> list[Any]:
    """Objects called `name` in the modules of `package`, in the order of the modules."""
    path = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(path)]
    return [getattr(module, name) for module in modules if hasattr(module, name)]
