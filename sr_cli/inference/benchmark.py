"""Time and memory of models, measured beside what the machine can do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sr_cli.images import Picture, read, write, write_rows
from sr_cli.inference import GROWING_FROM
from sr_cli.inference.backend import Backend, Precision
from sr_cli.inference.engine import Engine
from sr_cli.inference.resampling import resize
from sr_cli.inference.torch_backend import HALVES

MATRIX = 4096
"""Side of the square matrices whose product sets the pace."""
WARM = 300
"""Side of the corner that engines warm up on: more than a tile."""
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, **HALVES}


@dataclass
class Timing:
    """What repeated runs of one engine took."""

    seconds: list[float] = field(default_factory=list)
    """From file to file: decoding, enlarging, encoding."""
    network: list[float] = field(default_factory=list)
    """The part of that which the network itself took."""
    peak: list[int] = field(default_factory=list)
    """Most bytes above what was held before; empty where that cannot be told."""


def time_alternately(
    engines: Sequence[Engine],
    picture: Path,
    tiles: Sequence[int | None],
    repeats: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Timing]:
    """Run engines in turn, so that a busy machine slows all of them.

    Args:
        engines: What to time.
        picture: File to enlarge; results are written beside it and removed.
        tiles: As `Engine.upscale` takes them, one an engine.
        repeats: Rounds, after one on a corner of the picture that does not count.
        progress: Called with the runs done, and how many there are.

    Returns:
        One timing an engine.
    """
    timings = [Timing() for _ in engines]
    for engine, tile in zip(engines, tiles, strict=True):
        engine.upscale(read(picture).rgb[:WARM, :WARM], tile)
    for number in range(repeats * len(engines)):
        which = number % len(engines)
        _time(engines[which], picture, tiles[which], timings[which])
        if progress:
            progress(number + 1, repeats * len(engines))
    return timings


def _time(engine: Engine, picture: Path, tile: int | None, timing: Timing) -> None:
    """One run as `sr-cli upscale` goes about it."""
    target = picture.with_name("result.png")
    with _spent_in(engine.backend) as spent, _peak(engine.backend) as peak:
        began = time.perf_counter()
        small = read(picture)
        if engine.is_seamless and is_grown(small.height, small.width, engine.scale):
            rows = map(_opaque, engine.grow(small.rgb, tile))
            size = small.width * engine.scale, small.height * engine.scale
            write_rows(small, rows, size, target, format="png")
        else:
            write(Picture(engine.upscale(small.rgb, tile).rgb), target)
        seconds = time.perf_counter() - began
    target.unlink()
    timing.seconds.append(seconds)
    timing.network.append(spent[0])
    timing.peak += peak


def _opaque(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], None]:
    return rows, None


def is_grown(height: int, width: int, scale: int) -> bool:
    """Whether an enlarged picture is so large that it is written row by row."""
    return height * width * scale**2 > GROWING_FROM


def texture(height: int, width: int) -> NDArray[np.float32]:
    """A picture with detail at all scales, as photographs have: it packs about as well as they do.

    Args:
        height: In pixels.
        width: In pixels.

    Returns:
        ``(height, width, 3)`` in [0, 1], the same every time.
    """
    random = np.random.default_rng(0)
    picture = np.full((height, width, 3), 0.5, np.float32)
    size, weight = 2, 0.16
    while size < 2 * max(height, width):
        coarse = random.standard_normal((size, size, 3)).astype(np.float32)
        picture += np.float32(weight) * resize(coarse, (width, height), limits=False)
        size, weight = size * 2, weight * 0.62
    return np.clip(picture, 0, 1)


def texture_bytes(height: int, width: int) -> int:
    """The most memory that `texture` takes."""
    largest = 1 << ((2 * max(height, width) - 1).bit_length() - 1)  # the finest detail, a square
    return 40 * largest**2 + 36 * height * width


@contextmanager
def _spent_in(backend: Backend) -> Iterator[list[float]]:
    """Adds up the time inside a backend's network."""
    spent = [0.0]
    holder: Any = backend

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                if _is_torch_on_cuda(backend):
                    torch.cuda.synchronize(backend.device)
                spent[0] += time.perf_counter() - began

        return run

    holder.run, holder.run_whole = timed(backend.run), timed(backend.run_whole)
    try:
        yield spent
    finally:
        del holder.run, holder.run_whole


@contextmanager
def _peak(backend: Backend) -> Iterator[list[int]]:
    """The most memory taken on a device meanwhile, above what was held before; none if unknown."""
    found: list[int] = []
    device = backend.device
    if _is_torch_on_cuda(backend):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        found.append(torch.cuda.max_memory_allocated(device) - before)
        return
    start = None if device.startswith("cuda") else resident()
    if start is None:
        yield found
        return
    with _watched() as most:
        yield found
    found.append(max(most[0] - start, 0))


def _is_torch_on_cuda(backend: Backend) -> bool:
    """Whether torch knows what is done there: ONNX Runtime waits, and has memory of its own."""
    return backend.name == "torch" and backend.device.startswith("cuda")


@contextmanager
def _watched() -> Iterator[list[int]]:
    most = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], resident() or 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def resident() -> int | None:
    """Bytes of memory that this program holds, or None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    # File-backed pages are the kernel's to take back, as those of spilled features are.
    kinds = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if "kB" in line}
    return 1024 * (int(kinds["RssAnon"]) + int(kinds["RssShmem"]))


def matrix_product_rate(device: torch.device, precision: Precision, repeats: int = 3) -> float:
    """Multiply-adds a second of a large matrix product, the best of a few.

    Raises:
        KeyError: torch has no matrix product in that precision.
    """
    kind = DTYPES[precision]
    a, b = (torch.randn(MATRIX, MATRIX, device=device).to(kind) for _ in range(2))
    best = float("inf")
    with torch.inference_mode():
        for _ in range(repeats + 1):
            began = time.perf_counter()
            a @ b
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - began)
    return MATRIX**3 / best
