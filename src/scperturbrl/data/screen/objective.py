"""The objective of a screen, built from the arguments of the user and the AnnData."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scperturbrl._core import log
from scperturbrl._core.provenance import counted
from scperturbrl._core.random import numpy_rng
from scperturbrl._core.validate import check_number, near_matches
from scperturbrl.data.cells.conditions import find_conditions
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.reference.networks import Networks
from scperturbrl.data.screen.known import training_rows
from scperturbrl.data.screen.population import wanted_effects
from scperturbrl.screen.objectives import Alike, Along, Objective, OfCells, Size, Synergy
from scperturbrl.screen.stream import measured_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.screen.known import Known
    from scperturbrl.screen.line import Line
    from scperturbrl.screen.objectives import Term

Wanted = str | Callable[[np.ndarray], np.ndarray] | Mapping[Any, float]
N_STAND_INS = 32
SIZE, SYNERGY, SIGNATURE, TOWARDS, LIKE, REWARD = "size", "synergy", "signature", "towards", "like", "reward"


def build_objective(
    adata: AnnData,
    cells: Cells,
    known: Known,
    line: Line,
    objective: Wanted | None,
    given: Mapping[str, Any],
    *,
    seed: int,
) -> Objective:
    """The objective that a user names.

    Parameters
    ----------
    adata, cells
        Annotated data and its cells.
    known, line
        Training conditions, and the line fitted to them.
    objective
        A name, a function of cells, or a mapping of those to weights; None for everything in `given`.
    given
        Definitions of the names ``"signature"``, ``"towards"``, ``"like"`` and ``"reward"``; None for those that are not used.
    seed
        Draws the control cells that replace generated cells before any are generated.

    Raises
    ------
    ValueError
        If there is no objective, or a name lacks its definition.
    KeyError
        If a name is not a pathway, transcription factor or other objective.
    """
    wanted = _weights(objective, given)
    terms = [_term(word, adata, cells, known, given, seed) for word in wanted]
    weights = np.array(list(wanted.values()), dtype=float)
    found = Objective(terms, weights, np.ones(len(terms)))
    if len(terms) == 1:
        return found
    spread = np.nanstd(measured_values(found, line)[:, 1:], axis=0)
    return Objective(terms, weights, np.where(spread > 0, spread, 1.0))


def _weights(objective: Wanted | None, given: Mapping[str, Any]) -> dict[Any, float]:
    used = [word for word, meaning in given.items() if meaning is not None]
    if objective is None and not used:
        msg = "Give an objective, such as `objective={'JAK-STAT': -1}`, `towards=` or `signature=`."
        raise ValueError(msg)
    wanted: dict[Any, float] = dict.fromkeys(used, 1.0)
    if isinstance(objective, Mapping):
        for word, weight in objective.items():
            check_number(**{str(word): weight})
            if not np.isfinite(weight) or weight == 0:
                msg = f"`objective` gives {str(word)!r} the weight {weight}; it must be finite and not 0. Leave out what is not wanted."
                raise ValueError(msg)
        wanted |= objective
    elif objective is not None:
        wanted[objective] = 1.0
    lost = [word for word in (SIGNATURE, TOWARDS, LIKE, REWARD) if word in wanted and given[word] is None]
    if lost:
        msg = f"`objective` names {lost[0]!r}, but the argument `{lost[0]}` is not given. It defines this objective."
        raise ValueError(msg)
    return wanted


def _term(word: Any, adata: AnnData, cells: Cells, known: Known, given: Mapping[str, Any], seed: int) -> Term:
    if callable(word):
        return OfCells(getattr(word, "__name__", "function"), word, _stand_ins(known, seed))
    if word == SIZE:
        return Size()
    if word == SYNERGY:
        return Synergy()
    if word == SIGNATURE:
        return _signature(given[SIGNATURE], adata)
    if word == TOWARDS:
        return Alike(TOWARDS, wanted_effects(adata, known, given[TOWARDS]))
    if word == LIKE:
        place = _measured_place(known, Setup.of(adata), str(given[LIKE]), LIKE)
        return Alike(LIKE, np.repeat(known.measured.effects[place][None], len(known.ground.groups), 0))
    if word == REWARD:
        place = _measured_place(known, Setup.of(adata), str(given[REWARD]), REWARD)
        name = str(known.measured.names[place])
        return OfCells(REWARD, _reward(adata, cells, name), _stand_ins(known, seed), gaps=True)
    return _activity(str(word), adata)


def _activity(name: str, adata: AnnData) -> Along:
    networks = Networks.of(adata)
    for weights, sources in (networks.pathways, networks.regulons):
        if name in sources:
            return Along.activity(name, weights[:, sources.index(name)])
    known = [*networks.pathways[1], *networks.regulons[1], SIZE, SYNERGY, SIGNATURE, TOWARDS, LIKE, REWARD]
    remedy = (
        "" if networks.tables else " `adata` has no network: call `scperturbrl.pp.pathway_network(adata, network)`."
    )
    msg = f"`objective` names {name!r}, which is not a pathway, transcription factor or other objective.{near_matches(name, known)}{remedy}"
    raise KeyError(msg)


def _signature(genes: Mapping[str, Sequence[str]], adata: AnnData) -> Along:
    strange = set(genes) - {"up", "down"}
    if strange or not genes:
        msg = f"`signature` holds {sorted(strange)}; genes are given as {{'up': [...], 'down': [...]}}."
        raise ValueError(msg)
    sides = {side: [own] if isinstance(own := genes.get(side, ()), str) else list(own) for side in ("up", "down")}
    both = sorted(set(sides["up"]) & set(sides["down"]))
    if both:
        msg = f"`signature` names {counted(both)} in 'up' and in 'down'. Name each gene on one side."
        raise ValueError(msg)
    named = dict.fromkeys([*sides["up"], *sides["down"]])
    absent = [str(gene) for gene in named if gene not in adata.var_names]
    if len(absent) == len(named):
        msg = f"None of the genes of `signature` is in `var_names`, such as {absent[0] if absent else ''!r}."
        raise ValueError(msg)
    if absent:
        log.warn(
            f"{len(absent)} of {len(named)} genes of `signature` are not in `var_names` ({counted(absent)}). The objective is the mean "
            "of the others."
        )
    inside = {side: adata.var_names.isin(own) for side, own in sides.items()}
    return Along.signature(SIGNATURE, inside["up"], inside["down"])


def _measured_place(known: Known, setup: Setup, name: str, argument: str) -> int:
    """Place of the condition called `name`, with the parts of a combination in any order."""
    names = known.measured.names.astype(str).tolist()
    try:
        found = [name] if name in names else find_conditions(name, known.cells.table, setup)
    except (KeyError, ValueError):
        found = []
    trained = [each for each in found if each in names]
    if len(trained) > 1:
        msg = f"`{argument}` is {name!r}, which has {len(trained)} conditions with training cells. Name one: {counted(trained)}."
        raise KeyError(msg)
    if not trained:
        state = " It has none, because it is held out or too small." if found else near_matches(name, names)
        msg = f"`{argument}` is {name!r}, which is not a condition with training cells.{state}"
        raise KeyError(msg)
    return names.index(trained[0])


def _stand_ins(known: Known, seed: int) -> list[np.ndarray]:
    table, found = known.cells.table, []
    for number, group in enumerate(known.ground.groups):
        names = table.index[table["is_control"] & (table["group"] == group)].tolist()
        rows = np.concatenate(training_rows(known.cells, names))
        rng = numpy_rng(seed, "stand-ins", number)
        found.append(known.cells.block(np.sort(rng.permutation(rows)[:N_STAND_INS])))
    return found


def _reward(adata: AnnData, cells: Cells, condition: str) -> Callable[[np.ndarray], np.ndarray]:
    """Calibrated reward of cells, scored as cells of `condition` by the default verifiers."""
    from scperturbrl.data.reference.cross_fit import score_matrix
    from scperturbrl.data.reference.stored import at_reference_depth, read_calibration, read_reference
    from scperturbrl.verifiers.calibration import calibrate, combine
    from scperturbrl.verifiers.registry import DEFAULT, resolve

    verifiers, level = resolve(DEFAULT), at_reference_depth(adata, cells)
    table, reference = read_reference(adata, level, verifiers)
    if condition not in table.conditions:
        msg = f"`reward` is {condition!r}, which has no reference: it has too few training cells.{near_matches(condition, table.conditions)}"
        raise KeyError(msg)
    row = torch.tensor([table.conditions.index(condition)])
    own = read_calibration(adata, level, table.conditions, verifiers).select(row)
    reference, weights = reference.select(row), torch.ones(len(verifiers))

    def reward(block: np.ndarray) -> np.ndarray:
        raw = score_matrix(torch.as_tensor(block, dtype=torch.float32)[None], verifiers, reference)
        return combine(calibrate(raw, own), own, weights)[0].numpy()

    return reward
