"""Final steps of any training: set means, choose the share of the linear part, and run the self-check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import log
from scperturbrl.data.generator.linear import fit_recentring
from scperturbrl.data.generator.self_check import self_check, self_check_problems
from scperturbrl.data.generator.trained_means import set_trained_means

if TYPE_CHECKING:
    import torch

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator


def finish_generator(
    stored: StoredGenerator, cells: Cells, *, seed: int, device: torch.device, means: bool = True
) -> None:
    """Correct means, choose the share of the linear part, and compare generated with training cells.

    Parameters
    ----------
    stored
        Trained generator, changed in place; ``fitted`` then holds only the shares and the self-check.
    cells
        Training cells.
    seed, device
        Seed, and device of the flow.
    means
        Whether to set the means of trained conditions again. Post-training keeps the means of its parent, because its
        guard monitored cells with these means.
    """
    # nothing of a generator from which it continued
    stored.fitted = {}
    if means:
        set_trained_means(stored, cells, seed=seed)
    if stored.params["prior"] == "linear":
        fit_recentring(stored, cells, seed=seed, device=device)
    stored.fitted["self_check"] = measured = self_check(stored, cells, seed=seed)
    for problem in self_check_problems(measured):
        log.tell(f"Generated cells of training conditions differ from the real ones: {problem}.")
