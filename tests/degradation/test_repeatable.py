"""The same picture and seed make the same bad picture wherever that is computed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import torch

from sr_cli.degradation.repeatable import RepeatableTwoStage
from tests.conftest import scene

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
