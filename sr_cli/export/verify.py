"""Whether an exported file gives torch's pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sr_cli.inference.backend import Precision
from sr_cli.inference.engine import Engine
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_backend import OnnxBackend
from sr_cli.inference.onnx_file import OnnxFile
from sr_cli.networks.stages import SuperResolver

Floats = NDArray[np.float32]

SHAPES = ((1, 1, 1), (1, 2, 9), (2, 29, 37), (1, 64, 48), (3, 17, 70))
"""Pictures, height and width: a single pixel, odd sides, batches."""
TILED = (75, 90)
TILE = 32
BOUNDS: dict[Precision, float] = {"fp32": 1e-4, "fp16": 1e-2, "int8": 2.5e-1}
"""Largest difference of a value of the picture on [0, 1], or of the estimate, that is accepted."""


@dataclass(frozen=True)
class Differences:
    """The largest between torch in single precision and the file."""

    picture: float
    """On the scale of [0, 1]."""
    estimate: float
    """Of the normalised numbers; 0 for a network that estimates nothing."""
    tiled: float
    """Of a picture in tiles, run stage by stage; 0 for a network that cannot be cut."""


def verify(file: OnnxFile, network: SuperResolver) -> Differences:
    """Compare at several sizes, as a whole and in tiles.

    Args:
        file: As `sr_cli.export.making.made` returns it.
        network: What it was made from.

    Raises:
        InferenceError: They differ by more than rounding explains.
    """
    backend = OnnxBackend(file)
    found = [_whole(backend, network, shape) for shape in SHAPES]
    tiled = _tiled(backend, network) if backend.steps else (0.0, 0.0)
    differences = Differences(
        _largest(picture for picture, _ in found),
        _largest((tiled[1], *(estimate for _, estimate in found))),
        tiled[0],
    )
    bound = BOUNDS[file.facts.precision]
    worst = _largest((differences.picture, differences.estimate, differences.tiled))
    # Not the other way round: what is not a number must not pass.
    if not worst <= bound:
        by = "numbers that are none" if math.isnan(worst) else f"up to {worst:.2g}"
        raise InferenceError(
            f"The exported file differs from torch by {by}, and {bound:g} is allowed "
            f"in {file.facts.precision}. It was not written; --no-verify would write it."
        )
    return differences


def _largest(values: Iterable[float]) -> float:
    """Not Python's, which passes over what is not a number unless it comes first."""
    return float(np.max(list(values)))


def _whole(
    backend: OnnxBackend, network: SuperResolver, shape: tuple[int, int, int]
) -> tuple[float, float]:
    count, height, width = shape
    lr = np.concatenate([_picture(height, width, seed) for seed in range(count)])
    sr, vector = _by_torch(network, lr)
    other, other_vector = backend.run_whole(lr)
    if other.shape != sr.shape or (vector is None) != (other_vector is None):
        raise InferenceError(f"The exported file makes a picture of another shape: {other.shape}.")
    if vector is None or other_vector is None:
        return _difference(sr, other), 0.0
    return _difference(sr, other), _difference(vector, other_vector)


def _tiled(backend: OnnxBackend, network: SuperResolver) -> tuple[float, float]:
    lr = _picture(*TILED, seed=0)
    sr, vector = _by_torch(network, lr)
    result = Engine(backend).upscale(lr[0].transpose(1, 2, 0), TILE)
    picture = _difference(sr[0].transpose(1, 2, 0).clip(0, 1), result.rgb, float(np.abs(sr).max()))
    if vector is None or result.vector is None:
        return picture, 0.0
    return picture, _difference(vector[0], result.vector)


def _by_torch(network: SuperResolver, lr: Floats) -> tuple[Floats, Floats | None]:
    with torch.inference_mode():
        sr, vector = network(torch.from_numpy(lr))
    return sr.numpy(), None if vector is None else vector.numpy()


def _difference(right: Floats, other: Floats, largest: float | None = None) -> float:
    """Relative to the largest value, which weights that are not trained take far beyond 1."""
    largest = float(np.abs(right).max()) if largest is None else largest
    return float(np.abs(right - other).max() / max(1.0, largest))


def _picture(height: int, width: int, seed: int) -> Floats:
    """Shades, an edge and some noise, ``(1, 3, height, width)`` in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 16
    waves = [np.sin(x * a + y * b + c) for a, b, c in random.uniform(0.3, 2, (3, 3))]
    picture = 0.5 + 0.3 * np.stack(waves) + random.normal(0, 0.02, (3, height, width))
    picture[:, height // 3 : height // 2, width // 4 :] = random.uniform(0, 1, (3, 1, 1))
    levels = np.rint(picture.clip(0, 1) * 255) / 255
    return levels.astype(np.float32)[None]
