"""``niqe-own``: NIQE's definition with a pristine model of our own.

Mittal et al., "Making a 'Completely Blind' Image Quality Analyzer" (2013): statistics of
contrast-normalised luma in blocks of 96x96 at two scales, compared with those of clean pictures.
The authors' model of clean pictures is not part of this package, so this one was fitted with `fit`
to the 154 training photographs (large pictures shrunk by two or more, lightly compressed).  Its
figures are not comparable with published NIQE figures; hence the name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.metrics.fidelity import luma

BLOCK = 96
"""Side of the blocks; smaller pictures cannot be judged."""
FEATURES = 36
SHARPEST = 0.75
"""Of clean pictures only blocks at least this sharp count, relative to the picture's sharpest."""

_PARAMETERS = "niqe_own.json"
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


class FlatError(ValueError):
    """A picture without any block in which something goes on; it has no NIQE."""


@dataclass(frozen=True)
class Gaussian:
    """A multivariate normal distribution of block statistics."""

    mean: Tensor
    """``(36,)``."""
    covariance: Tensor
    """``(36, 36)``."""


def niqe_own(picture: Tensor) -> float:
    """Distance from clean photographs, lower is more natural.

    Args:
        picture: ``(3, H, W)`` RGB in [0, 1], sides at least 96; what is left over beside whole
            blocks on the right and bottom is not seen.

    Raises:
        FlatError: All blocks are flat.
        ValueError: A side is too small.
    """
    features, _ = block_features(picture)
    if not torch.isfinite(features).all(1).any():
        raise FlatError("a picture that is flat everywhere has no NIQE")
    clean, judged = pristine(), _normal(features)
    difference = clean.mean - judged.mean
    pooled = torch.linalg.pinv((clean.covariance + judged.covariance) / 2)
    return float((difference @ pooled @ difference).clamp(min=0).sqrt())


def fit(pictures: Iterable[Tensor]) -> Gaussian:
    """The statistics of clean pictures ``(3, H, W)``."""
    sharp: list[Tensor] = []
    for picture in pictures:
        features, sharpness = block_features(picture)
        sharp.append(features[sharpness > SHARPEST * sharpness.max()])
    return _normal(torch.cat(sharp))


@cache
def pristine() -> Gaussian:
    """The stored statistics of clean photographs."""
    text = (resources.files("sr_cli.metrics") / _PARAMETERS).read_text(encoding="utf-8")
    return from_json(text)


def to_json(model: Gaussian) -> str:
    """As text: the mean, and the covariance's lower triangle row by row."""
    rows, columns = torch.tril_indices(FEATURES, FEATURES)
    numbers = {"mean": model.mean, "covariance": model.covariance[rows, columns]}
    return json.dumps({k: [float(f"{x:.7g}") for x in v.tolist()] for k, v in numbers.items()})


def from_json(text: str) -> Gaussian:
    """What `to_json` wrote."""
    numbers = {k: torch.tensor(v, dtype=torch.float64) for k, v in json.loads(text).items()}
    covariance = torch.zeros(FEATURES, FEATURES, dtype=torch.float64)
    rows, columns = torch.tril_indices(FEATURES, FEATURES)
    covariance[rows, columns] = numbers["covariance"]
    covariance[columns, rows] = numbers["covariance"]
    return Gaussian(numbers["mean"], covariance)


def block_features(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Statistics of every block.

    Args:
        picture: ``(3, H, W)`` in [0, 1].

    Returns:
        ``(blocks, 36)`` features and ``(blocks,)`` sharpness, in float64.
    """
    down, across = (side // BLOCK for side in picture.shape[-2:])
    if not (down and across):
        raise ValueError(f"NIQE needs pictures of {BLOCK}x{BLOCK} and more")
    grey = luma(picture)[0, : down * BLOCK, : across * BLOCK]
    halves = imresize(grey, Fraction(1, 2))
    fine, sharpness = _scale_features(grey, BLOCK)
    coarse, _ = _scale_features(halves, BLOCK // 2)
    return torch.cat((fine, coarse), 1), sharpness


def _normal(features: Tensor) -> Gaussian:
    whole = features[torch.isfinite(features).all(1)]
    centred = whole - whole.mean(0)
    return Gaussian(whole.mean(0), centred.T @ centred / max(len(whole) - 1, 1))


def _scale_features(grey: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """18 features a block of one scale, and the mean local deviation."""
    normalised, deviation = contrast_normalised(grey)
    patches = _blocks(normalised, block)
    shape, left, right = asymmetric_fit(patches)
    features = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        # Rolled within the block, as the authors' code does.
        shape, left, right = asymmetric_fit(patches * patches.roll(shift, (1, 2)))
        tilt = (right - left) * torch.exp(torch.lgamma(2 / shape) - torch.lgamma(1 / shape))
        features += [shape, tilt, left, right]
    return torch.stack(features, 1), _blocks(deviation, block).mean((1, 2))


def contrast_normalised(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Less the local mean, over the local deviation plus one; and that deviation."""
    axis = torch.arange(7, dtype=torch.float64) - 3
    window = torch.exp(-axis.square() / (2 * (7 / 6) ** 2))
    window = window / window.sum()

    def smooth(x: Tensor) -> Tensor:
        padded = F.pad(x[None, None], (3, 3, 3, 3), mode="replicate")
        rows = F.conv2d(padded, window.view(1, 1, 7, 1))
        return F.conv2d(rows, window.view(1, 1, 1, 7))[0, 0]

    mean = smooth(grey)
    deviation = (smooth(grey.square()) - mean.square()).abs().sqrt()
    return (grey - mean) / (deviation + 1), deviation


def _blocks(x: Tensor, block: int) -> Tensor:
    """``(H, W)`` to ``(blocks, block, block)``."""
    return x.unfold(0, block, block).unfold(1, block, block).reshape(-1, block, block)


@cache
def _ratios() -> tuple[Tensor, Tensor]:
    """Shapes 0.2 .. 10 and the moment ratio of each."""
    shape = torch.arange(200, 10001, dtype=torch.float64) / 1000
    one, two, three = (torch.lgamma(n / shape) for n in (1, 2, 3))
    return shape, torch.exp(2 * two - one - three)


def asymmetric_fit(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Asymmetric generalised Gaussians fitted by moments.

    Args:
        patches: ``(N, h, w)``.

    Returns:
        Shape (2 for a normal distribution, 1 for a Laplacian), left and right scale, each ``(N,)``.
    """
    x = patches.flatten(1)

    def spread(side: Tensor) -> Tensor:
        return ((x.square() * side).sum(1) / side.sum(1)).sqrt()

    left, right = spread(x < 0), spread(x > 0)
    skew = left / right
    ratio = x.abs().mean(1).square() / x.square().mean(1)
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1).square()
    shapes, ratios = _ratios()
    # The ratios grow with the shape, so the nearest is one of two neighbours.
    above = torch.searchsorted(ratios, ratio).clamp(1, len(ratios) - 1)
    nearer = (ratio - ratios[above - 1]).abs() < (ratios[above] - ratio).abs()
    shape = shapes[torch.where(nearer, above - 1, above)]
    scale = torch.exp((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2)
    return shape, left * scale, right * scale
