"""An estimate in a sentence."""

from __future__ import annotations

import pytest

from sr_cli.degradation.answer import to_json
from sr_cli.degradation.explain import explain
from sr_cli.degradation.layout import TWO_STAGE, blur_layout
from sr_cli.degradation.summary import clauses, summary

SURE = {p.key: {"correlation": 1.0, "error": 0.0} for p in TWO_STAGE.parameters}
BLUR = blur_layout(15)


def said(skill: dict[str, dict[str, float]] = SURE, **values: float) -> dict[str, str]:
    """What is said of a picture, by topic; flags are not set unless named."""
    usual = TWO_STAGE.decode([0.5] * 42) | {p.key: 0.0 for p in TWO_STAGE.parameters if p.is_flag}
    usual |= {"stage2.scale": 1.0}
    vector = TWO_STAGE.encode(usual | {k.replace("__", "."): v for k, v in values.items()})
    return {clause.topic: clause.text for clause in clauses(explain(TWO_STAGE, vector, skill))}


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        (35, "strong JPEG compression (quality 35"),
        (60, "JPEG compression (quality 60"),
        (90, "light JPEG compression (quality 90"),
        (120, "light JPEG compression (quality 95 \N{PLUS-MINUS SIGN} 0 or more)"),
    ],
)
def test_compression_is_told_by_its_quality(quality: float, words: str) -> None:
    assert said(stage2__is_jpeg=1, stage2__jpeg_quality=quality)["JPEG"].startswith(words)
    assert said(stage2__is_jpeg=0)["JPEG"] == "no JPEG compression that shows"


@pytest.mark.parametrize(
    ("sigma", "grade"), [(-3, "hardly any"), (2, "hardly any"), (6, "some"), (20, "strong")]
)
def test_noise_is_told_by_its_deviation(sigma: float, grade: str) -> None:
    noise = said(stage2__noise_is_gaussian=1, stage2__gaussian_sigma=sigma)["noise"]
    assert noise.startswith(f"{grade} noise") and f"about {max(sigma, 1)} of 255" in noise


def test_poisson_noise_counts_as_it_is_on_mid_grey() -> None:
    assert "about 11 of 255" in said(stage2__poisson_level=1.0)["noise"]
    unsure = SURE | {"stage2.noise_is_gaussian": {"correlation": 0.1, "error": 0.5}}
    both = said(unsure, stage2__poisson_level=1.0, stage2__gaussian_sigma=5)
    assert "about 8 of 255" in both["noise"]  # the mean of what it is in either case
    little = said(unsure, stage2__poisson_level=1.0, stage2__gaussian_sigma=2)
    assert little["noise"] == "hardly any noise (about 2 of 255)"  # of which it is not taught


@pytest.mark.parametrize(
    ("score", "words"), [(0.9, "noise without colour"), (0.5, "noise ("), (0.1, "noise in colour")]
)
def test_colour_of_noise_is_told_where_it_is_clear(score: float, words: str) -> None:
    strong = {"stage2__noise_is_gaussian": 1.0, "stage2__gaussian_sigma": 20.0}
    assert words in said(stage2__noise_is_grey=score, **strong)["noise"]


def test_resizes_and_low_passes_are_told_where_they_are() -> None:
    assert {"size", "low-pass"}.isdisjoint(said())
    assert said(stage2__scale=0.5)["size"] == "once enlarged, from about 50% of its width"
    cut = said(final__is_sinc=1, final__omega=3.14159 / 2)["low-pass"]
    assert cut == "softened, perhaps with ringing at edges (no detail finer than 2.0 pixels)"
    assert "low-pass" not in said(final__is_sinc=1, final__omega=3.0)  # nothing that shows


def test_nothing_is_said_of_what_is_not_known() -> None:
    hardly = {"correlation": 0.1, "error": 1.0}
    assert said({p.key: hardly for p in TWO_STAGE.parameters}, stage2__is_jpeg=1) == {}
    assert said({}) == {}
    assert summary(()) is None
    no_quality = SURE | {"stage2.jpeg_quality": hardly}
    assert said(no_quality, stage2__is_jpeg=1)["JPEG"] == "JPEG compression"
    assert to_json(TWO_STAGE, [0.5] * 42, {})["summary"] is None
    assert to_json(None, [0.5], {})["summary"] is None


@pytest.mark.parametrize(
    ("widths", "words"),
    [
        ((0.8, 0.9), "slight blur (0.8 by 0.9 pixels"),
        ((2.0, 1.9), "clear blur (2.0 by 1.9 pixels"),
        ((4.0, 4.5), "strong blur (4.0 by 4.5 pixels"),
        ((4.0, 1.0), "clear blur, more one way than the other (4.0 by 1.0 pixels"),
    ],
)
def test_blur_alone_is_told_by_its_widths(widths: tuple[float, float], words: str) -> None:
    vector = BLUR.encode(
        BLUR.decode([0.5] * 8) | {"stage1.sigma_x": widths[0], "stage1.sigma_y": widths[1]}
    )
    skill = {p.key: {"correlation": 1.0, "error": 0.0} for p in BLUR.parameters}
    line = summary(explain(BLUR, vector, skill))
    assert line is not None and line.startswith(words)
