"""The `published` operators compute what the published code computes."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_cli.degradation import kernels
from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.jpeg import jpeg
from sr_cli.degradation.layout import TWO_STAGE, blur_layout
from sr_cli.degradation.operators import RESIZE_MODES, blur
from sr_cli.degradation.two_stage import Stage, TwoStage

EXACT = 1e-6  # float32 values of magnitude 1


@pytest.fixture(scope="module")
def reference() -> Mapping[str, Any]:
    path = Path(__file__).parents[1] / "reference" / "degradation.npz"
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays.files}


def tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values))


def published_kernels(reference: Mapping[str, Any]) -> Tensor:
    names = ("type", "sigma_x", "sigma_y", "theta", "beta", "omega", "radius")
    values = [tensor(reference[f"kernel/{name}"]) for name in names]
    return kernels.blur_kernels(*values, squared_radius=True)


def test_kernels(reference: Mapping[str, Any]) -> None:
    ours = published_kernels(reference)
    assert (ours - tensor(reference["kernel/values"])).abs().max() < EXACT


def test_final_kernels(reference: Mapping[str, Any]) -> None:
    ours = kernels.final_kernels(
        tensor(reference["back_kernel/is_sinc"]) > 0,
        tensor(reference["back_kernel/omega"]),
        tensor(reference["back_kernel/radius"]),
        squared_radius=True,
    )
    assert (ours - tensor(reference["back_kernel/values"])).abs().max() < EXACT


def test_blur(reference: Mapping[str, Any]) -> None:
    chosen = published_kernels(reference)[tensor(reference["blur/kernel_index"])].float()
    ours = blur(tensor(reference["blur/in"]), chosen)
    assert (ours - tensor(reference["blur/out"])).abs().max() < 2 * EXACT


def test_jpeg(reference: Mapping[str, Any]) -> None:
    ours = jpeg(tensor(reference["jpeg/in"]), tensor(reference["jpeg/quality"]), physical=False)
    assert (ours - tensor(reference["jpeg/out"])).abs().max() < EXACT


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_resizing(reference: Mapping[str, Any], scale: int) -> None:
    picture = tensor(reference["imresize/in"])
    larger = imresize(picture, scale)[0]
    smaller = imresize(picture, Fraction(1, scale))[0]
    assert (larger - tensor(reference[f"imresize/x{scale}"])).abs().max() < EXACT
    assert (smaller - tensor(reference[f"imresize/x1_{scale}"])).abs().max() < EXACT


@pytest.mark.parametrize(("size", "radius"), [(11, 5), (31, 15)])
def test_kerneldan_kernels_and_numbers(
    reference: Mapping[str, Any], size: int, radius: int
) -> None:
    stem = f"kerneldan/k{size}"
    sigma_x, sigma_y, theta = (
        tensor(reference[f"{stem}/{name}"]) for name in ("sigma_x", "sigma_y", "theta")
    )
    one = torch.ones_like(sigma_x)
    ours = kernels.blur_kernels(
        0 * one,
        sigma_x,
        sigma_y,
        theta,
        one,
        one,
        radius * one,
        size=size,
        squared_radius=True,
    )
    assert (ours - tensor(reference[f"{stem}/values"])).abs().max() < EXACT
    disturbed = kernels.disturb(ours, tensor(reference[f"{stem}/disturb_u"]))
    assert (disturbed - tensor(reference[f"{stem}/disturbed"])).abs().max() < EXACT
    layout = blur_layout(radius)
    for i, numbers in enumerate(reference[f"{stem}/numbers"]):
        values = {
            "stage1.sigma_x": float(sigma_x[i]),
            "stage1.sigma_y": float(sigma_y[i]),
            "stage1.theta": float(theta[i].rad2deg()),
            "stage1.beta": 1.0,
            "stage1.is_gaussian": 1.0,
            "stage1.radius": float(radius),
            "stage1.is_sinc": 0.0,
            "stage1.omega": 0.0,
        }
        assert layout.encode(values) == pytest.approx(numbers.tolist(), abs=1e-6)


def stage_of(reference: Mapping[str, Any], name: str, row: int) -> Stage:
    """A stage's parameters in units, rebuilt from the separate numbers of the reference."""

    def number(key: str) -> float:
        return float(reference[f"vector/{name}/{key}"][row])

    def units(key: str, parameter: str) -> Tensor:
        p = next(p for p in TWO_STAGE.of_stage(name) if p.name == parameter)
        return torch.tensor([p.low + number(key) * (p.high - p.low)])

    gaussian = number("is_gauss") > 0
    kind = kernels.GAUSSIAN if gaussian else kernels.PLATEAU
    if number("is_sinc") > 0:
        kind = kernels.SINC
    beta = 0.5 + 3.5 * number("beta") if gaussian else 1 + number("beta")
    mode = int(np.argmax(reference[f"vector/{name}/resize_mode"][row]))
    return Stage(
        kind=torch.tensor([kind]),
        sigma_x=units("sigma_x", "sigma_x"),
        sigma_y=units("sigma_y", "sigma_y"),
        theta=torch.tensor([number("theta") * np.pi / 2]),
        beta=torch.tensor([beta]),
        omega=torch.tensor([number("omega") * np.pi]),
        radius=units("radius", "radius"),
        scale=float(units("scale", "scale")),
        mode=RESIZE_MODES[mode],
        noise_is_gaussian=torch.tensor([number("noise_type") > 0]),
        noise_is_grey=torch.tensor([number("color_type") > 0]),
        gaussian_sigma=units("gauss_level", "gaussian_sigma"),
        poisson_level=units("poisson_level", "poisson_level"),
        is_jpeg=torch.tensor([number("is_jpeg") > 0]),
        jpeg_quality=units("jpeg_q", "jpeg_quality"),
    )


@pytest.mark.parametrize("row", range(6))
def test_the_vector_is_laid_out_as_published(reference: Mapping[str, Any], row: int) -> None:
    back = {
        key: float(reference[f"vector/stage2/back_{key}"][row])
        for key in ("radius", "is_sinc", "omega")
    }
    mode = int(np.argmax(reference["vector/stage2/back_resize_mode"][row]))
    drawn = TwoStage(
        stage_of(reference, "stage1", row),
        stage_of(reference, "stage2", row),
        RESIZE_MODES[mode],
        torch.tensor([back["is_sinc"] > 0]),
        torch.tensor([back["omega"] * np.pi]),
        torch.tensor([3 + 8 * back["radius"]]),
    )
    theirs = torch.from_numpy(reference["vector/values"][row])
    assert (drawn.vector()[0] - theirs).abs().max() < EXACT
