"""Seamless tiles: the stages of a network over a picture of any size, with the whole's pixels.

Every stage goes over the picture from top to bottom, a band of tiles at a time, as far as what it
reads is there, and no further than somebody asks: the enlarged picture asks for the features that
it is made of, these for those before them.  So what lies between two stages exists only around
where they work.  An average over the picture is the exception: it has to see all of its input
before the first tile behind it can begin, and that input stays until it has been used.

Tiles of a stage see a halo of real neighbours, and zero padding only at the picture's own edge: the
result is the full frame's up to the order of float additions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sr_cli.inference.backend import Array, Backend
from sr_cli.inference.errors import diverged
from sr_cli.inference.plan import DEGRADATION, LR, POSITION, SR, Step
from sr_cli.inference.store import FeatureMap, Memory
from sr_cli.inference.tiles import GRID, SMALLEST_TILE, Window, band_windows

BEYOND = 0.5
"""How far below 0 and above 1 a result may go before that is told; photographs' go by 0.13."""


def half_side(side: int) -> int:
    """The side of tiles to go on with when those of a side do not fit in memory."""
    return max(SMALLEST_TILE, -(-side // 2 // GRID) * GRID)


class Extent:
    """How far a network's results go, before they are cut off to [0, 1]."""

    def __init__(self) -> None:
        self.lowest = 0.0
        self.highest = 1.0

    def saw(self, piece: NDArray[np.float32]) -> None:
        """Take notice of a part of a result, as it is."""
        self.lowest = min(self.lowest, float(piece.min()))
        self.highest = max(self.highest, float(piece.max()))

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence if that is further than a picture goes."""
        if self.lowest >= -BEYOND and self.highest <= 1 + BEYOND:
            return ()
        return (
            f"the network's result went from {self.lowest:.1f} to {self.highest:.1f} and was "
            "cut off at black (0) and white (1): it knows no pictures like this one; look at "
            "the sharp edges, or try another model",
        )


class Tiling:
    """The side of tiles, which shrinks for good when memory runs out."""

    def __init__(self, side: int, *, whole: bool = False, extent: Extent | None = None) -> None:
        """Begin with a side.

        Args:
            side: In pixels of the input, a multiple of 8.
            whole: Whether every stage takes tiles of that side, whatever it weighs.
            extent: What takes notice of the result; a new one if none is given.
        """
        self.side = side
        self.whole = whole
        self.extent = extent or Extent()
        self.shrunk = False
        self.redone = 0
        """How often half precision could not do a step of a tile."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What became of the plan, in sentences."""
        notes: list[str] = []
        if self.shrunk:
            notes.append(f"memory ran out, so it went on with tiles of {self.side} pixels")
        if self.redone:
            times = "once" if self.redone == 1 else f"{self.redone} times"
            notes.append(
                f"a tile left the range of half precision {times} and was done again in fp32"
            )
        return tuple(notes)

    def shrink(self, side: int, scale: int = 1) -> None:
        """Go on with smaller tiles.

        Args:
            side: Of those that will do for a step of this scale.
            scale: See `side_for`.
        """
        self.side = min(self.side, side * max(scale, 2) // 2)
        self.whole = False
        self.shrunk = True

    def side_for(self, step: Step) -> int:
        """Of a step's tiles: those of the enlarged picture weigh most in memory."""
        if self.whole:
            return self.side
        return max(GRID, self.side * 2 // max(step.scale, 2) // GRID * GRID)


class Walk:
    """One picture on its way through the stages of one network."""

    def __init__(
        self,
        backend: Backend,
        rgb: NDArray[np.float32],
        tiling: Tiling,
        memory: Memory,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.backend = backend
        self.rgb = rgb
        self.height, self.width = rgb.shape[:2]
        self.tiling = tiling
        self.memory = memory
        self.progress = progress
        self.steps = {step.output: step for step in backend.steps}
        self.made = dict.fromkeys(self.steps, 0)
        """Rows that each map has got to."""
        self.maps: dict[str, FeatureMap] = {}
        self.vectors: dict[str, Array] = {}
        self.sums: dict[str, NDArray[np.float64]] = {}
        """Over the rows so far, of what averages are taken of."""
        maps = {s.output for s in backend.steps if s.kind == "map"}
        self.map_inputs = {
            s.output: tuple(name for name in s.inputs if name in maps) for s in backend.steps
        }
        self.readers = {
            name: tuple(s for s in backend.steps if name in s.inputs) for name in self.steps
        }
        self.behind = self._lags()
        self.done, self.all = 0, self.height * self.width * sum(map(_is_spatial, backend.steps))

    def picture(
        self, into: NDArray[np.float32] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The enlarged picture from top to bottom: row of the input and ``(h, scale*W, 3)``.

        Args:
            into: ``(scale*H, scale*W, 3)`` to be filled; what is yielded is then a part of it.

        Raises:
            InferenceError: The network gives something that is not finite.
        """
        step = self.steps[SR]
        while self.made[SR] < self.height:
            top = self.made[SR]
            height = self._next_band(step)
            if into is None:
                rows = np.empty((height * step.scale, self.width * step.scale, 3), np.float32)
            else:
                rows = into[top * step.scale : (top + height) * step.scale]

            def keep(window: Window, values: Array, top: int = top, rows: Array = rows) -> None:
                piece = self.backend.numpy(values)[0].transpose(1, 2, 0)
                self.tiling.extent.saw(piece)
                y, x = (window.top - top) * step.scale, window.left * step.scale
                np.clip(piece, 0, 1, out=rows[y : y + piece.shape[0], x : x + piece.shape[1]])

            self._band(step, height, keep)
            self._catch_up()
            yield top, rows
            del rows, keep  # before the next ones are made

    def degradation(self) -> NDArray[np.float32] | None:
        """The estimated vector, flat, if the network has one.

        Raises:
            InferenceError: It is not finite.
        """
        if DEGRADATION not in self.steps:
            return None
        vector = self.backend.numpy(self._vector(DEGRADATION)).reshape(-1)
        if not np.isfinite(vector).all():
            raise diverged(self.backend.model, self.backend.precision)
        return vector

    def _vector(self, name: str) -> Array:
        if name not in self.vectors:
            step = self.steps[name]
            if step.kind == "mean":
                self.vectors[name] = self._mean(step)
            else:
                inputs = [self._vector(one) for one in step.inputs]
                self.vectors[name] = self._computed(step, inputs)
        return self.vectors[name]

    def _catch_up(self) -> None:
        """Average as much of a map as is there already, or it would have to stay to the end.

        So it is with networks that estimate once more from what they enlarge (DANv2).
        """
        for step in self.steps.values():
            maps = self.map_inputs[step.output]
            while step.kind == "mean" and maps and self.made[step.output] < self.height:
                bottom = self.made[step.output] + self._next_band(step)
                if min(self.made[name] for name in maps) < min(bottom + step.halo, self.height):
                    break
                self._add_band(step)

    def _add_band(self, step: Step) -> None:
        """One more band of what an average is taken of."""

        # Added up at once: sums that are kept lie between the tensors of tiles, and an allocator
        # then cannot give those back (1.5 GB at 200 megapixels).
        def keep(_: Window, cells: Array) -> None:
            sums = self.backend.sums(cells)
            self.sums[step.output] = self.sums.get(step.output, 0) + sums

        self._band(step, self._next_band(step), keep)

    def _mean(self, step: Step) -> Array:
        while self.made[step.output] < self.height:
            self._add_band(step)
        total = self.sums[step.output]
        if not np.isfinite(total).all():  # nor would be anything that is made of it
            raise diverged(self.backend.model, self.backend.precision)
        cells = -(-self.height // step.stride) * -(-self.width // step.stride)
        return self.backend.vector(total / cells)

    def _map(self, step: Step) -> None:
        """One more band of a feature map."""
        values = self.maps.setdefault(step.output, FeatureMap(self.memory, self.height, self.width))
        self._band(step, self._next_band(step), values.write)

    def _next_band(self, step: Step) -> int:
        """Height of the step's next band.

        The first is lower by what the step lags behind, so that from then on a band needs just one
        more of those before it; what would be left at the bottom for that reason goes with the
        band above.
        """
        top, side = self.made[step.output], self.tiling.side
        if step.scale > 1:
            side = self.tiling.side_for(step)  # rows of the enlarged picture are wide
        if self.tiling.whole:
            return self.height - top
        lag = self.behind[step.output]
        height = side - lag if top == 0 and lag < side else side
        left = self.height - top
        return left if left - height <= min(lag, side // 2) else height

    def _lags(self) -> dict[str, int]:
        """How many rows each step is behind the first of its way from the last whole map."""
        lags: dict[str, int] = {}
        # What a mean has seen is there as a whole when the steps behind the mean begin.
        whole: set[str] = {LR}
        for step in self.steps.values():
            before = [lags[name] for name in self.map_inputs[step.output] if name not in whole]
            lags[step.output] = -(-(max(before) + step.halo) // GRID) * GRID if before else 0
            if step.kind == "mean":
                whole |= set(self.map_inputs[step.output])
        return lags

    def _band(self, step: Step, height: int, keep: Callable[[Window, Array], None]) -> None:
        """Run a step on the tiles of its next band, after what it reads has been made."""
        for name in step.inputs:
            if name not in (LR, POSITION, *self.map_inputs[step.output]):
                self._vector(name)
        top = self.made[step.output]
        bottom = top + height
        for name in self.map_inputs[step.output]:
            while self.made[name] < min(bottom + step.halo, self.height):
                self._map(self.steps[name])
        shape = self.height, self.width
        for window in band_windows(shape, top, bottom, self.tiling.side_for(step), step.halo):
            self._tile(step, window, keep)
        self.made[step.output] = bottom
        for name in self.map_inputs[step.output]:
            self.maps[name].forget_above(min(map(self._still_reads, self.readers[name])))

    def _still_reads(self, step: Step) -> int:
        """The first row of its inputs that a step has still to read."""
        made = self.made[step.output]
        return self.height if made == self.height else made - step.halo

    def _tile(self, step: Step, window: Window, keep: Callable[[Window, Array], None]) -> None:
        """One tile, or smaller ones if it does not fit in memory."""
        side = max(window.bottom - window.top, window.right - window.left)
        failure: Exception | None = None
        try:
            values = self._run(step, window)
        except Exception as error:
            if side <= SMALLEST_TILE or not self.backend.ran_out_of_memory(error):
                raise
            failure = error.with_traceback(None)  # which would hold on to memory
        if failure is not None:
            smaller = half_side(side)
            self.tiling.shrink(smaller, step.scale)
            for part in window.split(smaller, step.halo, (self.height, self.width)):
                self._tile(step, part, keep)
            return
        divisor = step.stride if step.kind == "mean" else 1
        rows, columns = window.inner(step.scale, divisor)
        keep(window, values[:, :, rows, columns])
        self.done += (window.bottom - window.top) * (window.right - window.left)
        if self.progress:
            self.progress(self.done, self.all)

    def _run(self, step: Step, window: Window) -> Array:
        values = self._computed(step, [self._input(name, window) for name in step.inputs])
        # Looking at every map would cost more, and what goes wrong in one shows in the picture.
        if step.output == SR and not self.backend.is_finite(values):
            raise diverged(self.backend.model, self.backend.precision)
        return values

    def _computed(self, step: Step, inputs: Sequence[Array]) -> Array:
        """A step's result, from single precision if it leaves the range of half precision."""
        values = self.backend.run(step, inputs)
        if self.backend.precision == "fp16" and not self.backend.is_finite(values):
            self.tiling.redone += _is_spatial(step)
            values = self.backend.run(step, inputs, careful=True)
        return values

    def _input(self, name: str, window: Window) -> Array:
        if name == LR:
            return self.backend.load(self.rgb[window.outer])
        if name == POSITION:
            return self.backend.load(self._positions(window))
        return self.maps[name].read(window) if name in self.maps else self.vectors[name]

    def _positions(self, window: Window) -> NDArray[np.float32]:
        """See `sr_cli.networks.stages.positions`; ``(h, w, 2)``."""
        ends = max(self.height - 1, 1), max(self.width - 1, 1)
        places = (
            np.arange(part.start, part.stop, dtype=np.float32) / np.float32(end)
            for part, end in zip(window.outer, ends, strict=True)
        )
        return np.stack(np.meshgrid(*places, indexing="ij"), axis=2)


def _is_spatial(step: Step) -> bool:
    return step.kind != "vector"
