"""Training one model in several processes: their number, their shares of the work, and sums over all of them.

Every process draws the random numbers that a single process would draw and keeps its share. Gradients are summed. So any
number of processes gives the weights of a single one, up to the order of summation.
"""

from __future__ import annotations

import atexit
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import distributed
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

_DRAWS: tuple[Callable[..., Any], ...] = (torch.rand, torch.randn, torch.randint)


class World(NamedTuple):
    """Number of this process, and number of all processes."""

    rank: int
    size: int

    def share(self, n: int) -> slice:
        """Part of n things that this process handles.

        Raises
        ------
        ValueError
            If there are fewer things than processes.
        """
        if n < self.size:
            msg = f"{self.size} processes cannot share {n} cells or conditions of a step. Start fewer processes."
            raise ValueError(msg)
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)


def world() -> World:
    """The group of training processes, or this process alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return World(0, 1)
    return World(distributed.get_rank(), distributed.get_world_size())


def join() -> World:
    """Join the process group of ``torchrun``, if there is one and it was not joined before."""
    if world().size == 1 and int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(distributed.destroy_process_group)
    return world()


def add_up(*tensors: Tensor) -> None:
    """Replace every tensor by its sum over all processes."""
    if world().size > 1 and tensors:
        # one message instead of many
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view_as(tensor))


def add_up_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes."""
    if world().size > 1:
        add_up(*(parameter.grad for parameter in parameters if parameter.grad is not None))


def mean_of_all(values: Tensor) -> Tensor:
    """Mean of the values of all processes; its gradients are the parts of this process, to be summed."""
    if world().size == 1:
        return values.mean()
    found = torch.stack([values.detach().sum(), values.new_tensor(float(values.numel()))])
    add_up(found)
    own = values.sum() / found[1]
    return own + (found[0] / found[1] - own.detach())


def joined(values: Tensor) -> Tensor:
    """The rows of all processes, in the order of the processes."""
    if world().size == 1:
        return values
    sizes = torch.zeros(world().size, dtype=torch.long, device=values.device)
    sizes[world().rank] = len(values)
    add_up(sizes)
    # all parts must have the same length in communication
    padded = values.new_zeros(int(sizes.max()), *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in range(world().size)]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)])


def any_of_all(*, flag: bool) -> bool:
    """Whether `flag` is true in any process."""
    if world().size == 1:
        return flag
    found = torch.tensor(float(flag))
    add_up(found)
    return bool(found > 0)


def of_first(values: Mapping[str, float]) -> dict[str, float]:
    """The numbers of the first process, so that all processes make the same decision."""
    if world().size == 1:
        return dict(values)
    found = torch.tensor(list(values.values()), dtype=torch.float64)
    distributed.broadcast(found, 0)
    return dict(zip(values, found.tolist(), strict=True))


def equalise(module: nn.Module) -> None:
    """Give every process the weights of the first one, because machines may differ by rounding."""
    if world().size > 1:
        for value in module.state_dict().values():
            distributed.broadcast(value, 0)


def shared_draws(n: int) -> AbstractContextManager[Any]:
    """Context in which this process draws its share of the random numbers of a single process for n things."""
    return nullcontext() if world().size == 1 else _SharedDraws(n)


class _SharedDraws(TorchFunctionMode):
    """Draws for all n things and keeps the rows of this process."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n, self.own = n, world().share(n)

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _DRAWS or kwargs.get("generator") is None:
            return func(*args, **kwargs)
        draw: Callable[..., Any] = func
        bounds = [arg for arg in args if draw is torch.randint and isinstance(arg, int)]
        size = [arg for arg in args if not isinstance(arg, int)] or [args]
        n_rows, *rest = size[0]
        # each of the things may have several rows
        each = n_rows // (self.own.stop - self.own.start)
        whole = draw(*bounds, (each * self.n, *rest), **kwargs)
        return whole[each * self.own.start : each * self.own.stop]
