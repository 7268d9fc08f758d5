"""Registry of verifiers by name, to which users can add their own."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from scperturbrl._core.lazy import files_of
from scperturbrl._core.register import add
from scperturbrl._core.validate import check_number
from scperturbrl.verifiers.base import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Item = TypeVar("Item", bound=Verifier | Callable[..., Verifier])

DEFAULT: tuple[str, ...] = ("pearson_topk", "rmse_topk", "de_spearman", "pathway_activity")
"""The four verifiers that scoring and post-training use by default."""

_FACTORIES: dict[str, Callable[..., Verifier]] = {}


def register(item: Item, *, overwrite: bool = False) -> Item:
    """Register a verifier by its name.

    Parameters
    ----------
    item
        A :class:`~scperturbrl.verifiers.Verifier`, or a function that returns one and can be called without
        arguments. Works as a decorator.
    overwrite
        Replace a verifier of the same name instead of raising an error.

    Returns
    -------
    `item`, unchanged.

    Raises
    ------
    ValueError
        If the name is taken.
    TypeError
        If `item` is neither.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> brightness = verifiers.Verifier(
    ...     name="brightness",
    ...     score=lambda cells, reference: cells.mean(-1),
    ...     label="Brightness",
    ...     description="Mean log-normalised expression of the cell.",
    ...     range=(0.0, float("inf")),
    ... )
    >>> _ = verifiers.register(brightness, overwrite=True)
    >>> verifiers.get("brightness").label
    'Brightness'
    """
    factory = _constant(item) if isinstance(item, Verifier) else item
    example = factory() if callable(factory) else None
    if not isinstance(example, Verifier):
        msg = f"{item!r} is neither a Verifier nor a function that returns one."
        raise TypeError(msg)
    add(_FACTORIES, example.name, factory, what="a verifier", overwrite=overwrite)
    return item


def get(name: str, **params: Any) -> Verifier:
    """Build the verifier called `name`.

    Parameters
    ----------
    name
        One of :func:`names`.
    **params
        Settings for its factory, such as `n_genes`.

    Raises
    ------
    KeyError
        If there is no such verifier; the message lists similar names.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.get("pearson_topk", n_genes=20).params["n_genes"]
    20
    """
    if name not in _FACTORIES:
        near = difflib.get_close_matches(name, _FACTORIES, cutoff=0.5) or names()
        msg = f"No verifier is named {name!r}; did you mean {' or '.join(map(repr, near))}? `show()` lists all."
        raise KeyError(msg)
    return _FACTORIES[name](**params)


def resolve(verifiers: str | Verifier | Iterable[str | Verifier] = DEFAULT) -> list[Verifier]:
    """Turn names and verifiers into verifiers, in the order given.

    Parameters
    ----------
    verifiers
        Names, :class:`~scperturbrl.verifiers.Verifier` objects, or a mix; also a single one.

    Raises
    ------
    ValueError
        If there is none, or two have the same name, because results are stored by name.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> [verifier.name for verifier in verifiers.resolve(["rmse_topk", verifiers.de_spearman(soft=True)])]
    ['rmse_topk', 'de_spearman']
    """
    chosen = [verifiers] if isinstance(verifiers, str | Verifier) else verifiers
    resolved = [item if isinstance(item, Verifier) else get(item) for item in chosen]
    if not resolved:
        msg = "`verifiers` is empty; name at least one (`scperturbrl.verifiers.show()` lists them)."
        raise ValueError(msg)
    found = [verifier.name for verifier in resolved]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        msg = f"Verifiers share the name {', '.join(twice)}; rename one with dataclasses.replace(verifier, name=...)."
        raise ValueError(msg)
    return resolved


def resolve_weights(verifiers: Sequence[Verifier], weights: Mapping[str, float] | None) -> torch.Tensor:
    """Return the weight ``(V,)`` of each verifier, 1 if `weights` does not name it.

    Raises
    ------
    TypeError
        If `weights` is not a mapping, or holds something that is not a number.
    KeyError
        If `weights` names an unknown verifier.
    ValueError
        If one is negative or not finite, or all are 0.
    """
    if weights is not None and not isinstance(weights, Mapping):
        msg = f"`weights` is {weights!r}; give a dictionary of verifiers and weights, such as `{{{verifiers[0].name!r}: 2.0}}`."
        raise TypeError(msg)
    given = dict(weights or {})
    names = [verifier.name for verifier in verifiers]
    unknown = sorted(set(given) - set(names))
    if unknown:
        msg = f"`weights` names {unknown}, which are not among the verifiers {names}."
        raise KeyError(msg)
    for name, value in given.items():
        check_number(**{f"weights[{name!r}]": value})
        if not 0 <= value < float("inf"):
            msg = (
                f"`weights[{name!r}]` is {value!r}; it must be finite and not negative. Use 0 to leave a verifier out."
            )
            raise ValueError(msg)
    found = torch.tensor([float(given.get(name, 1)) for name in names])
    if not found.any():
        msg = f"`weights` are 0 for all verifiers ({', '.join(names)}). Give at least one a weight above 0."
        raise ValueError(msg)
    return found


def names() -> list[str]:
    """Names of all verifiers, in the order of registration.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.names()[:2]
    ['pearson_topk', 'rmse_topk']
    """
    return list(_FACTORIES)


def _constant(verifier: Verifier) -> Callable[[], Verifier]:
    return lambda: verifier


for _name in (*DEFAULT, *(name for name in files_of("scperturbrl.verifiers") if name not in DEFAULT)):
    register(getattr(importlib.import_module(f"scperturbrl.verifiers._{_name}"), _name))
