"""``lpips-squeeze``: the learned perceptual distance on SqueezeNet 1.1 features.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (LPIPS v0.1).
The super-resolution papers report LPIPS on AlexNet; the two must not stand in one column.
The weights are not part of this package: see `sr_cli.metrics.squeezenet.read`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sr_cli.metrics.squeezenet import COMPARED, STRIDES, read

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
        folder: Holds the two files of `sr_cli.metrics.squeezenet.read`.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged or of another network.
    """

    smallest = 17
    """Least side of a picture; of less, pooling leaves nothing."""

    def __init__(self, folder: Path) -> None:
        self.network = read(folder)

    @torch.inference_mode()
    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Distances ``(N,)`` of pictures ``(N, 3, H, W)``, RGB in [0, 1].

        Large pictures go through in tiles that see all of their surroundings which matter, so the
        distance is that of the whole.
        """
        height, width = hr.shape[-2:]
        totals = [torch.zeros(len(sr), dtype=torch.float64) for _ in COMPARED]
        cells = [0] * len(COMPARED)
        for window in _windows(height, width):
            for level, (cropped, count) in enumerate(self._maps(sr, hr, window)):
                totals[level] += cropped
                cells[level] += count
        means = [total / count for total, count in zip(totals, cells, strict=True)]
        return torch.stack(means).sum(0).float()

    def _maps(self, sr: Tensor, hr: Tensor, window: _Window) -> Iterator[tuple[Tensor, int]]:
        """Of each level, the sum over a tile's own cells and how many they are."""
        rows, columns = window.outer
        seen = (one[..., rows, columns].float().clamp(0, 1) for one in (sr, hr))
        for cells, stride in zip(self.network(*seen), STRIDES, strict=True):
            own = cells[(..., *window.own(stride))]
            yield own.double().sum((1, 2, 3)), own.shape[-2] * own.shape[-1]
