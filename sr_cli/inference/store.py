"""Feature maps of a whole picture, kept in bands of rows that come and go."""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sr_cli.inference.backend import Array, Backend
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.tiles import Window

BAND = 64
"""Rows that are allocated and let go together."""


@dataclass
class Memory:
    """Where feature maps live: in memory up to a limit, beyond it in a temporary file."""

    backend: Backend
    limit: int
    """Bytes."""
    used: int = 0
    peak: int = 0
    spilled: int = 0
    """Bytes that went to files so far."""

    def take(self, channels: int, rows: int, columns: int) -> tuple[Array, int]:
        """A map of uninitialised values, and the bytes to give back for it.

        Raises:
            InferenceError: There is no room for the file.
        """
        size = channels * rows * columns * self.backend.store_dtype.itemsize
        if self.used + size > self.limit:
            self.spilled += size
            memory = _file_memory(size, self.backend.store_dtype)
            return self.backend.wrap(memory, channels, rows, columns), 0
        self.used += size
        self.peak = max(self.peak, self.used)
        if self.backend.on_host:
            # Straight from the system and back to it: an allocator would keep what is let go, in
            # pieces between the short-lived tensors of tiles.
            memory = np.frombuffer(mmap.mmap(-1, size), self.backend.store_dtype)
            return self.backend.wrap(memory, channels, rows, columns), size
        return self.backend.empty(channels, rows, columns), size

    def give_back(self, size: int) -> None:
        """What `take` said."""
        self.used -= size


def _file_memory(size: int, kind: np.dtype[Any]) -> np.ndarray[Any, Any]:
    # Deleted as soon as nothing maps it, whatever becomes of this program.
    with tempfile.TemporaryFile(prefix="sr-cli-") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                # A file with holes would kill the program when the disk runs full.
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise InferenceError(
                f"{tempfile.gettempdir()} has no room for the features of so large a picture "
                f"({error.strerror}); set TMPDIR to a folder on a larger disk"
            ) from None
        return np.memmap(file, kind, "r+", 0, (size // kind.itemsize,))


@dataclass
class FeatureMap:
    """One map of the whole picture, written from top to bottom and read a little behind."""

    memory: Memory
    height: int
    width: int
    bands: dict[int, tuple[Array, int]] = field(default_factory=dict)

    def write(self, window: Window, values: Array) -> None:
        """Keep the values of a window's tile, ``(1, C, bottom - top, right - left)``."""
        for number in range(window.top // BAND, -(-window.bottom // BAND)):
            first, last = number * BAND, min((number + 1) * BAND, self.height)
            if number not in self.bands:
                shape = values.shape[1], last - first, self.width
                self.bands[number] = self.memory.take(*shape)
            top, bottom = max(first, window.top), min(last, window.bottom)
            band = self.bands[number][0]
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
            parts.append(self.bands[number][0][:, :, rows, columns])
        return self.memory.backend.join(parts)

    def forget_above(self, row: int) -> None:
        """Let go of what lies above a row."""
        for number in [n for n in self.bands if min((n + 1) * BAND, self.height) <= row]:
            self.memory.give_back(self.bands.pop(number)[1])
