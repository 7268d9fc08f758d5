"""Make functions independent of the user's PyTorch modes."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def own_torch(verb: Callable[P, R]) -> Callable[P, R]:
    """Run `verb` with gradients and in float32, also inside of ``no_grad``, ``inference_mode`` and ``autocast``.

    These modes are local to the thread, so other code is not affected. The default dtype is global and is not changed.

    Parameters
    ----------
    verb
        Public function.

    Returns
    -------
    The same function. It raises ``RuntimeError`` if the default dtype of PyTorch is not float32.

    Examples
    --------
    >>> import torch
    >>> from scperturbrl._core.machine.own_torch import own_torch
    >>> with torch.no_grad():
    ...     own_torch(torch.is_grad_enabled)()
    True
    """

    @wraps(verb)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        import torch

        if torch.get_default_dtype() != torch.float32:
            msg = (
                f"The default dtype of PyTorch is {torch.get_default_dtype()}; this package computes in float32. Call "
                "`torch.set_default_dtype(torch.float32)` first, and restore your default afterwards."
            )
            raise RuntimeError(msg)
        kinds = [kind for kind in ("cpu", "cuda") if kind == "cpu" or torch.cuda.is_available()]
        with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(kinds[0], enabled=False):
            if len(kinds) == 1:
                return verb(*args, **kwargs)
            with torch.autocast(kinds[1], enabled=False):
                return verb(*args, **kwargs)

    return inside
