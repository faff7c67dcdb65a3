"""A batch that is killed at any moment is taken up again, and nothing is left of its death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.batches.conftest import draw, names

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

PICTURES, KILLS = (50, 10) if os.environ.get("SR_CLI_FULL_TESTS") else (12, 3)
PATIENCE = 600  # seconds for a start on a busy machine


@pytest.fixture
def begin(tmp_path: Path, tiny_weights: Path) -> Callable[[], subprocess.Popen[bytes]]:
    """Starts the batch, or takes it up again."""
    command = [sys.executable, "-m", "sr_cli", "upscale", "in", "-o", "out"]
    command += ["--model", str(tiny_weights), "--skip-existing"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    return start


def wait_for(process: subprocess.Popen[bytes], out: Path, pattern: str, number: int) -> None:
    """Until there are so many files, or the process is done."""
    limit = time.monotonic() + PATIENCE
    while process.poll() is None and len(list(out.glob(pattern))) < number:
        assert time.monotonic() < limit
        time.sleep(0.0005)


def test_killed_again_and_again(
    tmp_path: Path, begin: Callable[[], subprocess.Popen[bytes]]
) -> None:
    for number in range(PICTURES):
        draw(tmp_path / "in" / f"{number:02}.png", size=(64, 48), seed=number)
    out, random = tmp_path / "out", np.random.default_rng(10)
    left = []
    for kill in range(KILLS):
        process = begin()
        already = len(list(out.glob("*.png")))
        wait_for(process, out, "*.png", already + int(random.integers(0, PICTURES // KILLS)))
        if kill % 2:
            wait_for(process, out, ".*", 1)  # in the midst of a file, which chance seldom hits
        else:
            time.sleep(float(random.uniform(0, 0.05)))
        process.kill()
        process.communicate()
        left.append(len(list(out.glob(".*"))) if out.exists() else 0)
    process = begin()
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert names(out) == [f"{number:02}_x4.png" for number in range(PICTURES)]
    for path in out.iterdir():
        with Image.open(path) as image:
            image.load()
            assert image.size == (256, 192)
    print(f"{KILLS} kills left {left} half-written files; {said.decode().splitlines()[-1]}")


def test_interrupted(tmp_path: Path, begin: Callable[[], subprocess.Popen[bytes]]) -> None:
    for number in range(40):
        draw(tmp_path / "in" / f"{number:02}.png", size=(96, 96), seed=number)
    process = begin()
    wait_for(process, tmp_path / "out", "*.png", 1)
    for _ in range(3):  # as impatient people do
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"not reached" in said and b"Traceback" not in said
    found = names(tmp_path / "out")
    assert 1 <= len(found) < 40 and all(name.endswith("_x4.png") for name in found)
    for name in found:
        with Image.open(tmp_path / "out" / name) as image:
            image.load()
