"""``lpips-squeeze``: the learned perceptual distance on SqueezeNet 1.1 features.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (LPIPS v0.1).
The super-resolution papers report LPIPS on AlexNet; the two must not stand in one column.
The weights are not part of this package: see `PerceptualDistance`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

FEATURES_FILE = "squeezenet1_1.safetensors"
HEADS_FILE = "lpips_v0.1_squeeze_heads.safetensors"

_BGR_MEAN = (104.0, 117.0, 123.0)
_STAGES: tuple[tuple[str | int, ...], ...] = (
    ("conv",),
    ("pool", 3, 4),
    ("pool", 6, 7),
    ("pool", 9),
    (10,),
    (11,),
    (12,),
)
"""Layers between the seven features that are compared; numbers are Fire modules."""
_STRIDES = (2, 4, 8, 16, 16, 16, 16)
"""Pixels between the cells of each feature."""
TILE = 768
"""Side of the tiles that larger pictures are cut into."""
HALO = 128
"""Surroundings of a tile, at least as wide as the last feature sees; both are multiples of 16."""


@dataclass(frozen=True)
class _Window:
    """A tile of a picture; ends are open where the picture ends."""

    rows: tuple[int, int | None]
    columns: tuple[int, int | None]

    @property
    def outer(self) -> tuple[slice, slice]:
        """The tile with its surroundings."""
        top, left = (max(first - HALO, 0) for first, _ in (self.rows, self.columns))
        bottom, right = (
            last if last is None else last + HALO for _, last in (self.rows, self.columns)
        )
        return slice(top, bottom), slice(left, right)

    def own(self, stride: int) -> tuple[slice, slice]:
        """The tile's cells among those that were computed."""

        def cells(first: int, last: int | None) -> slice:
            begin = min(first, HALO) // stride
            return slice(begin, last if last is None else begin + (last - first) // stride)

        return cells(*self.rows), cells(*self.columns)


def _windows(height: int, width: int) -> Iterator[_Window]:
    def ends(side: int) -> list[tuple[int, int | None]]:
        # The last tile takes what would be too little for one of its own.
        starts = list(range(0, max(side - TILE // 2, 1), TILE))
        return list(zip(starts, [*starts[1:], None], strict=True))

    for rows in ends(height):
        for columns in ends(width):
            yield _Window(rows, columns)


class PerceptualDistance:
    """LPIPS with SqueezeNet 1.1, lower is closer.

    Args:
        folder: Holds `FEATURES_FILE` (keys as torchvision's ``squeezenet1_1``, for BGR input of
            0..255 less the ImageNet mean) and `HEADS_FILE` (LPIPS v0.1's linear heads).

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged or of another network.
    """

    smallest = 17
    """Least side of a picture; of less, pooling leaves nothing."""

    def __init__(self, folder: Path) -> None:
        try:
            features = load_file(folder / FEATURES_FILE)
            heads = load_file(folder / HEADS_FILE)
            self.weights = {key: value.float() for key, value in features.items()}
            self.heads = [heads[f"lin{i}.model.1.weight"].float() for i in range(len(_STAGES))]
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{folder} must hold {FEATURES_FILE} and {HEADS_FILE}."
            ) from None
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"The feature files in {folder} cannot be used: {error}.") from None

    @torch.inference_mode()
    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Distances ``(N,)`` of pictures ``(N, 3, H, W)``, RGB in [0, 1].

        Large pictures go through in tiles that see all of their surroundings which matter, so the
        distance is that of the whole.
        """
        height, width = hr.shape[-2:]
        totals = [torch.zeros(len(sr), dtype=torch.float64) for _ in _STAGES]
        cells = [0] * len(_STAGES)
        for window in _windows(height, width):
            for level, (cropped, count) in enumerate(self._maps(sr, hr, window)):
                totals[level] += cropped
                cells[level] += count
        means = [total / count for total, count in zip(totals, cells, strict=True)]
        return torch.stack(means).sum(0).float()

    def _maps(self, sr: Tensor, hr: Tensor, window: _Window) -> Iterator[tuple[Tensor, int]]:
        """Of each level, the sum over a tile's own cells and how many they are."""
        rows, columns = window.outer
        pairs = zip(
            self._features(sr[..., rows, columns]),
            self._features(hr[..., rows, columns]),
            self.heads,
            _STRIDES,
            strict=True,
        )
        for a, b, head, stride in pairs:
            difference = (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square()
            own = F.conv2d(difference, head)[(..., *window.own(stride))]
            yield own.double().sum((1, 2, 3)), own.shape[-2] * own.shape[-1]

    def _features(self, picture: Tensor) -> list[Tensor]:
        mean = torch.tensor(_BGR_MEAN).view(1, 3, 1, 1)
        x = picture.float().clamp(0, 1).flip(1) * 255 - mean
        found: list[Tensor] = []
        for stage in _STAGES:
            for layer in stage:
                x = self._layer(layer, x)
            found.append(x)
        return found

    def _layer(self, layer: str | int, x: Tensor) -> Tensor:
        if layer == "pool":
            return F.max_pool2d(x, 3, 2, ceil_mode=True)
        if layer == "conv":
            return F.relu(self._convolve("features.0", x, stride=2))
        name = f"features.{layer}"
        squeezed = F.relu(self._convolve(f"{name}.squeeze", x))
        wide = self._convolve(f"{name}.expand3x3", squeezed, padding=1)
        narrow = self._convolve(f"{name}.expand1x1", squeezed)
        return F.relu(torch.cat((narrow, wide), 1))

    def _convolve(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)
