"""The same picture and seed make the same bad picture wherever that is computed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from sr_cli.degradation.repeatable import RepeatableTwoStage, to_levels
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
