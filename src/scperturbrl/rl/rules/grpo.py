"""Policy gradient on noisy paths: Flow-GRPO with its known errors corrected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from scperturbrl.rl.rules.base import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.rl.rules.base import Batch, Field, Fields

N_STEPS = 10


class Step(NamedTuple):
    """Gaussian step of a path: mean ``(n, d)`` and standard deviation ``(n, 1)``."""

    mean: Tensor
    sd: Tensor


def noisy_step(velocity: Tensor, x: Tensor, t: Tensor, end: Tensor) -> Step:
    """Memoryless step from time t to time `end`, which keeps the population at every time.

    With the cell ``x1 = x + (1 - t) v`` and the noise ``e = x - t v`` that the velocity implies, the next state is
    ``end x1 + (1 - end) (rho e + sqrt(1 - rho^2) w)`` with fresh noise w and ``rho = t (1 - end) / (end (1 - t))``. At time 0
    none of the noise is kept, so the path does not depend on where it started. Only then does a penalty on paths equal one on
    cells (Adjoint Matching, arXiv 2409.08861). An Euler step of the same equation overshoots, because its drift is
    infinite at time 0.

    Parameters
    ----------
    velocity, x
        ``(n, d)``
    t, end
        ``(n,)`` with ``0 <= t < end <= 1``.
    """
    t, end = t[:, None], end[:, None]
    cell, noise = x + (1 - t) * velocity, x - t * velocity
    rho = t * (1 - end) / (end * (1 - t))
    return Step(end * cell + (1 - end) * rho * noise, (1 - end) * (1 - rho.square()).sqrt())


@dataclass(frozen=True)
class Grpo:
    """Clipped policy gradient with an exact penalty on the divergence from the pretrained generator.

    The loss of a random step of each path is ``-min(r A, clip(r) A) + 2 anchor KL``. With D the change of the step's mean and e
    the noise that was drawn, the log ratio r is ``D e / sd`` summed over dimensions. The Gaussian ratio has
    ``-D^2 / (2 sd^2)`` in addition, which is always negative: with this term, clipping never acts on good cells, and the policy
    drifts (GRPO-Guard, arXiv 2510.22319). KL is the closed form of the whole path, ``K D^2 / (2 sd^2)`` against the pretrained step.

    Attributes
    ----------
    anchor
        Weight of the pretrained generator.
    n_steps
        Steps K of a path. The last one has no noise and is not used in training.
    clip
        Largest relative change of a step's probability that is rewarded.

    Notes
    -----
    After Flow-GRPO (arXiv 2505.05470), which uses the mean over dimensions instead of the sum and omits the step size from KL.
    """

    anchor: float
    n_steps: int = N_STEPS
    clip: float = 0.2

    @torch.no_grad()
    def sample(self, field: Field, noise: Tensor, rng: torch.Generator) -> Tensor:
        """Noisy path of `n_steps` equal steps."""
        states = [noise]
        for number in range(self.n_steps):
            x = states[-1]
            t = x.new_full((len(x),), number / self.n_steps)
            step = noisy_step(field(x, t), x, t, t.new_full((len(x),), (number + 1) / self.n_steps))
            states.append(step.mean + step.sd * torch.randn(x.shape, generator=rng, device=x.device))
        return torch.stack(states)

    def __call__(self, fields: Fields, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Loss and distance at a random step of each path."""
        if batch.path is None:
            msg = "GRPO is trained on noisy paths; the batch has none."
            raise ValueError(msg)
        n, device = batch.path.shape[1], batch.path.device
        number = torch.randint(self.n_steps - 1, (n,), generator=rng, device=device)
        rows = torch.arange(n, device=device)
        x, after = batch.path[number, rows], batch.path[number + 1, rows]
        t = number / self.n_steps
        end = (number + 1) / self.n_steps
        velocity = fields.trained(x, t)
        with torch.no_grad():
            old, pretrained = fields.old(x, t), fields.pretrained(x, t)
        now, before, first = (noisy_step(v, x, t, end) for v in (velocity, old, pretrained))
        drawn = (after - before.mean) / before.sd
        log_ratio = ((now.mean - before.mean) / before.sd * drawn).sum(-1)
        ratio = log_ratio.clamp(-10, 10).exp()
        gain = torch.minimum(ratio * batch.advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * batch.advantage)
        divergence = (now.mean - first.mean).square().sum(-1) / (2 * before.sd.squeeze(-1).square())
        # one step represents all of them, in the gain and in the divergence
        loss = (2 * self.anchor * divergence - gain) * (self.n_steps - 1)
        return loss, (velocity - pretrained).square().mean(-1).detach()


RULE = Rule("grpo", lambda anchor, beta: Grpo(anchor), needs_noise=True)
