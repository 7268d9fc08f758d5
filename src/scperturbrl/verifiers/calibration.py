"""Put verifiers on one scale: 0 is a control cell, 1 a typical real perturbed cell."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from scperturbrl._core.stats import auroc


@dataclass(frozen=True)
class Calibration:
    """Scores of real and control cells, for C conditions and V verifiers.

    Attributes
    ----------
    control_median
        ``(C, V)`` raw score that is calibrated to 0: the median of control cells. For a safeguard, which control cells
        pass as well, the raw score below which 5 % of the real cells are.
    real_median
        ``(C, V)`` median raw score of real perturbed cells.
    auroc
        ``(C, V)`` probability that a real perturbed cell scores above a control cell.
    weight
        ``(C, V)`` 1 if the verifier can discriminate real from control cells, 0 if it cannot and is skipped. A
        safeguard is only skipped if it cannot score real cells.
    """

    control_median: Tensor
    real_median: Tensor
    auroc: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return self.weight.shape[0]

    def to(self, device: torch.device | str) -> Calibration:
        """Return the calibration with every tensor on `device`."""
        return Calibration(*(getattr(self, item.name).to(device) for item in fields(self)))

    def select(self, index: Tensor) -> Calibration:
        """Return the calibration of the conditions at `index`, a 1-d tensor of integers that may repeat."""
        return Calibration(*(getattr(self, item.name)[index] for item in fields(self)))


LOW_QUANTILE = 0.05
"""Share of real cells that score below 0 on a safeguard."""

MIN_GAP = 0.02
"""Smallest distance between 0 and 1 of a safeguard, in raw units relative to the median of real cells."""


def fit_calibration(
    real: Tensor, control: Tensor, *, min_auroc: float = 0.55, safeguard: Tensor | None = None
) -> Calibration:
    """Fit the scale of each verifier in each condition to real and control cells.

    Parameters
    ----------
    real
        ``(C, n, V)`` raw scores of real perturbed cells of the condition. NaN is padding.
    control
        ``(C, m, V)`` raw scores of control cells, scored as if they belonged to the condition. NaN is padding.
    min_auroc
        A verifier is skipped if its AUROC, real against control cells, is below this.
    safeguard
        ``(V,)`` boolean: verifiers that both real and control cells pass. None means that there are none.

    Returns
    -------
    The calibration. The weight is 0 if the AUROC is below `min_auroc`, if real or control cells have no finite score,
    or if the median real cell does not score above the median control cell.

    Examples
    --------
    >>> real, control = torch.tensor([[[0.4], [0.5], [0.9]]]), torch.tensor([[[0.0], [0.1], [0.45]]])
    >>> calibration = fit_calibration(real, control)
    >>> calibration.control_median, calibration.real_median
    (tensor([[0.1000]]), tensor([[0.5000]]))
    """
    if real.ndim != 3 or control.ndim != 3 or (real.shape[0], real.shape[2]) != (control.shape[0], control.shape[2]):
        msg = (
            f"`real` has shape {tuple(real.shape)} and `control` {tuple(control.shape)}; "
            "expected (C, n, V) and (C, m, V) with the same C and V."
        )
        raise ValueError(msg)
    real, control = real.detach().mT, control.detach().mT
    real_median, control_median, area = _median(real), _median(control), auroc(real, control)
    if safeguard is not None:
        control_median = torch.where(safeguard, _low(real, real_median), control_median)
        area_enough = (area >= min_auroc) | safeguard
    else:
        area_enough = area >= min_auroc
    # Comparisons with NaN are False, so the weight is 0 if real or control cells have no scores.
    weight = area_enough & ((real_median - control_median) > 0)
    return Calibration(control_median, real_median, area, weight.to(real.dtype))


def _low(real: Tensor, real_median: Tensor) -> Tensor:
    if real.shape[-1] == 0:
        return real_median
    # If nearly all real cells have the same score, the scale must not vanish, or rounding errors would decide.
    floor = real_median - (MIN_GAP * real_median.abs()).clamp_min(1e-6)
    return torch.minimum(real.nanquantile(LOW_QUANTILE, dim=-1), floor)


def calibrate(scores: Tensor, calibration: Calibration, *, saturate: bool = True) -> Tensor:
    """Rescale raw scores so that 0 is like a control cell and 1 like a typical real perturbed cell.

    Results are clipped to [-1, 1] unless `saturate` is False, so that a cell cannot score above a typical real cell.

    Parameters
    ----------
    scores
        ``(C, n, V)`` raw scores.
    calibration
        Calibration of the same conditions and verifiers.
    saturate
        Whether to clip.

    Returns
    -------
    ``(C, n, V)``; NaN if the median real cell does not score above the median control cell, because there is no scale
    then. Clipped scores have no gradient.

    Examples
    --------
    >>> calibration = fit_calibration(torch.tensor([[[0.4], [0.5], [0.9]]]), torch.tensor([[[0.0], [0.1], [0.45]]]))
    >>> calibrate(torch.tensor([[[0.1], [0.3], [0.5], [0.9]]]), calibration).squeeze()
    tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """
    gap = (calibration.real_median - calibration.control_median).unsqueeze(1)
    scaled = gap > 0
    position = (scores - calibration.control_median.unsqueeze(1)) / gap.masked_fill(~scaled, 1)
    return (position.clamp(-1, 1) if saturate else position).masked_fill(~scaled, torch.nan)


def combine(calibrated: Tensor, calibration: Calibration, weights: Tensor) -> Tensor:
    """Average calibrated scores over the verifiers that are not skipped in a condition.

    Parameters
    ----------
    calibrated
        ``(C, n, V)`` from :func:`calibrate`.
    calibration
        Of the same conditions and verifiers.
    weights
        ``(V,)`` weight of each verifier, not negative; only ratios matter.

    Returns
    -------
    ``(C, n)`` weighted means. NaN for a condition in which all verifiers are skipped, and for a cell that a verifier
    which is not skipped cannot score.

    Examples
    --------
    >>> ones = torch.ones(1, 2)
    >>> calibration = Calibration(0 * ones, ones, ones, weight=torch.tensor([[1.0, 0.0]]))
    >>> combine(torch.tensor([[[0.8, -0.4]]]), calibration, torch.tensor([1.0, 3.0]))
    tensor([[0.8000]])
    """
    if weights.shape != calibrated.shape[-1:] or (weights < 0).any():
        msg = f"`weights` is {weights.tolist()}; expected {calibrated.shape[-1]} numbers, none below 0."
        raise ValueError(msg)
    weight = (calibration.weight * weights).unsqueeze(1)
    # Multiplying by 0 would keep the NaN of a verifier without weight.
    counted = calibrated.masked_fill(weight <= 0, 0)
    return (counted @ weight.mT).squeeze(-1) / weight.sum(-1)


def _median(x: Tensor) -> Tensor:
    """Median over the last dimension without NaN; unlike `torch.nanmedian`, the mean of the middle two if even."""
    if x.shape[-1] == 0:
        return x.new_full(x.shape[:-1], torch.nan)
    values = x.sort(dim=-1).values
    count = (~x.isnan()).sum(-1, keepdim=True)
    middle = torch.cat([(count - 1).clamp_min(0) // 2, count // 2], dim=-1)
    return values.gather(-1, middle).mean(-1)
