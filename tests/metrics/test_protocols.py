"""The same picture and seed make the same benchmark, everywhere, and it is the papers' one."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.jpeg import jpeg
from sr_cli.degradation.layout import TWO_STAGE, blur_layout
from sr_cli.degradation.repeatable import cut, to_levels
from sr_cli.metrics.blur import kernel_mse, kernel_of, lr_psnr
from sr_cli.metrics.evaluation import (
    CaseError,
    Measures,
    Row,
    averages,
    bicubic,
    by_condition,
    by_picture,
    jobs,
    left_out,
    measure,
)
from sr_cli.metrics.gains import Gain, gain
from sr_cli.metrics.protocols import (
    PROTOCOLS,
    Case,
    blur_and_shrink,
    isotropic_kernel,
)
from tests.metrics.made import picture, save

CHECKSUMS = {
    ("real", 4): "62373f5a3e087219",
    ("real-published", 4): "17e8523ceb00aa0a",
    ("real-cropped", 4): "03d70e6744155a45",
    ("gaussian8", 2): "5ce4db3cb753250f",
    ("gaussian8", 3): "d028b3907371862d",
    ("gaussian8", 4): "c5d5654e15fda54f",
    ("aniso", 2): "12964e62b50e325f",
    ("aniso", 4): "4b881a2bb725f7a4",
    ("mild", 2): "d31b3a8baeb986fe",
    ("mild", 3): "4f73c86bbaaf8b1b",
    ("mild", 4): "2535434edc19e0a0",
    ("blur-noise", 2): "ad9345a5d9eb8d55",
    ("blur-noise", 3): "9a65fd36ecc8af3f",
    ("blur-noise", 4): "f9fba784e7041609",
}
"""Of the 8-bit pictures that three pictures give, over all conditions.  They were the same with the
plainest and the widest vector instructions of the matrix library, with one thread and with two."""


@pytest.fixture(scope="module")
def reference() -> Mapping[str, Any]:
    with np.load(Path(__file__).parents[1] / "reference" / "degradation.npz") as arrays:
        return {k: arrays[k] for k in arrays.files if k.startswith(("dan/", "kerneldan/"))}


@pytest.mark.parametrize(("protocol", "scale"), CHECKSUMS)
def test_pictures_are_the_same_on_every_machine(protocol: str, scale: int) -> None:
    digest = hashlib.sha256()
    for seed in range(3):
        for condition in PROTOCOLS[protocol].at(scale).conditions:
            case = condition.degrade(f"{seed}.png", picture(96, 120, seed), seed)
            digest.update((case.lr * 255).round().byte().numpy().tobytes())
    assert digest.hexdigest()[:16] == CHECKSUMS[protocol, scale]


def test_every_synthetic_protocol_has_a_checksum() -> None:
    made = {(p.name, s) for p in PROTOCOLS.values() for s in p.scales if p.at(s).conditions}
    assert made == set(CHECKSUMS)


def test_cropping_moves_the_grid_of_the_same_picture() -> None:
    (whole,), (cropped,) = (PROTOCOLS[n].at(4).conditions for n in ("real", "real-cropped"))
    cuts = set()
    for seed in range(20):
        hr = picture(96, 120, 0)
        all_of_it, rest = whole.degrade("a.png", hr, seed), cropped.degrade("a.png", hr, seed)
        assert rest.hr is not None and rest.vector is not None and all_of_it.vector is not None
        top, left = (a - b for a, b in zip(all_of_it.lr.shape[1:], rest.lr.shape[1:], strict=True))
        assert torch.equal(rest.lr, all_of_it.lr[:, top:, left:])
        assert torch.equal(rest.hr, hr[:, 4 * top :, 4 * left :])
        assert torch.equal(rest.vector, all_of_it.vector)
        cuts |= {top, left}
    assert cuts == set(range(1, 8))


@pytest.mark.parametrize(("scale", "kernel"), [(2, "iso21/values.1"), (3, "iso21/values.2")])
def test_low_resolution_pictures_are_those_of_the_published_code(
    reference: Mapping[str, Any], scale: int, kernel: str
) -> None:
    name, number = kernel.split(".")
    blur_kernel = torch.from_numpy(reference[f"dan/{name}"][int(number)])
    sigma = float(reference["dan/iso21/sigma"][int(number)])
    assert torch.allclose(isotropic_kernel(sigma, 21), blur_kernel, atol=1e-12)
    hr = torch.from_numpy(reference["dan/lr/hr"][0])
    ours = blur_and_shrink(hr, blur_kernel, scale)
    theirs = torch.from_numpy(reference[f"dan/lr/x{scale}_down"][0])
    assert (ours - theirs).abs().max() < 1e-6  # theirs is float32
    rounded = torch.from_numpy(reference[f"dan/lr/x{scale}"][0]).clamp(0, 1)
    assert (to_levels(ours) - rounded).abs().max() < 0.5 / 255


def test_the_papers_sigmas_and_grids() -> None:
    eight = PROTOCOLS["gaussian8"].at(4).conditions
    assert [c.name for c in (eight[0], eight[1], eight[-1])] == [
        *("sigma 1.80", "sigma 2.00", "sigma 3.20"),
    ]
    grid = [c.name for c in PROTOCOLS["blur-noise"].at(2).conditions]
    assert len(grid) == 9 and {"[0.2, 0]", "[1.3, 15]", "[2.6, 50]"} <= set(grid)
    with pytest.raises(KeyError):
        PROTOCOLS["aniso"].at(3)


def test_little_is_wrong_under_mild_but_jpeg() -> None:
    hr = picture(96, 120, 0)
    plain, fine, _, coarse = PROTOCOLS["mild"].at(2).conditions
    assert [plain.name, fine.name, coarse.name] == ["no JPEG", "JPEG 90", "JPEG 40"]
    cases = [one.degrade("a.png", hr, 0) for one in (plain, fine, coarse)]
    assert torch.equal(cases[0].lr, to_levels(imresize(hr.double()[None], Fraction(1, 2))[0]))
    assert torch.equal(cases[1].lr, fine.degrade("b.png", hr, 7).lr)  # nothing is drawn
    ours = cases[2].lr.permute(1, 2, 0).mul(255).round().byte().numpy()
    stream = io.BytesIO()
    Image.fromarray(cases[0].lr.permute(1, 2, 0).mul(255).round().byte().numpy()).save(
        stream, "JPEG", quality=40, subsampling="4:2:0"
    )
    theirs = np.asarray(Image.open(stream)).astype(int)
    assert np.abs(ours - theirs).mean() < 2  # of 255; ties of chroma
    small, large = ((one.lr - cases[0].lr).abs().mean() for one in cases[1:])
    assert 0 < small < large


def test_noise_is_as_strong_as_its_name_says() -> None:
    hr = torch.full((3, 300, 300), 0.5)
    quiet, loud = (
        next(c for c in PROTOCOLS["blur-noise"].at(3).conditions if c.name == name)
        for name in ("[0.2, 0]", "[0.2, 15]")
    )
    assert len(quiet.degrade("a", hr, 0).lr.unique()) == 1
    assert float(loud.degrade("a", hr, 0).lr.std() * 255) == pytest.approx(15, rel=0.01)


def test_ties_are_rounded_alike_whatever_the_last_bit() -> None:
    half = torch.full((3, 2, 2), 100.5, dtype=torch.float64) / 255
    assert torch.equal(to_levels(half * (1 + 1e-15)), to_levels(half * (1 - 1e-15)))


@pytest.mark.parametrize("physical", [True, False])
def test_jpeg_with_ties_is_jpeg(physical: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 50, 70, dtype=torch.float64, generator=generator)
    x = (x + picture(50, 70)) / 2
    for quality in (torch.tensor([30.0]), torch.tensor([90.0])):
        ours = jpeg(x, quality, physical=physical, settle=cut)
        theirs = jpeg(x, quality, physical=physical)
        # One block of a hundred holds a tie, and such a block moves by a quantisation step.
        assert ((ours - theirs).abs() < 1e-9).double().mean() > 0.9
        assert (ours - theirs).abs().mean() < 0.1 / 255


def test_another_seed_is_another_degradation(photographs: Path) -> None:
    benchmark = PROTOCOLS["real"].at(4)
    first, again = (jobs(benchmark, photographs, 0) for _ in range(2))
    other = jobs(benchmark, photographs, 1)
    assert len(first) == 4
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a.make().lr, b.make().lr)
        assert not torch.equal(a.make().lr, c.make().lr)
        hr = a.make().hr
        assert hr is not None and hr.shape[-1] == 4 * a.make().lr.shape[-1]


def test_a_better_method_gets_better_figures() -> None:
    benchmark = PROTOCOLS["gaussian8"].at(2)
    rows = []
    for number in range(2):
        hr = picture(60, 80, number)
        noise = 0.01 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(number))
        methods = {
            "bicubic": bicubic(2),
            "nearly": lambda case, noise=noise: (case.hr + noise, None),
        }
        for condition in benchmark.conditions[:2]:
            case = condition.degrade(f"{number}.png", hr, 0)
            rows += measure(case, methods, benchmark, Measures(rgb=True))[0]
    means = averages(rows)
    # White noise of 2.55 levels in RGB: 40 dB, and 45 dB in luma, less what clamping removes.
    assert means["nearly"]["psnr_rgb"] == pytest.approx(40.5, abs=1)
    assert means["nearly"]["psnr_y"] == pytest.approx(45.5, abs=1)
    assert means["bicubic"]["psnr_y"] < 35
    assert list(by_condition(rows)) == ["sigma 0.80", "sigma 0.91"]
    assert list(by_picture(rows)) == ["0.png", "1.png"]
    alone = by_picture(rows)["0.png"]["bicubic"]["psnr_y"]
    both = by_picture(rows)["1.png"]["bicubic"]["psnr_y"]
    assert means["bicubic"]["psnr_y"] == pytest.approx((alone + both) / 2)


def test_means_are_of_the_same_cases() -> None:
    def reached(method: str, *values: float) -> list[Row]:
        return [
            Row(method, str(number // 2), "", number % 2, {"psnr_y": value})
            for number, value in enumerate(values)
        ]

    # The network is better on every case, and exactly right on the first.
    rows = reached("bicubic", 50, 29.5, 30, 27) + reached("m", math.inf, 30, 31, 27.5)
    found = averages(rows)
    assert found["m"]["psnr_y"] == pytest.approx(29.5)
    assert found["bicubic"]["psnr_y"] == pytest.approx((29.5 + 30 + 27) / 3)
    assert gain(by_picture(rows), "m") == Gain(pytest.approx(0.625), pytest.approx(0.125), 2, 2)
    # Where nothing would be left, all counts.
    equal = reached("bicubic", 50) + reached("m", math.inf)
    assert averages(equal)["m"]["psnr_y"] == math.inf
    assert averages(equal)["bicubic"]["psnr_y"] == 50
    assert left_out(equal) == {} and left_out(rows) == {"m": {"psnr_y": 1}}


def test_a_case_that_a_method_has_no_figure_of_is_in_no_mean() -> None:
    def reached(method: str, *values: float | None) -> list[Row]:
        return [
            Row(method, str(number), "", 0, {} if value is None else {"niqe_own": value})
            for number, value in enumerate(values)
        ]

    # The network is better on every case, but bicubic's first result is flat.
    rows = reached("bicubic", None, 9, 5) + reached("m", 13, 8, 4)
    assert averages(rows) == {"bicubic": {"niqe_own": 7}, "m": {"niqe_own": 6}}
    assert left_out(rows) == {"bicubic": {"niqe_own": 1}}
    assert by_picture(rows)["0"] == {"bicubic": {}, "m": {"niqe_own": 13}}
    # Not one case that both have.
    rows = reached("bicubic", None, 9) + reached("m", 13, None)
    assert averages(rows) == {"bicubic": {}, "m": {}}
    assert left_out(rows) == {"bicubic": {"niqe_own": 1}, "m": {"niqe_own": 1}}
    # Who is not measured in it keeps nobody waiting.
    rows = reached("bicubic", None, None) + reached("m", 13, 8)
    assert averages(rows) == {"bicubic": {}, "m": {"niqe_own": 10.5}}
    assert left_out(rows) == {}


def test_a_picture_smaller_than_the_border_is_named(tmp_path: Path) -> None:
    save(tmp_path / "tiny.png", 16, 40)
    (job,) = jobs(PROTOCOLS["gaussian8"].at(4), tmp_path, 0)[:1]
    with pytest.raises(CaseError, match=r"tiny\.png is 40x16.*at least 20x20"):
        job.make()


def test_an_empty_folder_has_no_cases(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no picture"):
        jobs(PROTOCOLS["real"].at(4), tmp_path, 0)


@pytest.mark.parametrize("radius", [5, 15])
def test_an_estimate_of_the_blur_layout_is_a_kernel(
    reference: Mapping[str, Any], radius: int
) -> None:
    size = 2 * radius + 1
    for numbers, values in zip(
        reference[f"kerneldan/k{size}/numbers"],
        reference[f"kerneldan/k{size}/values"],
        strict=True,
    ):
        kernel = kernel_of(blur_layout(radius), torch.from_numpy(numbers), size)
        assert kernel is not None
        assert (kernel - torch.from_numpy(values)).abs().max() < 1e-6
        assert kernel_mse(kernel, torch.from_numpy(values)) < 1e-9


def test_a_whole_kernel_is_an_estimate_too_and_other_numbers_are_not() -> None:
    truth = isotropic_kernel(1.5, 21)
    kernel = kernel_of(None, truth.flatten() * 3, 21)
    assert kernel is not None and torch.allclose(kernel, truth)
    assert kernel_of(None, torch.zeros(10), 21) is None


def test_kernel_error_and_lr_psnr_tell_good_estimates_from_bad() -> None:
    benchmark = PROTOCOLS["aniso"].at(2)
    mild = 0.25 + picture(64, 72) / 2  # so that no overshoot is clamped
    case = benchmark.conditions[0].degrade("a.png", mild, 0)
    assert case.vector is not None and case.kernel is not None
    layout = {"m": blur_layout(5)}

    def method(vector: torch.Tensor) -> dict[str, Any]:
        return {"m": lambda case: (bicubic(2)(case)[0], vector)}

    good, bad = (
        measure(case, method(vector), benchmark, layouts=layout)[0][0].values
        for vector in (case.vector, torch.zeros(8))
    )
    assert good["kernel_mse"] < bad["kernel_mse"] / 2
    assert good["lr_psnr"] > bad["lr_psnr"]
    # Rounding to 8 bits alone leaves a twelfth of a level squared: 59 dB, more in luma.
    assert lr_psnr(blur_and_shrink(mild, case.kernel, 2), case.lr) > 59


def test_kernel_error_compares_shapes_not_sums() -> None:
    dot, line = torch.zeros(2, 5, 5)
    dot[2, 2], line[2] = 0.3, 0.2
    assert kernel_mse(dot, dot * 7) == 0
    assert kernel_mse(dot, line) == pytest.approx(4 / 25)  # peaks of one: four of 25 differ by one


@pytest.mark.parametrize(("channel", "weight"), list(enumerate((65.481, 128.553, 24.966))))
def test_lr_psnr_is_that_of_luma(channel: int, weight: float) -> None:
    lr = picture(8, 10)
    again = lr.clone()
    again[channel] += 0.1
    assert lr_psnr(again, lr) == pytest.approx(-20 * math.log10(0.1 * weight / 255), abs=1e-4)


def test_no_kernel_is_made_of_the_two_stage_numbers() -> None:
    assert kernel_of(TWO_STAGE, torch.zeros(42), 21) is None


def test_an_estimate_below_no_blur_is_a_kernel_of_a_pixels_width() -> None:
    layout = blur_layout(5)
    nothing = torch.tensor(layout.encode(layout.decode([0.0] * 8) | {"stage1.sigma_x": -1.0}))
    kernel = kernel_of(layout, nothing, 11)
    assert kernel is not None
    # sigma_x points down in this layout: what is left is one row.
    assert float(kernel[5].sum()) == pytest.approx(1) and float(kernel[5, 5]) < 0.7


def test_without_truth_only_what_needs_none_is_measured() -> None:
    benchmark = PROTOCOLS["no-reference"].at(4)
    case = Case("a.png", picture(60, 60), None)
    rows, _ = measure(case, {"bicubic": bicubic(4)}, benchmark, Measures(niqe=True))
    assert rows[0].values.keys() == {"niqe_own"}
