from __future__ import annotations

import numpy as np
import pytest
import torch

from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.counts import count_unit
from scperturbrl.data.cells.depth import condition_depths
from scperturbrl.data.evaluation.models import Models, check_model_names
from scperturbrl.data.latent.cells import control_units


def models(adata, depths):
    return Models(Cells.of(adata), {}, {}, depths, 30, 50, 0, torch.device("cpu"))


def test_generated_cells_get_the_depth_of_observed_ones_brought_to_the_target(halved):
    cells = Cells.of(halved)
    depths = condition_depths(cells)
    name = cells.conditions("test")[0]
    controls = np.flatnonzero(cells.table["is_control"].to_numpy()[cells.codes])[:50]
    found = models(halved, depths).units(name, controls)
    own = count_unit(cells.expression[cells.codes == cells.rows([name])[0]])
    assert set(np.round(found, 9)) <= set(np.round(own / depths.table.loc[name, "factor"], 9))
    assert len(np.unique(found)) == len(np.unique(own))
    assert np.median(1 / found) == pytest.approx(depths.target_of(name, "all"), rel=0.1)
    assert models(halved, None).units(name, controls) is None


def test_as_deep_as_its_controls_a_cell_has_the_depth_of_its_control_cell(toy):
    cells = Cells.of(toy)
    controls = np.flatnonzero(cells.table["is_control"].to_numpy()[cells.codes])[:9]
    found = models(toy, condition_depths(cells)).units(cells.conditions("test")[0], controls)
    np.testing.assert_array_equal(found, control_units(cells, controls))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((["additive"], [], []), "generator 'additive' has the name of a baseline.*`key_added`"),
        ((["g"], ["g"], []), "layer 'g' has the name of a generator.*leave the generator"),
        (([], ["l", "l"], []), "layer 'l' has the name of another layer"),
        (([], ["split_half"], []), "layer 'split_half' has the name of a ceiling"),
        (([], [], ["nearest_dose"]), "prediction 'nearest_dose' has the name of a baseline.*another name"),
        ((["g"], ["l"], ["l"]), "prediction 'l' has the name of a layer"),
        ((["g"], [], ["g"]), "prediction 'g' has the name of a generator"),
    ],
)
def test_no_two_models_have_one_name(names, message):
    with pytest.raises(ValueError, match=message):
        check_model_names(*names)
