"""What goes through the program keeps its colours, its way up, its edges and what is said of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from sr_cli import __version__
from sr_cli.images import Metadata, Picture, read, write
from tests.batches.conftest import Upscale
from tests.images import made

pytestmark = pytest.mark.usefixtures("interpolating")


def flat(pixels: np.ndarray) -> np.ndarray:
    """The middles of the enlarged patches of `made.patches`, (2, 3, C)."""
    return made.centres(pixels[::4, ::4])


def lab(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """8-bit colours under a profile of `made` with sRGB's curve to CIE Lab (D50)."""
    values = pixels / 255.0
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    primaries = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    columns = [primaries.red_colorant, primaries.green_colorant, primaries.blue_colorant]
    xyz = light @ np.array([column[0] for column in columns]) / [0.9642, 1.0, 0.8249]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_come_out_upright(upscale: Upscale, tmp_path: Path, orientation: int) -> None:
    corners = np.array([[10, 60, 110], [160, 210, 250]], np.uint8)
    shown = made.enlarged(corners)
    turned = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.T,
        6: np.rot90(shown),
        7: shown.T[::-1, ::-1],
        8: np.rot90(shown, -1),
    }[orientation]
    stored = Image.fromarray(np.ascontiguousarray(turned)).convert("RGB")
    block = b"Exif\0\0" + made.exif(orientation, size=stored.size)
    stored.save(tmp_path / "a.jpg", quality=100, exif=block)
    assert upscale(tmp_path / "a.jpg", "-o", tmp_path / "large.jpg").status == 0
    with Image.open(tmp_path / "large.jpg") as large:
        assert large.size == (384, 256)
        tags = made.tags_of(large.info["exif"])
        assert np.abs(flat(np.asarray(large)).astype(int)[..., 0] - corners).max() <= 2
    assert tags[made.ORIENTATION] == 1 and tags[made.MODEL] == "Test Camera"
    assert (tags[made.WIDTH], tags[made.HEIGHT]) == (384, 256)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_wide_gamut_keeps_its_profile_and_its_colours(
    upscale: Upscale, tmp_path: Path, ending: str
) -> None:
    colours = np.array(
        [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[250, 240, 5], [9, 200, 190], [128, 128, 128]]]
    )
    pixels = made.enlarged(colours).astype(np.uint8)
    profile = made.display_p3()
    path = tmp_path / f"a.{ending}"
    Image.fromarray(pixels).save(path, icc_profile=profile, quality=100, subsampling="4:4:4")
    assert upscale(path, "-o", tmp_path / "large.png").status == 0
    with Image.open(path) as small, Image.open(tmp_path / "large.png") as large:
        assert large.info["icc_profile"] == profile
        before = lab(made.centres(np.asarray(small)), profile)
        after = lab(flat(np.asarray(large)), profile)
    assert np.linalg.norm(after - before, axis=-1).max() < 1


def test_colours_can_be_had_in_srgb(upscale: Upscale, tmp_path: Path) -> None:
    colours = np.array([[[200, 100, 90], [90, 160, 90], [100, 90, 170]]] * 2)  # sRGB has them all
    pixels = made.enlarged(colours).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=made.display_p3())
    assert upscale(tmp_path / "a.png", "--color", "srgb").status == 0
    with Image.open(tmp_path / "a_x4.png") as large:
        profile = large.info["icc_profile"]
        after = lab(flat(np.asarray(large)), profile)
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    distance = np.linalg.norm(after - lab(colours.astype(float), made.display_p3()), axis=-1)
    assert distance.max() < 1


@pytest.mark.parametrize("under", [0, 255])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_red_disc_on_nothing_has_no_fringe(
    upscale: Upscale, tmp_path: Path, under: int, depth: int
) -> None:
    y, x = np.mgrid[0:61, 0:47]
    alpha = np.clip(15.5 - np.hypot(y - 30, x - 23), 0, 1).astype(np.float32)
    red = np.array([204, 26, 38], np.float32) / 255
    rgb = np.where(alpha[..., None] > 0, red, np.float32(under / 255)).astype(np.float32)
    path = tmp_path / "disc.png"
    write(Picture(rgb, alpha, Metadata(bit_depth=depth, has_alpha=True)), path)
    assert upscale(path).status == 0
    large = read(tmp_path / "disc_x4.png")
    assert large.metadata.bit_depth == depth and large.alpha is not None
    seen = large.alpha > 0.5 / 255
    assert seen.any() and not seen.all()
    assert np.abs(large.rgb - red)[seen].max() * 255 <= 2
    assert large.alpha[0, 0] == 0 and large.alpha[122, 94] == 1


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_gray_and_depth_stay(upscale: Upscale, tmp_path: Path, depth: int, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    write(made.picture(gray=True, depth=depth), path)
    assert upscale(path).status == 0
    large = read(tmp_path / f"a_x4.{ending}")
    assert large.metadata.color_model == "gray" and large.metadata.bit_depth == depth
    error = np.abs(flat(large.rgb) - made.centres(made.patches(gray=True, depth=depth))).max()
    assert error <= 0.51 / (2**depth - 1)


def test_flat_transparency_is_exact_and_opaque_stays_a_channel(
    upscale: Upscale, tmp_path: Path
) -> None:
    write(made.picture(alpha=True), tmp_path / "a.png")
    Image.new("RGBA", (9, 9), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    assert upscale(tmp_path / "a.png", tmp_path / "opaque.png").status == 0
    large = read(tmp_path / "a_x4.png")
    assert large.alpha is not None
    assert (flat(large.alpha) == made.centres(made.patch_alpha())).all()
    assert Image.open(tmp_path / "opaque_x4.png").mode == "RGBA"


def test_the_result_names_its_maker_but_no_folder_of_theirs(
    upscale: Upscale, tmp_path: Path, tiny_weights: Path
) -> None:
    write(made.picture(exif=made.exif()), tmp_path / "a.png")
    assert upscale(tmp_path / "a.png").status == 0
    with Image.open(tmp_path / "a_x4.png") as large:
        said = f"sr-cli {__version__} {tiny_weights.name}"
        assert large.info["Software"] == said
        assert made.tags_of(large.info["exif"])[305] == said
    assert str(tiny_weights.parent).encode() not in (tmp_path / "a_x4.png").read_bytes()
    mixture = f"{tiny_weights}+{tiny_weights}:0.3"
    assert upscale(tmp_path / "a.png", "-m", mixture, "-o", tmp_path / "b.png").status == 0
    with Image.open(tmp_path / "b.png") as large:
        name = tiny_weights.name
        assert large.info["Software"] == f"sr-cli {__version__} {name}+{name}:0.3"


def test_what_is_lost_is_told(upscale: Upscale, tmp_path: Path) -> None:
    write(made.picture(depth=16, alpha=True), tmp_path / "a.png")
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    told = upscale(tmp_path / "a.png", "--format", "jpg").err
    assert "laid on white" in told and "8 bits" in told
    assert "only the first of 2 frames" in upscale(tmp_path / "film.gif").err
