"""What many tests start from: small networks and small pictures, all made here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sr_cli.__main__ import main
from sr_cli.networks.dan import DAN
from sr_cli.zoo import weights

REFERENCE = Path(__file__).parent / "reference"
TINY = {
    "scale": 4,
    "degradation_size": 42,
    "features": 8,
    "blocks": 2,
    "block": "edsr",
    "estimator": "small",
    "iterations": 3,
}


@dataclass(frozen=True)
class Outcome:
    """How a run of the program ended."""

    status: int
    out: str
    err: str


def all_shown(terminal: int) -> bytes:
    """What was written to a pseudo-terminal, whose other side is closed; closes this one."""
    shown = b""
    with suppress(OSError):  # which is how a terminal ends on Linux
        while more := os.read(terminal, 1000):
            shown += more
    os.close(terminal)
    return shown


@pytest.fixture
def program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs `sr-cli` with arguments in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sr-cli", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a small DAN with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights.write(path, DAN(**TINY).state_dict(), "DAN", TINY)
    return path


def scene(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture ``(height, width, 3)`` with smooth shades, edges and some texture."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 32
    waves = [np.sin(x * a + y * b + c) for a, b, c in random.uniform(0.3, 3, (3, 3))]
    picture = np.stack(waves, -1) * 60 + 128
    for _ in range(12):
        top, left = int(random.integers(height)), int(random.integers(width))
        tall, wide = random.integers(4, 40, 2)
        picture[top : top + tall, left : left + wide] = random.uniform(0, 255, 3)
    picture += random.normal(0, 4, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four made pictures, large enough to train on."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(4):
        Image.fromarray(scene(200, 220, number)).save(folder / f"{number}.png")
    return folder
