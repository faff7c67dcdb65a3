"""What the engine asks of whatever computes: torch, or ONNX Runtime.

Arrays are the backend's own.  The engine slices them and assigns to slices, as torch and NumPy both
allow, and leaves everything else to the backend.  Maps are ``(1, C, h, w)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sr_cli.inference.plan import Step

Array = Any
Precision = Literal["fp32", "fp16", "bf16", "int8"]


class Backend(Protocol):
    """A network on a device."""

    name: str
    """``"torch"`` or ``"onnx"``."""
    model: str
    """What to call the network in messages."""
    device: str
    precision: Precision
    scale: int
    steps: tuple[Step, ...]
    """How the network may be cut; empty if only overlapping tiles will do."""

    def load(self, pixels: NDArray[np.float32]) -> Array:
        """``(h, w, 3)`` as a map on the device."""

    def run(self, step: Step, inputs: Sequence[Array], *, careful: bool = False) -> Array:
        """One step on maps of one window and on vectors.

        Args:
            step: One of `steps`.
            inputs: As the step lists them.
            careful: Whether to compute in single precision, whatever `precision` says.
        """

    def run_whole(self, picture: Array, *, careful: bool = False) -> tuple[Array, Array | None]:
        """The whole network on a map: the enlarged map, and the vector ``(1, n)`` if any."""

    def is_finite(self, array: Array) -> bool:
        """Whether no value is infinite or not a number."""

    @property
    def on_host(self) -> bool:
        """Whether feature maps live in the machine's own memory, so that `wrap` makes them."""

    def empty(self, channels: int, rows: int, columns: int) -> Array:
        """Memory on a device for a part of a feature map, uninitialised."""

    def wrap(self, memory: NDArray[Any], channels: int, rows: int, columns: int) -> Array:
        """Memory of the host, ``(channels * rows * columns,)`` of `store_dtype`, as a map."""

    @property
    def store_dtype(self) -> np.dtype[Any]:
        """What feature maps are kept as."""

    def join(self, parts: Sequence[Array]) -> Array:
        """Maps of one width below one another, on the device and ready for `run`."""

    def sums(self, cells: Array) -> NDArray[np.float64]:
        """The sum over a map, by channel."""

    def vector(self, numbers: NDArray[np.float64]) -> Array:
        """Numbers as ``(1, C, 1, 1)`` on the device."""

    def numpy(self, array: Array) -> NDArray[np.float32]:
        """The values on the host."""

    def ran_out_of_memory(self, error: Exception) -> bool:
        """Whether that is what an error of `run` or `empty` means; frees what it can."""
