"""Enlarged rims show the colour of what is seen, not of what is hidden."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sr_cli.images import bleed


def enlarged(channel: np.ndarray) -> np.ndarray:
    height, width = channel.shape
    image = Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32))
    return np.asarray(image.resize((4 * width, 4 * height), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("under", [0.0, 1.0])
def test_a_red_disc_has_no_fringe(under):
    y, x = np.mgrid[0:61, 0:47]
    alpha = np.clip(15.5 - np.hypot(y - 30, x - 23), 0.0, 1.0).astype(np.float32)
    red = np.array([0.8, 0.1, 0.15], np.float32)
    rgb = np.where(alpha[..., None] > 0, red, np.float32(under)).astype(np.float32)
    large_alpha = enlarged(alpha)

    def fringe(pixels: np.ndarray) -> float:
        large = np.stack([enlarged(pixels[..., c]) for c in range(3)], axis=2)
        return float(np.abs(large - red)[large_alpha > 1 / 255].max() * 255)

    assert fringe(rgb) > 20  # without bleeding there is one
    assert fringe(bleed(rgb, alpha)) <= 2


@pytest.mark.parametrize("least", [1e-38, 1e-45])
def test_alpha_too_small_to_be_averaged_ends(least):
    rgb = np.full((16, 16, 3), 0.5, np.float32)
    alpha = np.zeros((16, 16), np.float32)
    alpha[3, 5] = least
    filled = bleed(rgb, alpha)
    assert (filled[3, 5] == 0.5).all() and np.isfinite(filled).all()


def test_neighbours_bleed_not_the_average():
    rgb = np.zeros((16, 64, 3), np.float32)
    rgb[:, :8], rgb[:, 56:] = (1, 0, 0), (0, 0, 1)
    alpha = np.zeros((16, 64), np.float32)
    alpha[:, :8] = alpha[:, 56:] = 1
    filled = bleed(rgb, alpha)
    assert filled[8, 10, 0] > 0.9 and filled[8, 53, 2] > 0.9


def test_visible_pixels_stay_bit_for_bit():
    rng = np.random.default_rng(4)
    rgb = rng.random((33, 21, 3), dtype=np.float32)
    alpha = np.where(rng.random((33, 21)) < 0.5, 0, rng.random((33, 21))).astype(np.float32)
    filled = bleed(rgb, alpha)
    assert (filled[alpha > 0] == rgb[alpha > 0]).all()
    assert filled.dtype == np.float32 and np.isfinite(filled).all()
    assert filled.min() >= 0.0 and filled.max() <= 1.0 + 1e-6


@pytest.mark.parametrize("cover", [0.0, 1.0])
def test_all_hidden_or_all_seen_is_left_alone(cover):
    rgb = np.random.default_rng(5).random((5, 7, 3), dtype=np.float32)
    assert (bleed(rgb, np.full((5, 7), cover, np.float32)) == rgb).all()


def test_one_seen_pixel_colours_all():
    rgb = np.zeros((1, 13, 3), np.float32)
    rgb[0, 12] = 0.5
    alpha = np.zeros((1, 13), np.float32)
    alpha[0, 12] = 0.25
    assert np.allclose(bleed(rgb, alpha), 0.5)
