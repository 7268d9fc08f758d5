"""Effects as log ratios of rates, and back."""

from __future__ import annotations

import numpy as np

# added to rates before taking ratios, so that they are defined for genes without counts
_PSEUDO_RATE = 0.05


def log_ratios(controls: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Log ratios ``(..., G)`` of the rates after an effect to those of the control profiles; both log-normalised."""
    return np.asarray(np.log(_rate(controls + effects) / _rate(controls)))


def effect_of(ratio: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Effect ``(G,)``, as a difference of log-normalised means, if the rates of `control` ``(G,)`` change by the log `ratio`."""
    return np.asarray(np.log1p((_rate(control) * np.exp(ratio) - _PSEUDO_RATE).clip(min=0)) - control)


def _rate(profile: np.ndarray) -> np.ndarray:
    return np.expm1(profile.clip(min=0)) + _PSEUDO_RATE
