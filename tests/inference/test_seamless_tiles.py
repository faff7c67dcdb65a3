"""A tiled picture equals the whole one."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sr_cli.inference.resampling import enlarge_plane, resize, scaled
from sr_cli.inference.tiles import band_windows
from sr_cli.inference.torch_backend import torch_engine
from sr_cli.networks.dan import DAN
from sr_cli.networks.stages import SuperResolver
from sr_cli.zoo.loading import load
from tests.conftest import scene


def network(block: str = "edsr", estimator: str = "small", scale: int = 4) -> DAN:
    """Random weights, large enough that every part shows in the output."""
    torch.manual_seed(1)
    # Seven blocks leave a last segment of three, and the published depth of the Estimator.
    made = DAN(scale, 42, 8, 7, 3, block, estimator)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter *= 1.3
    return made.eval()


@pytest.fixture(scope="module")
def bundled() -> SuperResolver:
    return load("dan-real-x4").network


def whole(
    net: SuperResolver, rgb: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with torch.inference_mode():
        sr, vector = net(torch.from_numpy(rgb).permute(2, 0, 1).unsqueeze(0))
    return sr[0].clamp(0, 1).permute(1, 2, 0).numpy(), vector[0].numpy()


def pixels(height: int, width: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


PRIMES = (1, 2, 3, 5, 7, 127, 131, 257, 499, 701)
SIDES = st.one_of(st.integers(1, 700), st.sampled_from(PRIMES))


@settings(max_examples=25, deadline=None)
@given(
    height=SIDES.filter(lambda side: side <= 500),
    width=SIDES,
    tile=st.sampled_from([0, 8, 32, 40, 64, 100, 128, 256, 512, None]),
    seed=st.integers(0, 99),
)
def test_picture_and_estimate_equal_the_full_frames(
    height: int, width: int, tile: int, seed: int
) -> None:
    net = network()
    if height * width > 60_000 and tile == 8:
        tile = 32  # ten thousand tiles would prove nothing more
    rgb = pixels(height, width, seed)
    picture, vector = whole(net, rgb)
    result = torch_engine(net).upscale(rgb, tile)
    assert result.vector is not None
    assert np.abs(result.rgb - picture).max() < 1e-4
    assert np.abs(result.vector - vector).max() < 1e-5


LARGEST = (500, 700) if os.environ.get("SR_CLI_FULL_TESTS") else (150, 110)


@settings(max_examples=5, deadline=None)
@given(
    height=st.integers(1, LARGEST[0]),
    width=st.integers(1, LARGEST[1]),
    tile=st.sampled_from([32, 48, 64, 128, 256]),
)
def test_the_bundled_model_is_seamless(
    bundled: SuperResolver, height: int, width: int, tile: int
) -> None:
    rgb = pixels(height, width, 5)
    picture, vector = whole(bundled, rgb)
    result = torch_engine(bundled).upscale(rgb, tile)
    assert result.vector is not None
    assert np.abs(result.rgb - picture).max() < 1e-4
    assert np.abs(result.vector - vector).max() < 1e-5


@pytest.mark.parametrize("tile", [32, 64, 100])
def test_half_precision_is_seamless_too(bundled: SuperResolver, tile: int) -> None:
    rgb = scene(113, 139).astype(np.float32) / 255
    engine = torch_engine(bundled, None, "bf16")
    tiled, full = engine.upscale(rgb, tile), engine.upscale(rgb, 0)
    assert (np.abs(tiled.rgb - full.rgb) < 1 / 255).mean() > 0.999
    single = torch_engine(bundled).upscale(rgb)
    error = np.mean((single.rgb - full.rgb) ** 2)
    assert -10 * np.log10(error) > 50  # 64 to 68 dB on photographs
    assert single.vector is not None and tiled.vector is not None
    assert np.abs(single.vector - tiled.vector).max() < 0.02


@pytest.mark.parametrize(
    ("block", "estimator", "scale"),
    [("rrdb", "large", 4), ("edsr", "large", 2), ("edsr", "small", 3)],
)
def test_every_kind_of_dan_is_seamless(block: str, estimator: str, scale: int) -> None:
    net = network(block, estimator, scale)
    rgb = scene(101, 130).astype(np.float32) / 255
    picture, vector = whole(net, rgb)
    result = torch_engine(net).upscale(rgb, 48)
    assert result.tiles == 9
    assert np.abs(result.rgb - picture).max() < 1e-4
    assert np.abs(result.vector - vector).max() < 1e-5


def test_a_shorter_halo_would_show() -> None:
    """The check above can fail: with no halo for the Restorer the seams are visible."""
    net = network()
    rgb = scene(96, 96).astype(np.float32) / 255
    picture, _ = whole(net, rgb)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sr_cli.networks.dan.BLOCK_HALO", {"edsr": 0, "rrdb": 0})
        result = torch_engine(net).upscale(rgb, 32)
    assert np.abs(result.rgb - picture).max() > 1e-3


def test_the_estimate_alone_equals_the_one_beside_the_picture() -> None:
    engine = torch_engine(network())
    rgb = scene(70, 90).astype(np.float32) / 255
    assert np.allclose(engine.estimate(rgb, 32), engine.upscale(rgb, 64).vector, atol=1e-5)


def test_progress_counts_up_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    rgb = scene(70, 90).astype(np.float32) / 255
    torch_engine(network()).upscale(rgb, 32, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1]


def test_windows_cover_every_pixel_once() -> None:
    covered = np.zeros((37, 50), int)
    number = 0
    for window in band_windows((37, 50), 0, 37, 16, 8):
        covered[window.tile] += 1
        number += 1
        rows, columns = window.inner()
        assert rows.stop - rows.start == window.bottom - window.top
        assert columns.stop - columns.start == window.right - window.left
    assert (covered == 1).all()
    assert number == 2 * 4  # the rest of five rows goes with the tiles above it


def test_a_plane_is_enlarged_without_new_extremes() -> None:
    plane = np.zeros((9, 7), np.float32)
    plane[3:6, 2:5] = 1
    large = enlarge_plane(plane, 4)
    assert large.shape == (36, 28)
    assert large.min() == 0 and large.max() == 1
    assert large[16:20, 12:16].min() > 0.95


def test_another_size_goes_beyond_the_limits_only_if_it_may() -> None:
    edge = np.zeros((8, 8, 2), np.float32)
    edge[:, 4:] = 1
    size = scaled(8, 2.1), scaled(8, 0.01)
    assert size == (17, 1)
    free, cut = resize(edge, size, limits=False), resize(edge, size)
    assert free.shape == (1, 17, 2)
    assert free.min() < -0.01 and free.max() > 1.01
    assert np.array_equal(cut, free.clip(0, 1))
