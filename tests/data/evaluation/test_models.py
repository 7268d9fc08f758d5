from __future__ import annotations

import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.counts import count_unit
from scperturbrl.data.cells.depth import condition_depths
from scperturbrl.data.evaluation.evaluation import Evaluation
from scperturbrl.data.evaluation.models import Models, check_model_names
from scperturbrl.data.generator.stored import read_generator
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


def test_at_most_one_generated_cell_of_each_control_cell_is_compared_and_the_mean_is_that_of_all(toy):
    adata = toy.copy()
    spr.tl.fit_generator(adata, n_steps=5, width=16, n_latent=5, progress=False)
    cells = Cells.of(adata)
    name = cells.conditions("test")[0]
    n_controls = int((cells.table["is_control"].to_numpy()[cells.codes] & cells.is_training()).sum())
    own = {"generator": read_generator(adata, "generator")}
    of = lambda n, most: next(Models(cells, own, {}, None, n, most, 0, torch.device("cpu")).predict(name))
    found, few = of(3 * n_controls, 10**6), of(n_controls, 10**6)
    assert found.cells.shape == few.cells.shape == (n_controls, adata.n_vars)
    assert found.n_cells == few.n_cells == n_controls
    # all control cells were drawn, so there is nothing to correct
    np.testing.assert_allclose(few.mean, few.cells.mean(0, dtype=float), atol=1e-5)
    assert not np.array_equal(found.mean, found.cells.mean(0))
    np.testing.assert_allclose(found.mean, found.cells.mean(0), atol=0.3)
    assert len(of(3 * n_controls, 10).cells) == 10


def test_where_nothing_changes_generated_cells_are_those_that_baselines_shift(toy):
    adata = toy.copy()
    spr.tl.fit_generator(adata, n_steps=5, width=16, n_latent=5, progress=False)
    stored = read_generator(adata, "generator")
    cells = Cells.of(adata)
    name = cells.conditions("test")[0]
    evaluation = Evaluation(cells, [name], None, 10, 0)
    control = evaluation._context[str(cells.table.loc[name, "group"])].cells
    generator = stored.generator
    generator.cell_log_rate = lambda latent, control, *_: generator.observation.log_rate(control.denoised)
    found = next(Models(cells, {"generator": stored}, {}, None, 20, 10, 0, torch.device("cpu")).predict(name))
    np.testing.assert_allclose(found.cells, control, rtol=1e-4, atol=1e-4)
    # only 20 control cells were drawn, and still it is the mean of all
    _, mean = evaluation._control(name)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4, atol=1e-4)


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
