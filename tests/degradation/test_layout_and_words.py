"""The layout's table, and an estimate in words."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from sr_cli.degradation.answer import to_json
from sr_cli.degradation.explain import explain
from sr_cli.degradation.layout import TWO_STAGE, blur_layout
from sr_cli.degradation.two_stage import TwoStageModel

GOOD = {p.key: {"correlation": 0.9, "error": 0.1} for p in TWO_STAGE.parameters}


def drawn(seed: int) -> list[float]:
    return TwoStageModel().sample(1, torch.Generator().manual_seed(seed)).vector()[0].tolist()


def text(vector: list[float], skill: dict[str, dict[str, float]]) -> str:
    return "\n".join(f"{s.stage} {s.name}: {s.text}" for s in explain(TWO_STAGE, vector, skill))


def test_every_index_is_used_once_and_every_name_is_unique() -> None:
    for layout in (TWO_STAGE, blur_layout(5)):
        assert [p.index for p in layout.parameters] == list(range(len(layout)))
        assert len({p.key for p in layout.parameters}) == len(layout)
    assert len(TWO_STAGE) == 42 and len(blur_layout(15)) == 8


PUBLISHED = {
    "sigma_x": ((0.2, 3.0), (0.2, 1.5)),
    "sigma_y": ((0.2, 3.0), (0.2, 1.5)),
    "theta": ((0.0, 90.0), (0.0, 90.0)),
    "beta": ((0.5, 4.0), (0.5, 4.0)),
    "radius": ((3.0, 11.0), (3.0, 11.0)),
    "omega": ((0.0, math.pi), (0.0, math.pi)),
    "scale": ((0.15, 1.5), (0.3, 1.2)),
    "gaussian_sigma": ((1.0, 30.0), (1.0, 25.0)),
    "poisson_level": ((0.05, 3.0), (0.05, 2.5)),
    "jpeg_quality": ((30.0, 95.0), (30.0, 95.0)),
}
"""Ranges of the published option files, first and second stage."""


def test_ranges_are_the_published_ones() -> None:
    for parameter in TWO_STAGE.parameters:
        wanted = (0.0, 1.0)
        if not parameter.is_flag:
            wanted = PUBLISHED[parameter.name][parameter.stage == "stage2"]
        assert (parameter.low, parameter.high) == wanted, parameter.key


@pytest.mark.parametrize("seed", range(20))
def test_encoding_undoes_decoding(seed: int) -> None:
    vector = drawn(seed)
    assert TWO_STAGE.encode(TWO_STAGE.decode(vector)) == pytest.approx(vector, abs=1e-6)


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="42 numbers, not 3"):
        TWO_STAGE.decode([0, 0, 0])
    with pytest.raises(ValueError, match=r"stage1\.sigma_x"):
        TWO_STAGE.encode({})


def vector_with(**values: float) -> list[float]:
    decoded = TWO_STAGE.decode([0.5] * 42)
    flags = {p.key: 0.0 for p in TWO_STAGE.parameters if p.is_flag}
    return TWO_STAGE.encode(decoded | flags | {k.replace("__", "."): v for k, v in values.items()})


def test_quality_is_shown_with_its_error_where_there_is_jpeg() -> None:
    skill = GOOD | {"stage2.jpeg_quality": {"correlation": 0.9, "error": 8.2}}
    shown = text(vector_with(stage2__is_jpeg=1, stage2__jpeg_quality=43), skill)
    assert "stage2 JPEG: compressed: yes (score 1.00), quality 43 \N{PLUS-MINUS SIGN} 8" in shown


def test_what_does_not_apply_is_left_out() -> None:
    shown = text(vector_with(stage2__is_jpeg=0, stage2__is_sinc=1), GOOD)
    assert "quality" not in shown.split("stage2 JPEG")[1].split("\n")[0]
    blur = shown.split("stage2 Blur")[1].split("\n")[0]
    assert "sigma" not in blur and "cut-off" in blur


def test_a_plateaus_shape_stays_in_the_range_of_plateaus() -> None:
    vector = vector_with(stage1__is_gaussian=0)
    vector[next(p.index for p in TWO_STAGE.parameters if p.key == "stage1.beta")] = 2.0
    assert "shape 2.00" in text(vector, GOOD)


def test_a_number_without_skill_is_never_shown_as_a_figure() -> None:
    skill = GOOD | {"stage2.jpeg_quality": {"correlation": 0.29, "error": 8.2}}
    shown = text(vector_with(stage2__is_jpeg=1, stage2__jpeg_quality=43), skill)
    assert "43" not in shown
    assert "not known" in shown


@pytest.mark.parametrize(("count", "known"), [(18, False), (40, True), (3, False)])
def test_a_correlation_that_chance_may_make_of_few_cases_is_no_skill(
    count: int, known: bool
) -> None:
    few = {"correlation": 0.387, "error": 8.2, "count": count}
    shown = text(
        vector_with(stage2__is_jpeg=1, stage2__jpeg_quality=43),
        GOOD | {"stage2.jpeg_quality": few},
    )
    assert ("quality 43" in shown) is known


def test_a_number_whose_flag_is_not_known_is_shown_with_that_condition() -> None:
    skill = GOOD | {"stage2.noise_is_gaussian": {"correlation": 0.1, "error": 0.4}}
    vector = vector_with(stage2__gaussian_sigma=9, stage2__poisson_level=1.5)
    noise = text(vector, skill).split("stage2 Noise")[1].split("\n")[0]
    assert "of 255 if Gaussian, Poisson level 1.50" in noise and "if not Gaussian" in noise
    answer = to_json(TWO_STAGE, vector, skill)
    numbers = {s["stage"]: s["numbers"] for s in answer["stages"]}["stage2"]
    assert numbers["noise_is_gaussian"]["value"] is None
    assert numbers["gaussian_sigma"]["value"] == pytest.approx(9)
    assert numbers["gaussian_sigma"]["if"] == {"noise_is_gaussian": True}
    assert numbers["poisson_level"]["if"] == {"noise_is_gaussian": False}
    assert "if" not in numbers["scale"]


def test_a_number_without_skill_is_not_known_under_any_condition() -> None:
    unknown = {"correlation": 0.1, "error": 0.4}
    skill = GOOD | {"stage2.is_jpeg": unknown, "stage2.jpeg_quality": unknown}
    shown = text(vector_with(stage2__is_jpeg=1, stage2__jpeg_quality=43), skill)
    assert shown.splitlines()[7].endswith("JPEG: not known")


def test_without_measured_skill_nothing_is_known() -> None:
    numbers = [
        number
        for stage in to_json(TWO_STAGE, drawn(0), {})["stages"]
        for number in stage["numbers"].values()
    ]
    assert numbers and all(n["value"] is None and not n["known"] for n in numbers)


def test_json_holds_the_networks_numbers_and_stages_in_order() -> None:
    answer = to_json(TWO_STAGE, drawn(1), GOOD)
    assert answer["vector"] == pytest.approx(drawn(1), abs=1e-6)
    assert [s["stage"] for s in answer["stages"]] == ["stage1", "stage2", "final"]


def test_values_are_limited_to_what_the_model_was_trained_on() -> None:
    vector = vector_with(stage2__is_jpeg=1, stage2__jpeg_quality=140, stage2__scale=0.1)
    shown = text(vector, GOOD)
    assert "quality 95 \N{PLUS-MINUS SIGN} 0 or more" in shown
    assert "factor 0.30 \N{PLUS-MINUS SIGN} 0.10 or less" in shown
    stages = to_json(TWO_STAGE, vector, GOOD)["stages"]
    numbers = {s["stage"]: s["numbers"] for s in stages}
    assert numbers["stage2"]["jpeg_quality"]["limit"] == "high"
    assert numbers["stage2"]["scale"]["limit"] == "low"
    assert "limit" not in numbers["stage1"]["scale"] | numbers["stage2"]["is_jpeg"]


def test_explaining_needs_no_torch() -> None:
    code = (
        "import sys; from sr_cli.degradation.explain import explain;"
        "from sr_cli.degradation.layout import TWO_STAGE; explain(TWO_STAGE, [0.5] * 42, {});"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


WORDS = """
First stage | Blur | low-pass ringing: no (score 0.00), Gaussian: yes (score 1.00), \
sigma down 1.3 ± 0.3 px, angle 33 ± 3°, shape 1.05 ± 0.26, radius 7.0 ± 0.3 px; rest not known
First stage | Resize | factor 0.70 ± 0.26, area: no (score 0.00), bicubic: yes (score 1.00), \
bilinear: no (score 0.00)
First stage | Noise | Gaussian: yes (score 1.00), grey: no (score 0.00), \
sigma 30.0 ± 0.3 of 255 or more
First stage | JPEG | compressed: no (score 0.00)
Second stage | Blur | low-pass ringing: yes (score 1.00), cut-off 2.0 ± 0.3 rad/px, \
radius 7.0 ± 0.3 px
Second stage | Resize | not known
Second stage | Noise | Gaussian: no (score 0.00), grey: yes (score 0.50), \
Poisson level 0.05 ± 0.26 or less
Second stage | JPEG | compressed: no (score 0.49)
Final resize | Low-pass | low-pass ringing: yes (score 0.90), cut-off 1.5 ± 0.3 rad/px, \
radius 7.0 ± 0.3 px
Final resize | Resize | not known
"""


def test_a_whole_estimate_in_words() -> None:
    skill = {p.key: {"correlation": 0.9, "error": 0.26, "count": 160} for p in TWO_STAGE.parameters}
    skill["stage1.theta"]["error"] = 3.4
    del skill["stage1.sigma_y"]
    for mode in ("mode_area", "mode_bicubic", "mode_bilinear"):
        skill[f"stage2.{mode}"]["correlation"] = 0.29
        skill[f"final.{mode}"]["count"] = 3
    skill["stage2.scale"]["correlation"] = 0.29
    vector = vector_with(
        stage1__is_gaussian=1,
        stage1__sigma_x=1.27,
        stage1__theta=33.4,
        stage1__beta=1.05,
        stage1__scale=0.7,
        stage1__mode_bicubic=1,
        stage1__noise_is_gaussian=1,
        stage1__gaussian_sigma=40,
        stage2__is_sinc=1,
        stage2__omega=2.04,
        stage2__noise_is_grey=0.5,
        stage2__poisson_level=0.01,
        stage2__is_jpeg=0.49,
        final__is_sinc=0.9,
        final__omega=1.5,
    )
    found = [f"{s.title} | {s.name} | {s.text}" for s in explain(TWO_STAGE, vector, skill)]
    assert found == WORDS.strip().splitlines()
