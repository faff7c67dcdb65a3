"""Cutting a picture into tiles, with the surroundings that each needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

GRID = 8
"""Tiles begin at multiples of this: the strides of all networks divide it."""
SMALLEST_TILE = 32
"""Tiles are made no smaller for want of memory: most of such a one is its halo."""


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

    def split(self, side: int, halo: int, shape: tuple[int, int]) -> Iterator[Window]:
        """The window's tile cut into smaller ones.

        Args:
            side: Of the smaller ones, a multiple of 8.
            halo: Their surroundings on every side, cut off at the picture's edge.
            shape: Height and width of the picture.
        """
        for y in range(self.top, self.bottom, side):
            for x in range(self.left, self.right, side):
                y_end, x_end = min(y + side, self.bottom), min(x + side, self.right)
                yield Window(
                    *(y, y_end, x, x_end),
                    *(max(y - halo, 0), min(y_end + halo, shape[0])),
                    *(max(x - halo, 0), min(x_end + halo, shape[1])),
                )

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


def band_windows(
    shape: tuple[int, int], top: int, bottom: int, side: int, halo: int
) -> Iterator[Window]:
    """Tiles of some rows of a picture, in reading order and of about equal size.

    Args:
        shape: Height and width of the picture.
        top: First row, a multiple of 8.
        bottom: Behind the last.
        side: Of the tiles; up to half more where a small rest would remain at the bottom.
        halo: Surroundings on every side, cut off at the picture's edge.

    Yields:
        Windows whose tiles begin at multiples of 8.
    """
    height, width = shape
    rows = max(1, round((bottom - top) / side))
    columns = -(-width // side)
    for y, y_end in _pieces(top, bottom, rows):
        for x, x_end in _pieces(0, width, columns):
            yield Window(
                y,
                y_end,
                x,
                x_end,
                max(y - halo, 0),
                min(y_end + halo, height),
                max(x - halo, 0),
                min(x_end + halo, width),
            )


def _pieces(first: int, last: int, number: int) -> Iterator[tuple[int, int]]:
    step = -(-(last - first) // (number * GRID)) * GRID
    return ((start, min(start + step, last)) for start in range(first, last, step))


def count(height: int, width: int, tile: int) -> int:
    """How many tiles of a side a picture makes that is gone through in bands of that side.

    So do the stages that read it.  `band_windows` makes fewer of all of its rows at once.
    """
    return -(-height // tile) * -(-width // tile)
