"""docs/results.md is what the stored runs say, and the manifest says the same."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

from results_page import compute, page, stored, tables, twins  # noqa: E402

from sr_cli.zoo.manifest import Model, manifest  # noqa: E402

RUNS = stored.load(DOCS / "results")
METHODS = ("bicubic", "dan-blur-x4.safetensors", "edsr-blur-x4.safetensors")
MODELS_MD = {2: (30.36, 0.8721), 3: (27.52, 0.7909), 4: (25.87, 0.7301)}
"""What bicubic interpolation reaches on Set5 under gaussian8, by the authors' code."""


@pytest.fixture
def released() -> Model:
    return next(model for model in manifest().values() if model.weights and model.figures)


def test_the_manifest_says_what_the_stored_runs_say() -> None:
    assert stored.disagreements(manifest().values(), RUNS) == []


@pytest.mark.parametrize("key", ["psnr_y", "bicubic_ssim_y", "cases", "data"])
def test_a_changed_figure_is_noticed(released: Model, key: str) -> None:
    before = set(stored.disagreements([released], RUNS))
    figure = dict(released.figures[0])
    figure[key] = "elsewhere" if key == "data" else figure[key] + 1
    changed = dataclasses.replace(released, figures=(figure,))
    (sentence,) = set(stored.disagreements([changed], RUNS)) - before
    assert released.name in sentence


def test_a_changed_skill_is_noticed(released: Model) -> None:
    before = set(stored.disagreements([released], RUNS))
    key, numbers = next(iter(released.estimate.items()))
    estimate = {**released.estimate, key: {**numbers, "correlation": 0.987}}
    changed = dataclasses.replace(released, estimate=estimate)
    assert any(key in s for s in set(stored.disagreements([changed], RUNS)) - before)


def test_the_manifest_can_be_brought_up_to_date(released: Model) -> None:
    figure = {**released.figures[0], "psnr_y": 1.0, "bicubic_ssim_y": 0.1, "cases": 3}
    key, numbers = next(iter(released.estimate.items()))
    skill = {key: {**numbers, "correlation": 0.987}}
    entry = {"name": released.name, "figures": [figure], "estimate": skill}
    stored.refresh(entry, RUNS)
    fresh = dataclasses.replace(
        released, figures=tuple(entry["figures"]), estimate=entry["estimate"]
    )
    assert stored.disagreements([fresh], RUNS) == []


def test_the_page_is_the_generated_one() -> None:
    text = page.render(manifest().values(), RUNS, DOCS / "results")
    assert (DOCS / "results.md").read_text(encoding="utf-8") == text, (
        "run `python docs/make_results.py`"
    )


def test_every_model_is_on_the_page() -> None:
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    for model in manifest().values():
        assert f"| {model.name} |" in text
        assert not model.weights or f"## {model.name}\n" in text


def test_every_picture_of_the_page_exists_and_strips_are_small() -> None:
    names = re.findall(r"\]\((results/[^)]+)\)", (DOCS / "results.md").read_text("utf-8"))
    assert names
    for name in names:
        assert (DOCS / name).is_file(), name
    strips = [path.stat().st_size for path in (DOCS / "results").glob("strip-*.jpg")]
    assert 0 < sum(strips) < 300_000


@pytest.mark.parametrize("scale", MODELS_MD)
def test_bicubic_under_gaussian8_is_that_of_the_authors_code(scale: int) -> None:
    answer = next(
        a
        for run in RUNS
        for a in run.answers
        if (a["protocol"], a["data"], a["scale"]) == ("gaussian8", "Set5", scale)
    )
    psnr, ssim = MODELS_MD[scale]
    assert answer["methods"]["bicubic"]["psnr_y"] == pytest.approx(psnr, abs=0.02)
    assert answer["methods"]["bicubic"]["ssim_y"] == pytest.approx(ssim, abs=0.0005)


def test_a_benchmark_is_a_table() -> None:
    row = {"size": [512, 512], "model": "m", "backend": "torch", "device": "cpu", "tile": "auto"}
    row |= {"precision": "fp32", "seconds": 3.21, "seconds_per_megapixel": 0.77}
    row |= {"peak_megabytes": None, "share_of_matrix_product": 0.456, "network_share": 0.9}
    last = tables.speed({"rows": [row]}).splitlines()[-1]
    assert last == "| 512x512 | m | torch cpu fp32 | auto | 3.21 | 0.77 | 90% | 46% | - | - | - |"


def test_a_model_that_harms_some_pictures_is_visible() -> None:
    answer = {
        "protocol": "real",
        "data": "made",
        "methods": {"bicubic": {}, "m": {}},
        "pictures": {
            "a.png": {"bicubic": {"psnr_y": 20.0}, "m": {"psnr_y": 23.0}},
            "b.png": {"bicubic": {"psnr_y": 25.0}, "m": {"psnr_y": 24.0}},
        },
    }
    assert "| 1 of 2 | -1.00 dB (b.png) | +3.00 dB |" in tables.worse([answer])


def test_an_outlook_finds_the_line_and_the_limit_that_points_were_made_with() -> None:
    spent = np.geomspace(1e14, 2e15, 20)
    straight = compute.outlook(spent, 0.4 + 0.1 * np.log2(spent / 2e15), 64e15)
    assert straight.slope == pytest.approx(0.1) and straight.line == pytest.approx(0.9)
    assert straight.gain == pytest.approx(0.4) and straight.lowest < straight.line
    flat = compute.outlook(spent, 0.9 - 0.5 * (spent / 2e15) ** -0.5, 64e15)
    truth = 0.9 - 0.5 * 32**-0.5
    assert flat.lowest <= truth <= flat.highest < flat.line
    with pytest.raises(ValueError, match="five points"):
        compute.outlook(spent[:4], spent[:4], 1e16)


def test_operations_are_counted_phase_by_phase() -> None:
    scores = {"psnr_y": 21.5, "bicubic": 21.0}
    log = [
        {"run": {"operations": [[10, 1.0], [30, 5.0]]}},
        {"step": 10, "iterations": 3, "validation": {**scores, "psnr_y": None}},
        {"step": 15, "iterations": 1, "validation": scores},
        {"step": 20, "iterations": 3, "validation": scores},
        {"step": 30, "iterations": 3, "validation": scores},
    ]
    spent, gains = compute.points(log)
    assert spent.tolist() == [60.0, 110.0] and gains.tolist() == [0.5, 0.5]


def test_the_share_of_the_gain_is_the_twins_rest() -> None:
    pictures = {
        str(i): {m: {"psnr_y": 20.0 + gain} for m, gain in zip(METHODS, (0, i, i / 2), strict=True)}
        for i in range(1, 7)
    }
    answer = {"data": "val", "methods": {m: {} for m in METHODS}, "pictures": pictures}
    rows = [line.split(" | ") for line in twins.shares("dan-blur-x4", [answer]).splitlines()[2:]]
    named = {row[0].removeprefix("| "): row[1:] for row in rows}
    assert named["val"][:3] == ["6", "3.50", "1.750 ± 0.382"]
    assert {row[-1].removesuffix(" |") for name, row in named.items() if "DIV2K" not in name} == {
        "50%"
    }
    assert [named[f"all: {third} to gain"][1] for third in twins.THIRDS] == ["1.50", "3.50", "5.50"]
    # RealDAN, Table 1, x4: 28.90 and 28.68 of 25.33 dB.
    assert named["DIV2KRK (RealDAN, Table 1)"][1:] == ["3.57", "0.22", "6% |"]
