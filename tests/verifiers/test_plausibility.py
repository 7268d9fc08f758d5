import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from scperturbrl.verifiers import plausibility
from scperturbrl.verifiers._plausibility import cell_properties


def test_properties_are_those_of_numpy_and_sklearn(world):
    projection, landmarks = world.reference.projection, world.reference.landmarks[:1]
    found = cell_properties(world.cells[:1], projection, landmarks, n_neighbours=4)[0].numpy()
    cells = world.cells[0].numpy()
    np.testing.assert_allclose(found[:, 0], np.log(np.expm1(cells).sum(1)))
    counts = np.where(cells > 0.02, 1.0, np.where(cells == 0, 1 / (1 + np.exp(5)), np.nan))
    kept = ~np.isnan(counts).any(1)
    assert kept.any()
    np.testing.assert_allclose(found[kept, 1], counts[kept].mean(1), atol=1e-3)
    neighbours = NearestNeighbors(n_neighbors=4).fit(landmarks[0].numpy())
    expected = neighbours.kneighbors(cells @ projection.numpy())[0].mean(1)
    np.testing.assert_allclose(found[:, 2], expected, rtol=1e-6)


def test_a_landmark_is_not_its_own_neighbour(world):
    inside = world.controls[:1, :5]
    landmarks = inside @ world.reference.projection
    found = cell_properties(inside, world.reference.projection, landmarks, n_neighbours=2)[0, :, 2]
    points = landmarks[0].numpy()
    expected = NearestNeighbors(n_neighbors=3).fit(points).kneighbors(points)[0][:, 1:].mean(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_score_counts_deviations_beyond_one(world):
    found = cell_properties(
        world.cells, world.reference.projection, world.reference.landmarks[world.reference.group], n_neighbours=3
    ).numpy()
    mean, sd = np.array([4.5, 0.9, 1.0]), np.array([0.1, 0.05, 0.2])
    z = (found - mean) / sd
    excess = np.maximum(np.stack([abs(z[..., 0]), abs(z[..., 1]), z[..., 2]], -1) - 1, 0).mean(-1)
    np.testing.assert_allclose(plausibility(n_neighbours=3)(world.cells, world.reference), 1 / (1 + excess))


def test_too_near_is_no_fault(world):
    near = world.reference.typical.clone()
    near[:, :, 1] = 1e6
    near[:, 2, 1] = 0.2
    near[:, 2, 0] = 100
    assert (plausibility()(world.cells, world.reference.replace(typical=near)) == 1).all()


def test_no_neighbours_are_refused():
    with pytest.raises(ValueError, match="`n_neighbours` is 0"):
        plausibility(n_neighbours=0)


def test_one_nan_cell_among_landmarks_is_padding(world):
    padded = torch.cat([world.reference.landmarks, torch.full((2, 3, 6), torch.nan, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(
        plausibility()(world.cells, world.reference.replace(landmarks=padded)),
        plausibility()(world.cells, world.reference),
    )
