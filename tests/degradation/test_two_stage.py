"""Drawing, applying and replaying the two-stage degradation."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sr_cli.degradation import kernels
from sr_cli.degradation.constants import constant
from sr_cli.degradation.jpeg import jpeg, tables
from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.degradation.operators import RESIZE_MODES, blur, gaussian_noise, poisson_noise
from sr_cli.degradation.repeatable import RepeatableTwoStage, seed_for
from sr_cli.degradation.two_stage import SMALLEST_SIDE, Preset, TwoStageModel
from tests.conftest import scene


def pictures(count: int, size: int = 96) -> Tensor:
    stack = np.stack([scene(size, size, seed) for seed in range(count)])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("preset", ["physical", "published"])
def test_a_seed_repeats_the_same_pictures_and_numbers(preset: Preset) -> None:
    model, hr = TwoStageModel(4, preset), pictures(4)
    results = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(3)
        drawn = model.sample(4, generator)
        results.append((model.apply(hr, drawn, generator), drawn.vector()))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("preset", ["physical", "published"])
def test_what_is_degraded_stays_as_it_is(preset: Preset) -> None:
    model, generator = TwoStageModel(4, preset), torch.Generator().manual_seed(0)
    hr = pictures(2)
    before = hr.clone()
    for _ in range(12):
        model.apply(hr, model.sample(2, generator), generator)
    assert torch.equal(hr, before)


@pytest.mark.parametrize("side", [1, 3, 21])
def test_blurring_is_a_correlation_with_reflected_edges(side: int) -> None:
    generator = torch.Generator().manual_seed(side)
    half = side // 2
    for height, width in ((11, 11), (12, 41), (96, 30)):
        picture = torch.rand(2, 3, height, width, dtype=torch.float64, generator=generator)
        kernel = torch.rand(2, side, side, dtype=torch.float64, generator=generator)
        padded = F.pad(picture, (half,) * 4, mode="reflect")
        planes = padded.flatten(0, 1).unsqueeze(0)
        slow = F.conv2d(planes, kernel.repeat_interleave(3, 0).unsqueeze(1), groups=6)
        assert torch.allclose(blur(picture, kernel), slow.view_as(picture), atol=1e-12, rtol=0)


def test_tables_can_be_shared_by_all_who_ask() -> None:
    numbers = ((1.0, 2.0), (3.0, 4.0))
    with torch.inference_mode():
        first = constant(numbers, torch.zeros(1, dtype=torch.float16))
    assert not first.is_inference() and first.dtype == torch.float16
    assert first.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert constant(numbers, torch.zeros(1, dtype=torch.float16)) is first
    assert constant(numbers, torch.zeros(1)).dtype == torch.float32


def test_pictures_without_a_low_pass_are_not_touched_by_that_of_others() -> None:
    model, hr = TwoStageModel(), pictures(2)
    drawn = dataclasses.replace(
        model.sample(2, torch.Generator().manual_seed(2)), final_is_sinc=torch.tensor([True, False])
    )
    none = dataclasses.replace(drawn, final_is_sinc=torch.zeros(2, dtype=torch.bool))
    some, without = (
        model.apply(hr, which, torch.Generator().manual_seed(0)) for which in (drawn, none)
    )
    assert (some[0] - without[0]).abs().max() > 0.1
    assert (some[1] - without[1]).abs().mean() < 1 / 255 / 10  # what a transform rounds, at most


def test_the_smallest_pictures_take_the_smallest_resizes() -> None:
    model = TwoStageModel()
    smallest = torch.zeros(len(TWO_STAGE))  # every number at the low end of its range
    lr = model.apply(pictures(1, SMALLEST_SIDE), model.decode(smallest))
    assert lr.shape == (1, 3, SMALLEST_SIDE // 4, SMALLEST_SIDE // 4)


@pytest.mark.parametrize("preset", ["physical", "published"])
def test_results_have_the_right_size_and_lie_on_8_bit_levels(preset: Preset) -> None:
    model, generator = TwoStageModel(4, preset), torch.Generator().manual_seed(0)
    for _ in range(12):
        lr = model.apply(pictures(2), model.sample(2, generator), generator)
        assert lr.shape == (2, 3, 24, 24)
        assert lr.min() >= 0 and lr.max() <= 1
        assert torch.allclose(lr * 255, (lr * 255).round(), atol=1e-3)


def test_draws_stay_within_the_layout_and_reach_all_of_it() -> None:
    generator, model = torch.Generator().manual_seed(1), TwoStageModel()
    vectors = torch.cat([model.sample(8, generator).vector() for _ in range(300)])
    # A number that does not apply is written as value 0 (below the range) or quality 100.
    assert vectors.min() > -0.16 and vectors.max() < 1.08
    for p in TWO_STAGE.parameters:
        assert vectors[:, p.index].max() > 0.9, p.key
        assert vectors[:, p.index].min() < 0.25, p.key


def test_what_is_drawn_for_each_picture_is_as_likely_as_published() -> None:
    drawn = TwoStageModel().sample(6000, torch.Generator().manual_seed(2))

    def near(wanted: float) -> object:
        return pytest.approx(wanted, abs=0.03)  # four standard deviations of the share of a half

    def share(which: Tensor) -> float:
        return float(which.float().mean())

    assert share(drawn.final_is_sinc) == near(0.8)
    for stage in (drawn.stage1, drawn.stage2):
        assert share(stage.is_jpeg) == near(0.5)
        assert share(stage.noise_is_gaussian) == near(0.5)
        assert share(stage.noise_is_grey) == near(0.4)
        assert share(stage.kind == kernels.SINC) == near(0.1)
        assert share(stage.kind == kernels.PLATEAU) == near(0.9 * 0.15)
        assert share(stage.sigma_x == stage.sigma_y) == near(0.7)
        gaussian = stage.kind == kernels.GAUSSIAN
        assert share(stage.beta[gaussian] != 1) == near(0.15)
        flat = stage.beta[stage.kind == kernels.PLATEAU]
        assert 1 <= float(flat.min()) < 1.1 and 1.9 < float(flat.max()) <= 2
    for radius, omega in (
        (drawn.stage1.radius, drawn.stage1.omega),
        (drawn.stage2.radius, drawn.stage2.omega),
        (drawn.final_radius, drawn.final_omega),
    ):
        assert radius.unique().tolist() == list(range(3, 12))
        for small, lowest in ((radius < 6, math.pi / 3), (radius >= 6, math.pi / 5)):
            assert lowest <= float(omega[small].min()) < lowest + 0.02
            assert math.pi - 0.02 < float(omega[small].max()) <= math.pi


def test_what_is_drawn_once_for_all_is_as_likely_as_published() -> None:
    generator, model = torch.Generator().manual_seed(3), TwoStageModel()
    many = [model.sample(1, generator) for _ in range(2500)]
    for name, up, down in (("stage1", 0.2, 0.7), ("stage2", 0.3, 0.4)):
        stages = [getattr(drawn, name) for drawn in many]
        assert sum(s.scale > 1 for s in stages) / len(many) == pytest.approx(up, abs=0.04)
        assert sum(s.scale < 1 for s in stages) / len(many) == pytest.approx(down, abs=0.04)
        assert all(stages[0].scale != s.scale or s.scale == 1 for s in stages[1:])
        for mode in RESIZE_MODES:
            assert sum(s.mode == mode for s in stages) / len(many) == pytest.approx(1 / 3, abs=0.04)
    for mode in RESIZE_MODES:
        assert sum(d.final_mode == mode for d in many) / len(many) == pytest.approx(1 / 3, abs=0.04)


def test_a_vector_can_be_replayed() -> None:
    model, generator = TwoStageModel(), torch.Generator().manual_seed(5)
    hr = pictures(1)
    for seed in range(10):
        drawn = model.sample(1, generator)
        again = model.decode(drawn.vector()[0])
        first = model.apply(hr, drawn, torch.Generator().manual_seed(seed))
        second = model.apply(hr, again, torch.Generator().manual_seed(seed))
        # Decoding rounds in float32, which may move a value across an 8-bit or DCT step.
        assert (first - second).abs().mean() < 1 / 255


def test_the_physical_jpeg_is_libjpegs_within_rounding() -> None:
    array = scene(144, 200)
    picture = torch.from_numpy(array).permute(2, 0, 1).unsqueeze(0).float() / 255
    for quality in (30, 60, 95):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "JPEG", quality=quality, subsampling=2)
        real = torch.from_numpy(np.asarray(Image.open(stream)).copy()).permute(2, 0, 1) / 255
        ours = jpeg(picture, torch.tensor([float(quality)]), physical=True)[0]
        published = jpeg(picture, torch.tensor([float(quality)]), physical=False)[0]
        assert psnr(ours, real) > 42
        assert psnr(ours, real) > psnr(published, real) + 6


@pytest.mark.parametrize("quality", [*range(1, 100, 7), 49, 50, 51, 100])
def test_the_physical_tables_are_those_that_libjpeg_writes(quality: int) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG", quality=quality)
    written = Image.open(stream).quantization  # type: ignore[attr-defined]
    for table, ours in enumerate(tables(torch.tensor([float(quality)]), True)):
        assert ours.flatten().int().tolist() == list(written[table])


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


def test_the_physical_low_pass_cuts_at_its_frequency() -> None:
    omega = torch.tensor([torch.pi / 2], dtype=torch.float64)
    kernel = kernels.low_pass(omega, 101, squared_radius=False)[0]
    response = torch.fft.fft2(kernel / kernel.sum()).abs()
    # 101 samples: frequency pi/2 is bin 25.
    assert response[0, 15] > 0.9 and response[0, 35] < 0.1


def test_noise_has_the_strength_that_it_says() -> None:
    flat = torch.full((2, 3, 128, 128), 0.5)
    generator = torch.Generator().manual_seed(0)
    noise = gaussian_noise(flat, torch.tensor([5.0, 25.0]), torch.tensor([False, True]), generator)
    assert noise[0].std() * 255 == pytest.approx(5, rel=0.03)
    assert noise[1].std() * 255 == pytest.approx(25, rel=0.03)
    assert torch.equal(noise[1, 0], noise[1, 2])
    assert not torch.equal(noise[0, 0], noise[0, 2])


def test_poisson_noise_grows_with_brightness_and_level() -> None:
    ramp = torch.linspace(0, 1, 128).expand(2, 3, 128, 128)
    level, grey = torch.tensor([1.0, 2.0]), torch.tensor([False, False])
    noise = poisson_noise(ramp, level, grey, torch.Generator().manual_seed(0))
    dark, bright = noise[0, :, :, 10:30].std(), noise[0, :, :, 100:120].std()
    assert bright > 1.8 * dark
    assert noise[1].std() == pytest.approx(2 * float(noise[0].std()), rel=0.05)


def test_a_pictures_degradation_does_not_depend_on_its_neighbours() -> None:
    hr = pictures(1)[0]
    one, _ = RepeatableTwoStage().degrade(hr, seed_for("a.png", 0))
    RepeatableTwoStage().degrade(hr, seed_for("b.png", 0))
    again, _ = RepeatableTwoStage().degrade(hr, seed_for("a.png", 0))
    other, _ = RepeatableTwoStage().degrade(hr, seed_for("a.png", 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
