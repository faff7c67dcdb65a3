"""A picture without colour that is stored with channels for it comes out without colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sr_cli
from sr_cli.images import read
from tests.batches.conftest import Upscale
from tests.images import made

GRAY = np.random.default_rng(3).integers(0, 256, (11, 14)).astype(np.uint8)


def saved(path: Path, mode: str, **options: object) -> Path:
    Image.fromarray(GRAY).convert(mode).save(path, **options)
    return path


def spread(path: Path) -> int:
    """The largest difference of two channels of a pixel, levels."""
    with Image.open(path) as image:
        return int(np.ptp(np.asarray(image.convert("RGB")).astype(int), axis=2).max())


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_gray_in_three_channels_stays_gray(
    upscale: Upscale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, large: bool
) -> None:
    if large:  # written row by row where the format allows
        monkeypatch.setattr("sr_cli.cli.enlarging.GROWING_FROM", 0)
    exact = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(ending, {})
    path = saved(tmp_path / f"a.{ending}", "RGB", **exact)
    made_file = tmp_path / f"large.{ending}"
    assert upscale(path, "-o", made_file).status == 0
    with Image.open(made_file) as image:
        assert image.mode == "RGB"
    assert spread(made_file) == 0


def test_it_is_what_the_same_picture_in_one_channel_becomes(
    upscale: Upscale, tmp_path: Path
) -> None:
    one, three = saved(tmp_path / "one.png", "L"), saved(tmp_path / "three.png", "RGB")
    assert upscale(one, three).status == 0
    with Image.open(tmp_path / "one_x4.png") as a, Image.open(tmp_path / "three_x4.png") as b:
        assert np.array_equal(np.asarray(a), np.asarray(b)[..., 0])


@pytest.mark.parametrize("profile", [made.display_p3(), made.adobe_rgb()])
def test_a_wide_profile_tints_no_gray(upscale: Upscale, tmp_path: Path, profile: bytes) -> None:
    path = saved(tmp_path / "a.png", "RGB", icc_profile=profile)
    assert upscale(path).status == 0
    assert spread(tmp_path / "a_x4.png") == 0
    with Image.open(tmp_path / "a_x4.png") as image:
        assert image.info["icc_profile"] == profile


def test_a_single_coloured_pixel_is_a_colour(upscale: Upscale, tmp_path: Path) -> None:
    pixels = np.repeat(GRAY[..., None], 3, 2)
    pixels[5, 6, 0] ^= 1
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert not read(tmp_path / "a.png").metadata.is_colourless
    assert upscale(tmp_path / "a.png").status == 0
    assert spread(tmp_path / "a_x4.png") > 0  # random weights make colours of anything


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_python_keeps_it_gray_too(tiny_weights: Path, mode: str) -> None:
    model = sr_cli.load(tiny_weights, device="cpu")
    image = Image.fromarray(GRAY)
    large = np.asarray(model.upscale(image.convert(mode)))
    assert np.ptp(large[..., :3].astype(int), axis=2).max() == 0
    assert np.array_equal(large[..., 0], np.asarray(model.upscale(image)))
    tensor = torch.from_numpy(GRAY).float().div(255).expand(3, -1, -1)
    found = model.upscale(tensor)
    assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])
