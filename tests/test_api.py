"""The Python interface: any kind of picture, and the same kind back."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import sr_cli
from sr_cli.export import making
from sr_cli.inference.errors import InferenceError
from tests.conftest import scene

PICTURE = scene(12, 16)


@pytest.fixture(scope="module")
def model() -> sr_cli.Upscaler:
    return sr_cli.load(device="cpu")


@pytest.fixture(scope="module")
def expected(model: sr_cli.Upscaler) -> Any:
    return model.upscale(PICTURE)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, sr_cli; sr_cli.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_model_goes_to_another_process_as_what_was_asked_for(
    model: sr_cli.Upscaler, expected: Any
) -> None:
    again = pickle.loads(pickle.dumps(model))
    assert again.name == model.name and np.array_equal(again.upscale(PICTURE), expected)
    exact = sr_cli.load(precision="fp32", backend="torch", device="cpu")
    assert pickle.loads(pickle.dumps(exact))._asked_for == ("dan-real-x4", "cpu", "fp32", "torch")


def test_arrays_of_other_kinds_are_plain_or_refused(model: sr_cli.Upscaler) -> None:
    gray = PICTURE[..., 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        found = model.upscale(np.matrix(gray))
    assert type(found) is np.ndarray and np.array_equal(found, model.upscale(gray))
    with pytest.raises(TypeError, match="masked"):
        model.upscale(np.ma.masked_array(gray, gray > 100))
    for outscale in (1e9, 1e308):
        with pytest.raises(MemoryError, match="fits into no memory"):
            model.upscale(PICTURE, outscale=outscale)


def test_the_default_model_has_its_name_and_scale(model: sr_cli.Upscaler) -> None:
    assert (model.name, model.scale) == ("dan-real-x4", 4)


@pytest.mark.parametrize(
    ("dtype", "white", "tolerance"),
    [
        (np.uint8, 255, 0),
        (np.uint16, 65535, 0),
        (np.float32, 1, 0),
        (np.float16, 1, 2e-3),
        (float, 1, 0),
    ],
)
def test_arrays_of_all_types_say_the_same(
    model: sr_cli.Upscaler, expected: Any, dtype: Any, white: int, tolerance: float
) -> None:
    given = (PICTURE / 255 * white).astype(dtype)
    large = model.upscale(given)
    assert large.shape == (48, 64, 3) and large.dtype == given.dtype
    # Half a level of 8 bits, to which `expected` is rounded.
    assert np.abs(large.astype(float) / white - expected / 255).max() <= 0.51 / 255 + tolerance


@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 1), (12, 16, 2), (12, 16, 4)])
def test_gray_and_alpha_keep_their_channels(model: sr_cli.Upscaler, shape: tuple[int, ...]) -> None:
    channels = shape[2] if len(shape) == 3 else 1
    given = np.concatenate((PICTURE, PICTURE[..., :1]), 2)[..., :channels].reshape(shape)
    large = model.upscale(given)
    assert large.shape == (48, 64, *shape[2:])
    if channels in (2, 4):
        opaque = given.copy()
        opaque[..., -1] = 255
        assert (model.upscale(opaque)[..., -1] == 255).all()


def test_gray_is_the_luma_that_files_get(model: sr_cli.Upscaler, tmp_path: Path) -> None:
    gray = Image.fromarray(PICTURE[..., 1])
    gray.save(tmp_path / "a.png")
    code = ["-m", "sr_cli", "upscale", "a.png", "-o", "b.png", "--precision", "fp32"]
    subprocess.run([sys.executable, *code, "--device", "cpu"], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "b.png") as written:
        assert written.mode == "L"
        assert np.array_equal(np.asarray(written), np.asarray(model.upscale(gray)))


def test_any_enlargement_and_all_orientations_are_what_the_command_makes(
    model: sr_cli.Upscaler, tmp_path: Path
) -> None:
    given = Image.fromarray(np.dstack((PICTURE, PICTURE[..., 0])))
    given.save(tmp_path / "a.png")
    code = ["-m", "sr_cli", "upscale", "a.png", "-o", "b.png", "--precision", "fp32"]
    more = ["--device", "cpu", "--tta", "--outscale", "2.6"]
    subprocess.run([sys.executable, *code, *more], cwd=tmp_path, check=True)
    large = model.upscale(given, tta=True, outscale=2.6)
    assert large.size == (42, 31)
    with Image.open(tmp_path / "b.png") as written:
        # What lies below transparency is coloured by its surroundings in both, but hidden.
        seen = np.asarray(large)[..., 3:] > 0
        difference = np.abs(np.asarray(written).astype(int) - np.asarray(large)) * seen
    assert difference.max() <= 1
    assert not np.array_equal(large, model.upscale(given, outscale=2.6))


def test_an_enlargement_may_be_a_reduction(model: sr_cli.Upscaler) -> None:
    assert model.upscale(PICTURE, outscale=0.5).shape == (6, 8, 3)


@pytest.mark.parametrize("outscale", [0, -1.5, float("nan"), float("inf")])
def test_no_picture_is_enlarged_by_that(model: sr_cli.Upscaler, outscale: float) -> None:
    with pytest.raises(ValueError, match="outscale must be a number above 0"):
        model.upscale(PICTURE, outscale=outscale)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
def test_pil_pictures_come_back_as_such(model: sr_cli.Upscaler, mode: str) -> None:
    if mode == "I;16":
        given = Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257)
    else:
        given = Image.fromarray(PICTURE).convert(mode)
    large = model.upscale(given)
    kept = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB"}
    assert isinstance(large, Image.Image)
    assert (large.mode, large.size) == (kept.get(mode, mode), (64, 48))


def test_pil_pictures_keep_their_profile_and_resolution(model: sr_cli.Upscaler) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    given = Image.fromarray(PICTURE)
    given.info |= {"icc_profile": profile, "dpi": (300.0, 300.0)}
    assert model.upscale(given).info == {"icc_profile": profile, "dpi": (300.0, 300.0)}
    # Inks become colours, which a profile of inks would spoil.
    inks = given.convert("CMYK")
    inks.info["icc_profile"] = profile[:16] + b"CMYK" + profile[20:]
    assert "icc_profile" not in model.upscale(inks).info


@pytest.mark.parametrize("kind", [">u1", ">u2", ">f4"])
def test_the_order_of_an_arrays_bytes_does_not_matter(model: sr_cli.Upscaler, kind: str) -> None:
    given = PICTURE / np.float32(255) if kind == ">f4" else PICTURE
    native = np.dtype(kind).newbyteorder("=")
    large = model.upscale(given.astype(kind))
    assert large.dtype == np.dtype(kind)
    assert np.array_equal(large, model.upscale(given.astype(native)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_tensors_and_batches_come_back_as_such(
    model: sr_cli.Upscaler, expected: Any, dtype: torch.dtype
) -> None:
    white = 255 if dtype is torch.uint8 else 1
    given = (torch.from_numpy(PICTURE).permute(2, 0, 1) * (white / 255)).to(dtype)
    large = model.upscale(given)
    assert (large.shape, large.dtype) == ((3, 48, 64), dtype)
    both = model.upscale(torch.stack((given, given)))
    assert torch.equal(both[1], large)
    if dtype is torch.uint8:
        assert np.array_equal(large.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_tensors_have_as_many_channels_as_arrays(model: sr_cli.Upscaler, channels: int) -> None:
    given = np.concatenate((PICTURE, PICTURE[..., :1]), 2)[..., :channels]
    large = model.upscale(torch.from_numpy(given).permute(2, 0, 1))
    assert np.array_equal(large.permute(1, 2, 0).numpy(), model.upscale(given))


@pytest.mark.parametrize("other", [0, 1, 2])
def test_two_channels_alike_do_not_make_a_picture_gray(model: sr_cli.Upscaler, other: int) -> None:
    given = np.repeat(PICTURE[..., :1] // 2, 3, 2)
    given[..., other] += 100
    means = model.upscale(given).mean((0, 1))
    assert all(means[other] - mean > 70 for mean in np.delete(means, other))


@pytest.mark.parametrize("channels", [2, 4])
def test_what_transparency_hides_does_not_show(model: sr_cli.Upscaler, channels: int) -> None:
    results = []
    for hidden in (0, 255):
        given = np.concatenate((PICTURE, PICTURE[..., :1]), 2)[..., -channels:].copy()
        given[..., -1] = 255
        given[:, :8, :-1], given[:, :8, -1] = hidden, 0
        results.append(model.upscale(given))
    assert np.array_equal(*results)


def test_an_estimate_reads_as_words_numbers_and_json(model: sr_cli.Upscaler) -> None:
    estimate = model.estimate(PICTURE)
    assert estimate is not None
    assert estimate.vector.shape == (42,)
    assert "Second stage, JPEG: " in str(estimate)
    assert estimate.json["layout"] == "two-stage"
    assert estimate.summary == estimate.json["summary"]
    assert str(estimate).endswith(f"\nIn short: {estimate.summary}.")
    assert estimate in [None, estimate]  # which compares, and arrays do not say yes or no
    with pytest.raises(ValueError, match="one picture at a time, not of 2"):
        model.estimate(torch.zeros(2, 3, 8, 8))


def test_a_model_that_estimates_nothing_says_none(tmp_path: Path) -> None:
    from sr_cli.networks import registry
    from sr_cli.zoo import weights

    options = {"scale": 2, "features": 8, "blocks": 1}
    path = tmp_path / "net.safetensors"
    weights.write(path, registry.family("EDSR").build(**options).state_dict(), "EDSR", options)
    model = sr_cli.load(str(path), device="cpu")
    assert model.estimate(PICTURE) is None
    assert model.upscale(PICTURE).shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("picture", "error", "words"),
    [
        ("photo.jpg", TypeError, "PIL image, a numpy array or a torch tensor"),
        (np.zeros((4, 4, 3), np.int64), TypeError, "uint8, uint16 or floats"),
        (np.zeros((4, 4, 5), np.uint8), ValueError, "of shape"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "of shape"),
        (torch.zeros(4), ValueError, "of shape"),
        (torch.zeros(0, 3, 4, 4), ValueError, "something in it"),
        (Image.new("I", (4, 4), 257), ValueError, "mode I does not say which number is white"),
        (Image.new("F", (4, 4), 0.5), ValueError, "mode F does not say which number is white"),
        (np.full((4, 4, 3), 200.0), ValueError, "floats must be in .* not from 200 to 200"),
        (np.full((4, 4, 3), -1, np.float16), ValueError, "floats must be in"),
        (np.full((4, 4, 3), np.nan), ValueError, "floats must be in"),
        (np.full((4, 4, 3), np.inf, np.float32), ValueError, "floats must be in"),
        (torch.full((3, 4, 4), 200.0), ValueError, "floats must be in"),
    ],
)
def test_what_is_no_picture_is_refused(
    model: sr_cli.Upscaler, picture: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        model.upscale(picture)


def test_sixteen_bits_mean_the_same_in_every_mode_that_pillow_reads_them_in(
    model: sr_cli.Upscaler, tmp_path: Path
) -> None:
    pixels = PICTURE[..., 0].astype(np.uint16) * 257
    expected = model.upscale(pixels)
    Image.fromarray(pixels).save(tmp_path / "gray.png")
    Image.fromarray(pixels).convert("I").save(tmp_path / "gray.pgm")
    big_endian = Image.frombytes("I;16B", (16, 12), pixels.astype(">u2").tobytes())
    for image in (*map(Image.open, tmp_path.iterdir()), big_endian):
        assert np.array_equal(np.asarray(model.upscale(image)), expected), image


def test_floats_that_a_filter_pushed_out_of_range_count_as_black_and_white(
    model: sr_cli.Upscaler,
) -> None:
    given = PICTURE.astype(np.float32) / 128 - 0.5
    assert given.min() < -0.1 and given.max() > 1.1
    assert np.array_equal(model.upscale(given), model.upscale(given.clip(0, 1)))


def test_a_tile_is_no_negative_number(model: sr_cli.Upscaler) -> None:
    for act in (model.upscale, model.estimate):
        with pytest.raises(ValueError, match="not of -1"):
            act(PICTURE, tile=-1)


def test_a_tile_is_a_whole_number(model: sr_cli.Upscaler) -> None:
    for tile in ("64", 64.5):
        with pytest.raises(TypeError, match="whole number of pixels, not"):
            model.upscale(PICTURE, tile=tile)  # type: ignore[arg-type]
    assert np.array_equal(model.upscale(PICTURE, tile=np.int64(8)), model.upscale(PICTURE, tile=8))


@pytest.mark.parametrize("device", ["meta", "hpu", "nonsense"])
def test_devices_on_which_nothing_can_be_computed_are_refused(device: str) -> None:
    with pytest.raises(InferenceError, match=f"'{device}' is not usable here"):
        sr_cli.load(device=device)


def test_an_onnx_file_computes_in_what_it_was_made_in(tmp_path: Path, tiny_weights: Path) -> None:
    origin = making.source(str(tiny_weights))
    place = tmp_path / "net.onnx"
    making.write(making.made(origin, "int8", calibration=[PICTURE / np.float32(255)]), place)
    large = sr_cli.load(place, device="cpu").upscale(PICTURE)
    assert large.shape == (48, 64, 3)
    with pytest.raises(InferenceError, match="computes in int8"):
        sr_cli.load(place, device="cpu", precision="fp32")


def test_a_weights_file_may_be_given_as_a_path(tiny_weights: Path) -> None:
    assert sr_cli.load(tiny_weights, device="cpu").scale == 4


@pytest.mark.parametrize("choice", ["backend", "precision"])
def test_choices_that_there_are_not_are_named_with_those_there_are(choice: str) -> None:
    options: dict[str, Any] = {choice: "xx"}
    with pytest.raises(ValueError, match=f"{choice} must be one of auto, .* not 'xx'"):
        sr_cli.load(**options)
