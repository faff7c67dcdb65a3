"""The Python interface: any kind of picture, and the same kind back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sr_cli
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


def test_an_estimate_reads_as_words_numbers_and_json(model: sr_cli.Upscaler) -> None:
    estimate = model.estimate(PICTURE)
    assert estimate is not None
    assert estimate.vector.shape == (42,)
    assert "Second stage, JPEG: " in str(estimate)
    assert estimate.json["layout"] == "two-stage"
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
        (torch.zeros(0, 3, 4, 4), ValueError, "of shape"),
        (Image.new("I", (4, 4)), ValueError, "what is white"),
        (Image.new("F", (4, 4)), ValueError, "what is white"),
        (np.full((4, 4, 3), 255.0), ValueError, r"in \[0, 1\]"),
        (np.full((4, 4, 3), np.nan), ValueError, r"in \[0, 1\]"),
    ],
)
def test_what_is_no_picture_is_refused(
    model: sr_cli.Upscaler, picture: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        model.upscale(picture)


def test_floats_may_stand_out_a_little(model: sr_cli.Upscaler) -> None:
    sharpened = PICTURE.astype(np.float32) / 255 * 1.4 - 0.2
    assert model.upscale(sharpened).shape == (48, 64, 3)


def test_what_cannot_be_asked_for_is_said(tmp_path: Path, model: sr_cli.Upscaler) -> None:
    with pytest.raises(ValueError, match="'tensorrt' is not one of auto, torch, onnx"):
        sr_cli.load(backend="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'fp8' is not one of"):
        sr_cli.load(precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="-1"):
        model.upscale(PICTURE, tile=-1)


def test_a_path_names_a_model(tiny_weights: Path) -> None:
    assert sr_cli.load(tiny_weights, device="cpu").name == str(tiny_weights)
