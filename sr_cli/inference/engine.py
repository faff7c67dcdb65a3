"""A network over pictures of any size.  Needs no torch; the backend may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from numbers import Integral
from operator import itemgetter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sr_cli.inference.backend import Backend, Precision
from sr_cli.inference.blend import blended
from sr_cli.inference.memory import automatic_tile, feature_limit
from sr_cli.inference.store import Memory
from sr_cli.inference.tiles import GRID, SMALLEST_TILE, count
from sr_cli.inference.walk import Extent, Tiling, Walk, half_side

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]

ORIENTATIONS = tuple((turn, mirrored) for mirrored in (False, True) for turn in range(4))
"""The eight that a square can be laid in."""


@dataclass(frozen=True)
class Result:
    """An enlarged picture with the description of what had happened to it."""

    rgb: Floats
    """``(scale*H, scale*W, 3)`` in [0, 1]."""
    vector: Floats | None
    """The normalised degradation vector; None if the network estimates nothing."""
    tiles: int
    """Tiles that the picture was cut into."""
    seams: Literal["none", "blended"] = "none"
    """``"none"``: the pixels are those of the picture as a whole."""
    notes: tuple[str, ...] = ()
    """What a user should know: memory that ran out, tiles done again in single precision, a
    result that is no picture's."""


class Growing:
    """An enlarged picture that comes row by row, so that it need not be in memory as a whole."""

    def __init__(self, walk: Walk, tiling: Tiling, tiles: int) -> None:
        self._walk, self._tiling = walk, tiling
        self.tiles = tiles
        """See `Result.tiles`."""

    def __iter__(self) -> Iterator[Floats]:
        """Bands ``(h, scale*W, 3)`` in [0, 1] from top to bottom; to be gone through once."""
        return map(itemgetter(1), self._walk.picture())

    def fill(self, picture: Floats) -> None:
        """All of it into ``(scale*H, scale*W, 3)``, instead of going through the bands."""
        for _ in self._walk.picture(picture):
            pass

    @property
    def vector(self) -> Floats | None:
        """See `Result.vector`; known when the first band is."""
        return self._walk.degradation()

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Result.notes`; complete after the last band."""
        return (*self._tiling.notes, *self._tiling.extent.notes)


class Engine:
    """A network on a device, ready for pictures."""

    def __init__(self, backend: Backend, memory_limit: int | None = None) -> None:
        """Take a backend.

        Args:
            backend: The network.
            memory_limit: Bytes of feature maps kept in memory; what is more goes to a temporary
                file.  None for half of what is free when a picture begins.
        """
        self.backend = backend
        self.memory_limit = memory_limit

    @property
    def scale(self) -> int:
        """Enlargement."""
        return self.backend.scale

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.backend.device

    @property
    def precision(self) -> Precision:
        """What it computes in."""
        return self.backend.precision

    def upscale(
        self,
        rgb: Floats,
        tile: int | None = None,
        progress: Progress | None = None,
        *,
        orientations: int = 1,
    ) -> Result:
        """Enlarge a picture.

        Args:
            rgb: ``(H, W, 3)`` in [0, 1], at least one pixel.
            tile: Side of the tiles in input pixels, rounded up to a multiple of 8; 0 for the whole
                picture at once, None to choose.
            progress: Called with how much is done, and how much there is.
            orientations: 8 to average over all flips and turns of the picture (self-ensemble);
                1 to take it as it is.

        Raises:
            InferenceError: There is no room for the temporary file of a large picture's features,
                or the network gives something that is not finite.
            TypeError: The side is no whole number.
            ValueError: The side is negative.
        """
        extent = Extent()
        result = self._average(rgb, tile, progress, orientations, extent)
        return replace(result, notes=(*result.notes, *extent.notes))

    def _average(
        self,
        rgb: Floats,
        tile: int | None,
        progress: Progress | None,
        orientations: int,
        extent: Extent,
    ) -> Result:
        """See `upscale`; without the notes of the extent, which is that of all orientations."""
        if orientations == 1:
            return self._upscale(rgb, tile, progress, extent)
        notes: dict[str, None] = {}
        first: Result | None = None  # as it is: turned, it was blurred in other directions
        for number, (turn, mirrored) in enumerate(ORIENTATIONS[:orientations]):
            part = _part(progress, number, orientations)
            one = self._upscale(_laid(rgb, turn, mirrored), tile, part, extent)
            notes.update(dict.fromkeys(one.notes))
            if first is None:
                first = one
            else:
                np.add(first.rgb, _laid_back(one.rgb, turn, mirrored), out=first.rgb)
            del one  # a large picture, before the next one is made
        assert first is not None
        np.divide(first.rgb, np.float32(orientations), out=first.rgb)
        return replace(first, notes=tuple(notes))

    @property
    def is_seamless(self) -> bool:
        """Whether its network can be cut exactly, so that `grow` can run it."""
        return bool(self.backend.steps)

    def grow(
        self, rgb: Floats, tile: int | None = None, progress: Progress | None = None
    ) -> Growing:
        """Enlarge a picture row by row; see `upscale`.

        Raises:
            ValueError: The network cannot be cut.
        """
        if not self.is_seamless:
            raise ValueError("blended tiles are not done before all are")
        return self._grow(rgb, self._tiling(tile, *rgb.shape[:2]), progress)

    def _grow(self, rgb: Floats, tiling: Tiling, progress: Progress | None) -> Growing:
        height, width = rgb.shape[:2]
        tiles = count(height, width, tiling.side)
        return Growing(self._walk(rgb, tiling, progress), tiling, tiles)

    def estimate(
        self, rgb: Floats, tile: int | None = None, progress: Progress | None = None
    ) -> Floats | None:
        """The degradation vector alone; the last restoration and the enlargement are left out.

        Args and units as `upscale`.  None for a network that estimates nothing.
        """
        if not self.is_seamless:
            return self._upscale(rgb, tile, progress, Extent()).vector
        return self._walk(rgb, self._tiling(tile, *rgb.shape[:2]), progress).degradation()

    def _upscale(
        self, rgb: Floats, tile: int | None, progress: Progress | None, extent: Extent
    ) -> Result:
        height, width = rgb.shape[:2]
        tiling = self._tiling(tile, height, width, extent)
        if not self.is_seamless:
            picture, vector, tiles = self._blended(rgb, tiling, progress)
            seams: Literal["none", "blended"] = "none" if tiles == 1 else "blended"
            return Result(picture, vector, tiles, seams, tiling.notes)
        growing = self._grow(rgb, tiling, progress)
        scale = self.backend.scale
        output = np.empty((height * scale, width * scale, 3), np.float32)
        growing.fill(output)
        return Result(output, growing.vector, growing.tiles, "none", tiling.notes)

    def _blended(
        self, rgb: Floats, tiling: Tiling, progress: Progress | None
    ) -> tuple[Floats, Floats | None, int]:
        while True:
            try:
                return blended(self.backend, rgb, tiling, progress)
            except Exception as error:
                fits = min(tiling.side, max(rgb.shape)) <= SMALLEST_TILE
                if fits or not self.backend.ran_out_of_memory(error):
                    raise
            tiling.shrink(half_side(tiling.side))

    def _walk(self, rgb: Floats, tiling: Tiling, progress: Progress | None) -> Walk:
        limit = self.memory_limit
        if limit is None:
            # Only features on the device itself compete for its memory.
            limit = feature_limit("cpu" if self.backend.on_host else self.backend.device)
        return Walk(self.backend, rgb, tiling, Memory(self.backend, limit), progress)

    def _tiling(
        self, tile: int | None, height: int, width: int, extent: Extent | None = None
    ) -> Tiling:
        whole = -(-max(height, width) // GRID) * GRID
        if tile is not None and not isinstance(tile, Integral):
            raise TypeError(f"the side of tiles is a whole number of pixels, not {tile!r}")
        if tile == 0:
            return Tiling(whole, whole=True, extent=extent)
        if tile is not None and tile < 0:
            raise ValueError(f"tiles have a side of 0 (the whole picture) or more, not of {tile}")
        if tile is None:
            tile = automatic_tile(self.backend.device)
        return Tiling(min(-(-tile // GRID) * GRID, whole), extent=extent)


def _part(progress: Progress | None, number: int, parts: int) -> Progress | None:
    """Progress of one part of several equal ones."""
    if progress is None:
        return None

    def tell(done: int, total: int) -> None:
        progress(number * total + done, parts * total)

    return tell


def _laid(rgb: Floats, turn: int, mirrored: bool) -> Floats:
    # A copy in any case: `ascontiguousarray` keeps the negative stride of a side of one pixel, and
    # torch does not take that.
    return np.rot90(rgb[:, ::-1] if mirrored else rgb, turn).copy()


def _laid_back(rgb: Floats, turn: int, mirrored: bool) -> Floats:
    turned = np.rot90(rgb, -turn)
    return turned[:, ::-1] if mirrored else turned
