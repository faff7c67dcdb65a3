"""Gains are means of differences picture by picture, with their standard errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sr_cli.metrics.gains import Gain, differences, gain


def pictures(
    *pairs: tuple[float | None, float | None],
) -> dict[str, dict[str, dict[str, float | None]]]:
    return {
        f"{number}.png": {"bicubic": {"psnr_y": bicubic}, "m": {"psnr_y": ours}}
        for number, (bicubic, ours) in enumerate(pairs)
    }


def test_the_error_is_that_of_the_differences_and_not_of_the_figures() -> None:
    bicubic = np.random.default_rng(0).uniform(20, 40, 50)
    gained = np.random.default_rng(1).normal(1.0, 0.1, 50)
    found = gain(pictures(*zip(bicubic, bicubic + gained, strict=True)), "m")
    assert found is not None
    assert found.mean == pytest.approx(gained.mean())
    assert found.standard_error == pytest.approx(gained.std(ddof=1) / math.sqrt(50))
    assert (found.pictures, found.larger) == (50, 50)


def test_a_loss_is_below_zero_and_one_picture_has_no_error() -> None:
    found = gain(pictures((25.0, 24.0)), "m")
    assert found == Gain(-1.0, None, 1, 0)
    assert str(found) == "-1.00"
    assert str(Gain(0.5, 0.126, 3, 2)) == "+0.50 ± 0.13"


def test_what_lacks_a_figure_or_has_an_infinite_one_is_left_out() -> None:
    some = pictures((25.0, 26.0), (None, 30.0), (math.inf, 40.0), (20.0, math.inf))
    some["4.png"] = {"bicubic": {"psnr_y": 20.0}}
    some["5.png"] = {"bicubic": {}, "m": {"psnr_y": 20.0}}
    assert differences(some, "m") == {"0.png": 1.0}
    assert gain(some, "other") is None


def test_any_figure_over_any_method() -> None:
    some = {"a": {"x": {"ssim_y": 0.5}, "y": {"ssim_y": 0.75}}}
    assert differences(some, "y", "x", "ssim_y") == {"a": 0.25}
