"""Select candidate cells by their reward, and measure the loss of diversity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics.cells.diversity import spread_ratio, variance_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

N_COMPONENTS = 30
MAX_CELLS = 1000


def best_of(reward: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Divide candidates at random into groups of n and keep the best of each group.

    Parameters
    ----------
    reward
        ``(m,)``; a cell without reward (NaN) is kept only if its whole group has none.
    n
        Candidates for each kept cell.
    rng
        Random generator.

    Returns
    -------
    Indices of the ``ceil(m / n)`` kept cells, sorted. Compared with all candidates their distribution has a
    Kullback-Leibler divergence of at most ``log n - (n - 1) / n``.
    """
    hands = np.array_split(rng.permutation(len(reward)), -(-len(reward) // n))
    value = np.where(np.isnan(reward), -np.inf, reward)
    return np.sort([hand[np.argmax(value[hand])] for hand in hands])


def resample(reward: np.ndarray, n: int, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Keep ``ceil(m / n)`` candidates at random, without repeats, with odds ``exp(reward / temperature)``.

    The Gumbel-max trick: adding Gumbel noise to the log odds and keeping the largest is equivalent to drawing one cell
    after another. Cells without reward get the odds of the worst cell.
    """
    if np.isnan(reward).all():
        odds = np.zeros(len(reward))
    else:
        odds = np.where(np.isnan(reward), np.nanmin(reward), reward) / temperature
    order = np.argsort(-(odds + rng.gumbel(size=len(reward))))
    return np.sort(order[: -(-len(reward) // n)])


def effective_share(reward: np.ndarray, temperature: float) -> float:
    """Effective number of candidates under the odds ``exp(reward / temperature)``, as a share of all of them."""
    known = reward[~np.isnan(reward)]
    if not len(known):
        return 1.0
    weight = np.exp((known - known.max()) / temperature)
    return float(weight.sum() ** 2 / np.square(weight).sum() / len(known))


def selection_cost(block: Callable[[np.ndarray], np.ndarray], all_: np.ndarray, kept: np.ndarray) -> dict[str, float]:
    """Spread and variance of the kept cells relative to all candidates.

    Parameters
    ----------
    block
        Function from row numbers to dense cells ``(n, G)``.
    all_, kept
        Rows of all candidates and of the kept ones, of one condition; up to 1,000 of each are used.

    Returns
    -------
    ``spread_ratio`` (mean distance between cells, on the components of all candidates) and ``variance_ratio`` (median
    over genes); 1 means no loss.
    """
    from sklearn.decomposition import PCA

    everything, chosen = block(all_[:MAX_CELLS]), block(kept[:MAX_CELLS])
    n = min(N_COMPONENTS, len(everything), everything.shape[1])
    pca = PCA(n, svd_solver="randomized", random_state=0).fit(everything)
    return {
        "spread_ratio": spread_ratio(pca.transform(chosen), pca.transform(everything)),
        "variance_ratio": variance_ratio(chosen, everything),
    }
