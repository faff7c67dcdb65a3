"""Arithmetic and memory of models, counted without doing or taking them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sr_cli.inference.backend import Precision
from sr_cli.inference.benchmark import is_grown
from sr_cli.inference.engine import Engine
from sr_cli.inference.plan import Step
from sr_cli.inference.store import Memory
from sr_cli.inference.torch_backend import HALVES, TorchBackend
from sr_cli.inference.walk import Tiling, Walk
from sr_cli.networks.stages import SuperResolver


def multiply_adds(network: SuperResolver, height: int, width: int, tile: int | None) -> int:
    """Multiply-adds of all convolutions and matrix products, counted without doing them.

    Args:
        network: Any; it is not changed.
        height: Of the low-resolution picture.
        width: Likewise.
        tile: As `Engine.upscale` takes it; 0 counts the plain network over the whole picture.
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        if tile == 0:
            _shadow(network)(torch.empty(1, 3, height, width, device="meta"))
        else:
            engine = Engine(_CountingBackend(_shadow(network), "fp32"), memory_limit=1 << 60)
            engine.upscale(_blank(height, width), tile)
    return int(counter.get_total_flops()) // 2


def feature_bytes(
    network: SuperResolver, height: int, width: int, tile: int, precision: Precision
) -> int:
    """The most that the features between stages take, found by going through the motions.

    Args:
        network: One that can be cut; it is not changed.
        height: Of the low-resolution picture.
        width: Likewise.
        tile: Side of the tiles.
        precision: What it computes in.
    """
    backend = _CountingBackend(_shadow(network), precision)
    memory = Memory(backend, 1 << 60)
    for _ in Walk(backend, _blank(height, width), Tiling(tile), memory, None).picture():
        pass
    return memory.peak


def picture_bytes(height: int, width: int, scale: int) -> int:
    """What the picture and the enlarged one, if it is held, take as floats.

    Args:
        height: Of the low-resolution picture.
        width: Likewise.
        scale: Enlargement.
    """
    held = 0 if is_grown(height, width, scale) else scale**2
    return 12 * height * width * (1 + held)


def _shadow(network: SuperResolver) -> SuperResolver:
    """The network without values."""
    return copy.deepcopy(network).requires_grad_(False).to("meta")


def _blank(height: int, width: int) -> NDArray[np.float32]:
    return np.broadcast_to(np.zeros(3, np.float32), (height, width, 3))


class _CountingBackend(TorchBackend):
    """Goes through the motions on tensors without values."""

    def __init__(self, network: SuperResolver, precision: Precision) -> None:
        super().__init__(network, torch.device("meta"), "fp32")
        self.half = HALVES.get(precision)
        self.device = "cpu"  # whose memory decides on tiles

    def run(self, step: Step, inputs: Sequence[Tensor], *, careful: bool = False) -> Tensor:
        return self.careful[step.output](*(one.float() for one in inputs))

    def sums(self, cells: Tensor) -> NDArray[np.float64]:
        return np.zeros(cells.shape[1])

    def vector(self, numbers: NDArray[np.float64]) -> Tensor:
        return torch.empty(1, len(numbers), 1, 1, device="meta")

    def is_finite(self, array: Tensor) -> bool:
        return True

    def numpy(self, array: Tensor) -> NDArray[np.float32]:
        return np.zeros(array.shape, np.float32)
