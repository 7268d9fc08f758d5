"""Draw initial weights from a given random generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_DRAWS = frozenset(
    {
        torch.rand,
        torch.randn,
        Tensor.uniform_,
        Tensor.normal_,
        nn.init.uniform_,
        nn.init.normal_,
        nn.init.kaiming_uniform_,
    }
)


class OwnDraws(TorchFunctionMode):
    """Context in which modules of PyTorch draw their initial weights from `rng`.

    Their constructors take no generator and would use the global one, which belongs to the user and is shared by
    threads.

    Examples
    --------
    >>> import torch
    >>> from scperturbrl.flow.initial_weights import OwnDraws
    >>> before = torch.get_rng_state()
    >>> with OwnDraws(torch.Generator().manual_seed(0)):
    ...     layer = torch.nn.Linear(3, 2)
    >>> bool((torch.get_rng_state() == before).all())
    True
    """

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.rng = rng

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        own = dict(generator=self.rng) if func in _DRAWS else {}  # noqa: C408
        return func(*args, **{**(kwargs or {}), **own})
