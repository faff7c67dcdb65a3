"""KernelDAN's blur: drawn repeatably, described truly."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from sr_cli.degradation.blur_only import Blur, BlurModel
from sr_cli.metrics.blur import kernel_of
from tests.conftest import scene


@pytest.mark.parametrize(("scale", "size"), [(2, 11), (4, 31)])
def test_a_seed_repeats_and_sizes_are_the_published_ones(scale: int, size: int) -> None:
    model = BlurModel(scale)
    first = model.sample(5, torch.Generator().manual_seed(1))
    again = model.sample(5, torch.Generator().manual_seed(1))
    assert torch.equal(model.vector(first), model.vector(again))
    assert model.kernels(first).shape == (5, size, size)
    assert torch.allclose(model.kernels(first).sum((1, 2)), torch.ones(5), atol=1e-6)


def test_only_sigmas_and_angle_vary_and_fill_their_range() -> None:
    model = BlurModel(4)
    vector = model.vector(model.sample(2000, torch.Generator().manual_seed(0)))
    assert vector.shape == (2000, 8)
    assert (vector[:, :3].max(0).values > 0.98).all() and (vector[:, :3].min(0).values < 0.02).all()
    constant = torch.tensor([0.5 / 3.5, 1, 0, 0, 0])
    assert torch.allclose(vector[:, 3:], constant.expand(2000, 5), atol=1e-6)


@pytest.mark.parametrize("scale", [2, 4])
def test_the_numbers_are_those_of_what_is_drawn_in_the_published_ranges(scale: int) -> None:
    model = BlurModel(scale)
    drawn = model.sample(2000, torch.Generator().manual_seed(4))
    assert len(drawn) == 2000
    for values, low, high in (
        (drawn.sigma_x, 0.6, 5.0),
        (drawn.sigma_y, 0.6, 5.0),
        (drawn.theta, 0.0, math.pi / 2),
    ):
        assert low <= float(values.min()) and float(values.max()) <= high
        span = high - low
        assert float(values.mean()) == pytest.approx(low + span / 2, abs=span / 40)
    wanted = torch.stack(
        ((drawn.sigma_x - 0.6) / 4.4, (drawn.sigma_y - 0.6) / 4.4, drawn.theta / (math.pi / 2)), 1
    )
    assert torch.allclose(model.vector(drawn)[:, :3], wanted, atol=1e-6)
    one = model.sample(1, torch.Generator().manual_seed(5))
    even = dataclasses.replace(one, unevenness=torch.full_like(one.unevenness, 0.5))
    told = kernel_of(model.layout, model.vector(one)[0], model.kernel_size)
    assert told is not None and torch.allclose(told.float(), model.kernels(even)[0], atol=1e-6)


def test_sigma_x_blurs_down_the_rows() -> None:
    model = BlurModel(4)
    number = torch.ones(1)
    even = torch.full((1, 31, 31), 0.5)
    kernel = model.kernels(Blur(4 * number, number, 0 * number, even))[0]
    down, across = kernel.sum(1), kernel.sum(0)
    axis = torch.arange(31) - 15.0
    assert math.sqrt(float((down * axis**2).sum())) == pytest.approx(4, rel=0.02)
    assert math.sqrt(float((across * axis**2).sum())) == pytest.approx(1, rel=0.02)


def test_pictures_shrink_and_lie_on_8_bit_levels() -> None:
    model, generator = BlurModel(4), torch.Generator().manual_seed(0)
    hr = torch.from_numpy(scene(64, 96)).permute(2, 0, 1).unsqueeze(0).float() / 255
    lr = model.apply(hr, model.sample(1, generator))
    assert lr.shape == (1, 3, 16, 24)
    assert torch.allclose(lr * 255, (lr * 255).round(), atol=1e-3)


def test_other_scales_are_not_published() -> None:
    with pytest.raises(KeyError):
        BlurModel(3)
