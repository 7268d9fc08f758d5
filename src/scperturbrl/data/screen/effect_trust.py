"""Expected error of the effects that a generator predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import log
from scperturbrl.data.screen.known import Known
from scperturbrl.screen.conformal import EXTRAPOLATING, SUPPORTED, UNSUPPORTED, too_few
from scperturbrl.screen.trust import Trust

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator

COLUMNS = ["expected_error", "error_low", "error_high", "support"]
LEVEL = 0.8


def effect_trust(stored: StoredGenerator, cells: Cells, table: pd.DataFrame) -> pd.DataFrame:
    """Expected error of the effect of each condition of `table`, its 80 % interval, and its support ``(C,)``.

    Whole training conditions are left out, according to the kind of prediction, and predicted by the linear part fitted to the others. If
    there are too few of them, a message is shown. Controls are supported.
    """
    found = pd.DataFrame(np.nan, index=table.index, columns=COLUMNS).astype({"support": object})
    found["support"] = SUPPORTED
    rows = np.flatnonzero((table["parts"].str.len() > 0).to_numpy())
    wanted = table.iloc[rows]
    embeddings = None if stored.generator.linear.n_responses else stored.vocabulary.embeddings
    parts = sorted({part for own in wanted["parts"] for part in own})
    if not len(rows):
        return found
    known = Known.of(cells, wanted=parts, embeddings=embeddings)
    if not len(known.measured):
        found.loc[wanted.index, "support"] = _without_calibration(stored, wanted)
        return found
    trust = Trust(known.ground, known.measured, known.encode(wanted))
    found.loc[wanted.index, COLUMNS] = trust.of_effects(LEVEL)[COLUMNS].to_numpy()
    for errors in trust.errors.values():
        if not errors.enough:
            log.note(too_few(errors))
    return found.astype(dict.fromkeys(COLUMNS[:3], float))


def _without_calibration(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    """Support by what the generator was trained on, if only control cells are left."""
    tokens, trained = set(stored.vocabulary.tokens), set(stored.training_conditions())
    seen = np.array([tokens.issuperset(parts) for parts in table["parts"]], dtype=bool)
    return np.where(table.index.isin(list(trained)), SUPPORTED, np.where(seen, EXTRAPOLATING, UNSUPPORTED))
