"""Random numbers that are hashed from a key and a place, and counts that are drawn from them, compiled for the CPU."""

from __future__ import annotations

import math

import numba
import numpy as np

# Above this mean, inversion by counting up from zero costs more than drawing a gamma and a Poisson number.
_LARGE = 40.0
# Below this mean, Poisson numbers are drawn by counting up; the rejection method is designed for larger means.
_SMALL_RATE = 10.0
# Binomial trials per inversion by counting up: the probability of no success, at least 2 ** -512, does not underflow.
_MOST_TRIALS = 512.0
STEP = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def carry(counts, expected, mean, theta, key, found):  # type: ignore[no-untyped-def]
    """Thin the `counts` of control cells where the rate falls, and add to them where it rises.

    Each cell and gene has one uniform number, hashed from the key and its position, and either change follows from it by inversion.
    Most numbers need no logarithm, because the probability of no change is at least one minus the expected change.

    Parameters
    ----------
    counts, expected, mean
        ``(n, G)`` float32: measured counts, their expected values, and the wanted means.
    theta
        ``(G,)`` inverse dispersion, float64.
    key
        Unsigned 64-bit number.
    found
        ``(n, G)`` float32, filled.
    """
    n, n_genes = counts.shape
    change = np.empty(n_genes, dtype=np.float64)
    for i in range(n):
        # expected number of removed or added counts, in a separate loop that the compiler can vectorise over genes
        for j in range(n_genes):
            before, count = np.float64(expected[i, j]), np.float64(counts[i, j])
            rise = np.float64(mean[i, j]) - before
            added = (theta[j] + count) * rise / (theta[j] + before)
            lost = -count * rise / max(before, 1e-300)
            change[j] = added if rise > 0 else lost
        state = mixed(key + np.uint64(i) * STEP)
        for j in range(n_genes):
            state += STEP
            count, bits = counts[i, j], mixed(state)
            if uniform(bits) < 1 - change[j]:
                found[i, j] = count
            elif not change[j] < math.inf:
                # NaN is passed on to the cells
                found[i, j] = change[j]
            elif mean[i, j] > expected[i, j]:
                shape = theta[j] + np.float64(count)
                found[i, j] = count + negative_binomial(shape, change[j], bits)
            else:
                share = change[j] / np.float64(count)
                found[i, j] = count - binomial(np.float64(count), share, bits)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def negative_binomial(shape, mean, bits):  # type: ignore[no-untyped-def]
    r"""Draw a count with the variance :math:`m + m^2 / \mathrm{shape}`.

    Up to a mean of 40 it is the smallest k at which the distribution function reaches the uniform number of `bits`, by the recurrence
    :math:`p_{k+1} = p_k \frac{k + \theta}{k + 1} \frac{m}{m + \theta}`; above, a Poisson number (PTRS of Hörmann 1993,
    doi:10.1016/0167-6687(93)90997-4) whose mean is multiplied by a gamma one (Marsaglia and Tsang 2000, doi:10.1145/358407.358414).
    """
    if mean > _LARGE:
        return _large(shape, mean, bits)
    ratio = mean / (mean + shape)
    wanted, k, p = uniform(bits), 0.0, math.exp(-shape * math.log1p(mean / shape))
    total = p
    while wanted > total:
        before = total
        p *= (shape + k) / (k + 1) * ratio
        total += p
        k += 1
        # beyond the mode, and nothing is left to add
        if total == before and (shape + k) / (k + 1) * ratio <= 1:
            break
    return k


@numba.njit(nogil=True, cache=True, error_model="numpy")
def binomial(trials, share, bits):  # type: ignore[no-untyped-def]
    """Draw the number of `trials` that succeed, by inversion in portions of limited size."""
    found, number = 0.0, 0
    # the rarer outcome is counted, from the other end of the uniform number
    rare = min(share, 1 - share)
    while trials > 0:
        some = min(trials, _MOST_TRIALS)
        wanted = uniform(bits if number == 0 else further(bits, number))
        hits = _few_trials(some, rare, wanted if share <= 0.5 else 1 - wanted)
        found += hits if share <= 0.5 else some - hits
        trials -= some
        number += 1
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _few_trials(trials, share, wanted):  # type: ignore[no-untyped-def]
    odds, k, p = share / (1 - share), 0.0, (1 - share) ** trials
    total = p
    while wanted > total and k < trials:
        p *= (trials - k) / (k + 1) * odds
        total += p
        k += 1
    return k


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _large(shape, mean, bits):  # type: ignore[no-untyped-def]
    boosted = shape if shape >= 1 else shape + 1
    d = boosted - 1 / 3
    c = 1 / math.sqrt(9 * d)
    number = 1
    while True:
        # Box and Muller
        radius = math.sqrt(-2 * math.log(uniform(further(bits, number))))
        x = radius * math.cos(2 * math.pi * uniform(further(bits, number + 1)))
        v = (1 + c * x) ** 3
        number += 3
        if v > 0 and math.log(uniform(further(bits, number - 1))) < 0.5 * x * x + d - d * v + d * math.log(v):
            break
    gamma = d * v
    if shape < 1:
        gamma *= uniform(further(bits, number)) ** (1 / shape)
        number += 1
    return _poisson(mean * gamma / shape, bits, number)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _poisson(rate, bits, number):  # type: ignore[no-untyped-def]
    if rate < _SMALL_RATE:
        wanted, k, p = uniform(further(bits, number)), 0.0, math.exp(-rate)
        total = p
        while wanted > total and p > 1e-300:
            k += 1
            p *= rate / k
            total += p
        return k
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = uniform(further(bits, number)) - 0.5
        v = uniform(further(bits, number + 1))
        number += 2
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + rate + 0.43)
        if us >= 0.07 and v <= v_r:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        accepted = math.log(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b)
        if accepted <= k * math.log(rate) - rate - math.lgamma(k + 1):
            return k


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def uniform(bits):  # type: ignore[no-untyped-def]
    """Number in (0, 1) of 64 random bits."""
    return (np.float64(bits >> np.uint64(12)) + 0.5) * 2.0**-52


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def further(bits, number):  # type: ignore[no-untyped-def]
    """One of many random numbers of the same position."""
    return mixed(bits + np.uint64(number) * STEP)


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def mixed(z):  # type: ignore[no-untyped-def]
    """Hash of a counter (SplitMix64, Steele and others 2014, doi:10.1145/2660193.2660195)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
