"""The same picture and seed make the same bad picture wherever that is computed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from sr_cli.cli.degrade import _facts, degrade
from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.degradation.repeatable import RepeatableTwoStage, to_levels
from sr_cli.degradation.two_stage import SMALLEST_SIDE
from tests.conftest import Outcome, scene

SEEDS = range(12)


def digest() -> str:
    """Of some degradations of one picture; a third of them have ties that processors differ in."""
    hr = torch.from_numpy(scene(160, 160)).permute(2, 0, 1) / 255
    model = RepeatableTwoStage()
    pictures = [model.degrade(hr, seed)[0].numpy().tobytes() for seed in SEEDS]
    return hashlib.sha256(b"".join(pictures)).hexdigest()


def test_a_processor_of_other_instructions_makes_the_same_pictures() -> None:
    other = dict(os.environ, ATEN_CPU_CAPABILITY="default", MKL_CBWR="COMPATIBLE")
    code = "from tests.degradation.test_repeatable import digest; print(digest())"
    there = subprocess.run(
        [sys.executable, "-c", code], env=other, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == digest()


def test_black_has_no_sign() -> None:
    levels = to_levels(torch.tensor([-0.0, 0.0, -1e-12, -3.0, 1.0]))
    assert not levels.signbit().any()
    assert levels.tolist() == [0, 0, 0, 0, 1]


def test_what_a_seed_has_drawn_makes_with_that_seed_the_same_picture() -> None:
    hr = torch.from_numpy(scene(160, 160)).permute(2, 0, 1) / 255
    model = RepeatableTwoStage()
    for seed in SEEDS:
        picture, vector = model.degrade(hr, seed)
        again, same = model.degrade(hr, seed, vector)
        assert torch.equal(again, picture) and torch.equal(same, vector)


def test_given_numbers_leave_the_noise_to_the_seed() -> None:
    hr = torch.from_numpy(scene(96, 96)).permute(2, 0, 1) / 255
    model = RepeatableTwoStage()
    _, vector = model.degrade(hr, 0)
    one, again, other = (model.degrade(hr, seed, vector)[0] for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_numbers_such_as_are_drawn_are_told_as_they_were_given() -> None:
    hr = torch.from_numpy(scene(96, 96)).permute(2, 0, 1) / 255
    model = RepeatableTwoStage()
    for seed in SEEDS:
        vector = model.sample(1, torch.Generator().manual_seed(seed)).vector()[0]
        assert torch.equal(model.degrade(hr, 100, vector)[1], vector)
    told = model.degrade(hr, 100, torch.full_like(vector, 0.4))[1].tolist()
    assert all(told[p.index] in (0, 1) for p in TWO_STAGE.parameters if p.is_flag)


def test_values_are_exactly_what_the_page_says_of_them() -> None:
    idle = {"beta": 1, "jpeg_quality": 100}
    for seed in range(60):
        drawn = RepeatableTwoStage().sample(1, torch.Generator().manual_seed(seed))
        vector = drawn.vector()[0].tolist()
        values = _facts(vector, "physical")["values"]
        assert list(values) == [p.key for p in TWO_STAGE.parameters]
        for p, applies in zip(TWO_STAGE.parameters, TWO_STAGE.applicable(vector), strict=True):
            value = values[p.key]
            assert applies or value == idle.get(p.name, 0)
            assert value == pytest.approx(TWO_STAGE.decode(vector)[p.key], abs=1e-5) or not applies
            assert str(value) != "-0.0"
            if p.is_flag or p.name in ("radius", "jpeg_quality"):
                assert value == round(value)
        for name, stage in (("stage1", drawn.stage1), ("stage2", drawn.stage2)):
            for key in ("theta", "beta"):
                if getattr(stage, key) == idle.get(key, 0):
                    assert values[f"{name}.{key}"] == idle.get(key, 0)


def test_help_of_degrade_says_how_large_pictures_must_be() -> None:
    assert f"at least {SMALLEST_SIDE} pixels" in (degrade.__doc__ or "")
    assert f"multiple of {RepeatableTwoStage().scale} " in (degrade.__doc__ or "")


def test_degrade_makes_a_picture_again_of_its_own_json(
    program: Callable[..., Outcome], tmp_path: Path
) -> None:
    sharp = tmp_path / "sharp.png"
    Image.fromarray(scene(120, 140)).save(sharp)
    for seed in range(4):
        first, again = tmp_path / f"first{seed}", tmp_path / f"again{seed}"
        assert program("degrade", sharp, "-o", first, "--seed", seed).status == 0
        facts = first / "sharp.json"
        run = ("degrade", sharp, "-o", again, "--seed", seed, "--degradation", facts)
        assert program(*run).status == 0
        for name in ("sharp.png", "sharp.json"):
            assert (again / name).read_bytes() == (first / name).read_bytes()
    page = Path(__file__).parents[2] / "docs" / "json.md"
    written = page.read_text(encoding="utf-8").split("## What degrade writes")[1]
    assert all(f"`{key}`" in written for key in json.loads(facts.read_text()))
