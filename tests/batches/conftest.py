"""What the tests of batches start from."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_cli.inference.engine import Engine, Result
from sr_cli.inference.resampling import enlarge_plane
from tests.conftest import Outcome

Upscale = Callable[..., Outcome]


@pytest.fixture
def upscale(program: Callable[..., Outcome], tiny_weights: Path) -> Upscale:
    """`sr-cli upscale` with a small network of random weights."""

    def run(*arguments: object) -> Outcome:
        return program("upscale", "--model", tiny_weights, *arguments)

    return run


@pytest.fixture
def interpolating(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that enlarges as Lanczos does, so that colours can be told from its output."""

    def enlarge(engine: Engine, rgb: np.ndarray, *_: object, **__: object) -> Result:
        channels = [enlarge_plane(rgb[..., c], engine.scale) for c in range(3)]
        return Result(np.stack(channels, axis=2), np.zeros(42, np.float32), 1)

    monkeypatch.setattr(Engine, "upscale", enlarge)


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes on standard input."""

    def put(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return put


@pytest.fixture
def standard_output(monkeypatch: pytest.MonkeyPatch) -> Callable[[], io.BytesIO]:
    """Gives a new standard output, whose bytes can be looked at; to be called in the test."""

    def renew() -> io.BytesIO:
        stream = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, write_through=True))
        return stream

    return renew


def draw(path: Path, *, size: tuple[int, int] = (9, 7), seed: int = 0, **options: object) -> Path:
    """A small picture in a folder that is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(values).save(path, **options)
    return path


def names(folder: Path) -> list[str]:
    """All files below a folder, hidden ones too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())
