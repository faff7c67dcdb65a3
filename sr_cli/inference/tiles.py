"""Cutting a picture into tiles, with the surroundings that each needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A tile and the halo around it that lies inside the picture; all in pixels."""

    top: int
    bottom: int
    left: int
    right: int
    """The tile itself: these pixels are kept."""
    outer_top: int
    outer_bottom: int
    outer_left: int
    outer_right: int
    """The tile with its halo: these pixels are computed."""

    @property
    def outer(self) -> tuple[slice, slice]:
        """Rows and columns to read."""
        return slice(self.outer_top, self.outer_bottom), slice(self.outer_left, self.outer_right)

    @property
    def tile(self) -> tuple[slice, slice]:
        """Rows and columns to write."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def inner(self, factor: int = 1, divisor: int = 1) -> tuple[slice, slice]:
        """The tile's place within what was computed, on a grid ``factor / divisor`` as fine.

        With a divisor the tile's origin and the outer origin must be divisible by it; a last cell
        that is cut off by the picture's edge counts as the tile's.
        """

        def place(first: int, last: int, origin: int) -> slice:
            start = (first - origin) * factor // divisor
            return slice(start, start + -(-(last - first) * factor // divisor))

        return (
            place(self.top, self.bottom, self.outer_top),
            place(self.left, self.right, self.outer_left),
        )


def windows(height: int, width: int, tile: int, halo: int) -> Iterator[Window]:
    """Tiles in reading order.

    Args:
        height: Of the picture.
        width: Of the picture.
        tile: Side of a tile; the last of a row or column may be smaller.
        halo: Surroundings on every side, cut off at the picture's edge.
    """
    for top in range(0, height, tile):
        bottom = min(top + tile, height)
        for left in range(0, width, tile):
            right = min(left + tile, width)
            yield Window(
                top,
                bottom,
                left,
                right,
                max(top - halo, 0),
                min(bottom + halo, height),
                max(left - halo, 0),
                min(right + halo, width),
            )


def count(height: int, width: int, tile: int) -> int:
    """How many tiles `windows` yields."""
    return -(-height // tile) * -(-width // tile)
