"""niqe-own computes NIQE's statistics and tells clean pictures from others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr_cli.metrics import niqe

KITTEN = Path(__file__).parents[2] / "docs" / "images" / "kitten.png"


def test_the_fit_finds_shape_and_scale_of_known_distributions() -> None:
    random = np.random.default_rng(0)
    samples = {
        2.0: random.normal(0, 1, (1, 400, 400)),
        1.0: random.laplace(0, 1, (1, 400, 400)),
        10.0: random.uniform(-1, 1, (1, 400, 400)),  # the flattest on the grid
    }
    for expected, values in samples.items():
        shape, left, right = niqe.asymmetric_fit(torch.from_numpy(values))
        assert float(shape) == pytest.approx(expected, rel=0.03 if expected < 3 else 0.5)
        assert float(left) == pytest.approx(float(right), rel=0.02)
    # exp(-|x / scale|^2) of unit variance has the scale sqrt(2).
    _, left, _ = niqe.asymmetric_fit(torch.from_numpy(samples[2.0]))
    assert float(left) == pytest.approx(2**0.5, rel=0.02)


def test_lopsided_samples_have_lopsided_scales() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 300, 300)))
    values = torch.where(values > 0, 3 * values, values)
    _, left, right = niqe.asymmetric_fit(values)
    assert float(right / left) == pytest.approx(3, rel=0.03)


def test_a_flat_picture_has_no_niqe() -> None:
    with pytest.raises(niqe.FlatError):
        niqe.niqe_own(torch.full((3, 192, 192), 0.5))


def test_there_are_36_numbers_a_block() -> None:
    features, sharpness = niqe.block_features(torch.rand(3, 200, 300))
    assert features.shape == (6, niqe.FEATURES) and sharpness.shape == (6,)
    assert bool(torch.isfinite(features).all())
    with pytest.raises(ValueError, match="96"):
        niqe.block_features(torch.rand(3, 95, 300))


def test_contrast_is_normalised_by_a_window_of_seven_pixels() -> None:
    grey = torch.rand(12, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 255
    normalised, deviation = niqe.contrast_normalised(grey)
    around = np.pad(grey.numpy(), 3, mode="edge")
    y, x = np.mgrid[-3:4, -3:4]
    weights = np.exp(-(x**2 + y**2) / (2 * (7 / 6) ** 2))  # MATLAB's fspecial, as published
    weights /= weights.sum()
    for row, column in ((0, 0), (5, 7), (11, 13), (3, 0)):
        patch = around[row : row + 7, column : column + 7]
        mean = (weights * patch).sum()
        spread = np.sqrt((weights * patch**2).sum() - mean**2)
        assert float(deviation[row, column]) == pytest.approx(spread)
        wanted = (float(grey[row, column]) - mean) / (spread + 1)
        assert float(normalised[row, column]) == pytest.approx(wanted)


@pytest.mark.parametrize("way", range(4))
def test_neighbours_are_compared_across_down_and_both_ways_aslant(way: int) -> None:
    random = np.random.default_rng(0).normal(0, 30, (192, 192))
    shift = ((0, 1), (1, 0), (1, 1), (1, -1))[way]
    drawn = sum(np.roll(random, (n * shift[0], n * shift[1]), (0, 1)) for n in range(3)) / 3**0.5
    grey = torch.from_numpy(drawn / 255 + 0.5).clamp(0, 1).float()
    features, _ = niqe.block_features(grey.expand(3, -1, -1))
    tilts = features[:, 3:18:4].mean(0)  # of products with the four neighbours, fine scale
    assert int(tilts.argmax()) == way


def test_the_distance_of_a_picture_is_what_it_has_always_been() -> None:
    # Other figures than this would make those in the documentation another measure's.
    pixels = np.asarray(Image.open(KITTEN).convert("RGB"), np.float32) / 255
    score = niqe.niqe_own(torch.from_numpy(pixels).permute(2, 0, 1))
    assert score == pytest.approx(4.72306, rel=1e-3)


def test_harm_makes_it_worse() -> None:
    pixels = np.asarray(Image.open(KITTEN).convert("RGB"), np.float32) / 255
    clean = torch.from_numpy(pixels).permute(2, 0, 1)
    blurred = torch.nn.functional.avg_pool2d(clean[None], 7, 1, 3)[0]
    noise = 0.15 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    score = niqe.niqe_own(clean)
    assert score < niqe.niqe_own(blurred)
    assert score < niqe.niqe_own((clean + noise).clamp(0, 1))


def test_a_model_survives_being_stored() -> None:
    model = niqe.pristine()
    again = niqe.from_json(niqe.to_json(model))
    assert torch.allclose(model.covariance, again.covariance)
    assert torch.linalg.eigvalsh(model.covariance).min() > 0
    fitted = niqe.fit(torch.rand(3, 192, 192) for _ in range(2))
    assert fitted.mean.shape == (36,)
