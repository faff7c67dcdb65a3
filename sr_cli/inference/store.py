"""Feature maps of a whole picture, kept in bands of rows that come and go."""

from __future__ import annotations

import mmap
import tempfile
from dataclasses import dataclass, field

import numpy as np

from sr_cli.inference.backend import Array, Backend
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.tiles import Window
from sr_cli.temporary import mapped

BAND = 64
"""Rows that are allocated and let go together."""


@dataclass(frozen=True)
class Band:
    """Some rows of a feature map."""

    values: Array
    """``(1, channels, rows, columns)``."""
    size: int
    """Bytes of memory; 0 in a file."""


@dataclass
class Memory:
    """Where feature maps live: in memory up to a limit, beyond it in a temporary file."""

    backend: Backend
    limit: int
    """Bytes."""
    held: int = 0
    peak: int = 0
    spilled: int = 0
    """Bytes that went to files so far."""
    spare: dict[tuple[int, ...], list[Band]] = field(default_factory=dict)
    """Given back, by shape."""

    def take(self, channels: int, rows: int, columns: int) -> Band:
        """A map of uninitialised values, to be given back.

        Raises:
            InferenceError: There is no room for the file.
        """
        shape = channels, rows, columns
        if spare := self.spare.get(shape):
            return spare.pop()
        size = channels * rows * columns * self.backend.store_dtype.itemsize
        if self.held + size > self.limit:
            self._drop_spare()
        if self.held + size > self.limit:
            return self._in_file(size, shape)
        if self.backend.on_host:
            # Straight from the system: an allocator would scatter it between the short-lived
            # tensors of tiles, and could not give it back.
            try:
                memory = np.frombuffer(mmap.mmap(-1, size), self.backend.store_dtype)
            except OSError:  # there is less than was thought
                return self._in_file(size, shape)
            band = Band(self.backend.wrap(memory, *shape), size)
        else:
            try:
                band = Band(self.backend.empty(*shape), size)
            except Exception as error:
                if not self.backend.ran_out_of_memory(error):
                    raise
                return self._in_file(size, shape)
        self.held += size
        self.peak = max(self.peak, self.held)
        return band

    def _in_file(self, size: int, shape: tuple[int, int, int]) -> Band:
        memory = np.frombuffer(_file_memory(size), self.backend.store_dtype)
        self.spilled += size
        return Band(self.backend.wrap(memory, *shape), 0)

    def give_back(self, band: Band) -> None:
        """What `take` gave; kept for the next that wants the like, since new memory costs time."""
        if band.size:
            self.spare.setdefault(tuple(band.values.shape[1:]), []).append(band)

    def _drop_spare(self) -> None:
        self.held -= sum(band.size for bands in self.spare.values() for band in bands)
        self.spare.clear()


def _file_memory(size: int) -> mmap.mmap:
    try:
        folder = tempfile.gettempdir()
    except OSError:
        raise InferenceError(
            "no folder for temporary files can be written to, and the features of so large a "
            "picture need one; set TMPDIR"
        ) from None
    try:
        return mapped(size)
    except OSError as error:
        raise InferenceError(
            f"{folder} has no room for the features of so large a picture ({error.strerror}); set "
            "TMPDIR to a folder on a larger disk"
        ) from None


@dataclass
class FeatureMap:
    """One map of the whole picture, written from top to bottom and read a little behind."""

    memory: Memory
    height: int
    width: int
    bands: dict[int, Band] = field(default_factory=dict)

    def write(self, window: Window, values: Array) -> None:
        """Keep the values of a window's tile, ``(1, C, bottom - top, right - left)``."""
        for number in range(window.top // BAND, -(-window.bottom // BAND)):
            first, last = number * BAND, min((number + 1) * BAND, self.height)
            if number not in self.bands:
                shape = values.shape[1], last - first, self.width
                self.bands[number] = self.memory.take(*shape)
            top, bottom = max(first, window.top), min(last, window.bottom)
            band = self.bands[number].values
            columns = slice(window.left, window.right)
            part = values[:, :, top - window.top : bottom - window.top]
            band[:, :, top - first : bottom - first, columns] = part

    def read(self, window: Window) -> Array:
        """The values of a window with its halo."""
        parts = []
        for number in range(window.outer_top // BAND, -(-window.outer_bottom // BAND)):
            first = number * BAND
            rows = slice(max(window.outer_top - first, 0), window.outer_bottom - first)
            columns = slice(window.outer_left, window.outer_right)
            parts.append(self.bands[number].values[:, :, rows, columns])
        return self.memory.backend.join(parts)

    def forget_above(self, row: int) -> None:
        """Let go of what lies above a row."""
        for number in [n for n in self.bands if min((n + 1) * BAND, self.height) <= row]:
            self.memory.give_back(self.bands.pop(number))
