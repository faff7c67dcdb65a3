"""Seamless tiles: a DAN over a picture of any size, tile by tile, with the pixels of the whole.

Everything in a DAN is local except the Estimator's average over the picture.  So each pass goes
over all tiles before the next begins: the Estimator's cells are added up over the whole picture,
then every tile is restored with the one degradation that came out.  Convolutions see a halo of
real neighbours, and zero padding only at the picture's own edge, so the result is the full
frame's up to the order of float additions.

The Restorer runs in segments of a few blocks with the features between them kept for the whole
picture: a segment needs a halo of a few pixels, all blocks in one go would need 33.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sr_cli.inference.tiles import Window, count, windows
from sr_cli.networks.blocks import RRDB
from sr_cli.networks.dan import DAN

Precision = Literal["fp32", "bf16"]

ESTIMATOR_STRIDE = 8
ESTIMATOR_HALO = {5: 48, 8: 88}
"""Halo of the Estimator by its number of blocks, image head included, a multiple of its stride."""
HEAD_HALO = 1
TAIL_HALO = 4
SEGMENT_BLOCKS = {"edsr": 4, "rrdb": 1}
BLOCK_HALO = {"edsr": 2, "rrdb": 15}
AUTO_TILE = 256


@dataclass(frozen=True)
class Result:
    """An enlarged picture with the description of what had happened to it."""

    rgb: NDArray[np.float32]
    """``(scale*H, scale*W, 3)`` in [0, 1]."""
    vector: NDArray[np.float32]
    """The normalised degradation vector."""
    tiles: int
    """Tiles that the picture was cut into."""


class Engine:
    """A network on a device, ready for pictures."""

    def __init__(self, network: DAN, device: torch.device, precision: Precision = "fp32") -> None:
        self.network = network.to(device).eval()
        # The fast layout on CPUs and GPUs alike.
        self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.precision = precision

    @torch.inference_mode()
    def upscale(
        self,
        rgb: NDArray[np.float32],
        tile: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Result:
        """Enlarge a picture.

        Args:
            rgb: ``(H, W, 3)`` in [0, 1], at least one pixel.
            tile: Side of the tiles in input pixels, rounded up to a multiple of 8; 0 for the whole
                picture at once, None to choose.
            progress: Called with the passes over tiles that are done, and how many there are.
        """
        height, width = rgb.shape[:2]
        side = _tile_side(tile, height, width)
        job = _Job(self, rgb, side, progress)
        output = job.run()
        return Result(output, job.vector, count(height, width, side))

    @torch.inference_mode()
    def estimate(
        self,
        rgb: NDArray[np.float32],
        tile: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """The degradation vector alone; the last restoration and the enlargement are left out.

        Args and units as `upscale`.
        """
        height, width = rgb.shape[:2]
        job = _Job(self, rgb, _tile_side(tile, height, width), progress)
        job.alternate(restore_last=False)
        return job.vector

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def _tile_side(tile: int | None, height: int, width: int) -> int:
    longest = -(-max(height, width) // ESTIMATOR_STRIDE) * ESTIMATOR_STRIDE
    if tile == 0:
        return longest
    if tile is None:
        tile = AUTO_TILE
    return min(-(-tile // ESTIMATOR_STRIDE) * ESTIMATOR_STRIDE, longest)


class _Job:
    """One picture on its way through an engine."""

    def __init__(
        self,
        engine: Engine,
        rgb: NDArray[np.float32],
        side: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.engine = engine
        self.network = engine.network
        self.lr = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).unsqueeze(0)
        self.height, self.width = rgb.shape[:2]
        self.side = side
        self.progress = progress
        block = "rrdb" if isinstance(self.network.restorer.body[0], RRDB) else "edsr"
        self.block_halo = BLOCK_HALO[block]
        body = list(self.network.restorer.body)
        step = SEGMENT_BLOCKS[block]
        self.segments = [body[i : i + step] for i in range(0, len(body), step)]
        self.estimator_halo = ESTIMATOR_HALO[len(self.network.estimator.body)]
        tiles = count(self.height, self.width, side)
        self.done, self.steps = 0, tiles * (self.network.iterations * (1 + len(self.segments)) + 1)
        with engine._autocast():
            self.degradation = self.network.degradation_head(self.network.initial_degradation)

    @property
    def vector(self) -> NDArray[np.float32]:
        """The degradation vector as it stands."""
        with self.engine._autocast():
            vector = self.network.degradation_tail(self.degradation)
        numbers: NDArray[np.float32] = vector.flatten().float().cpu().numpy()
        return numbers

    def run(self) -> NDArray[np.float32]:
        """The whole way; returns the picture ``(scale*H, scale*W, 3)``."""
        sr_feature = self.alternate(restore_last=True)
        assert sr_feature is not None
        scale = self.network.scale
        output = np.empty((scale * self.height, scale * self.width, 3), np.float32)
        for window in self._windows(TAIL_HALO):
            with self.engine._autocast():
                sr = self.network.tail(self._load(sr_feature, window))
            rows, columns = window.inner(scale)
            piece = sr[0, :, rows, columns].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
            top, left = window.top * scale, window.left * scale
            output[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
        return output

    def alternate(self, *, restore_last: bool) -> Tensor | None:
        """Estimator and Restorer in turn; returns the last image feature of the whole picture."""
        sr_feature: Tensor | None = None
        for iteration in range(self.network.iterations):
            self._estimate(sr_feature)
            if iteration + 1 < self.network.iterations or restore_last:
                sr_feature = self._restore(sr_feature)
        return sr_feature

    def _estimate(self, sr_feature: Tensor | None) -> None:
        """Update the degradation feature with the Estimator's average over the whole picture."""
        total = torch.zeros_like(self.degradation, dtype=torch.float64)
        for window in self._windows(self.estimator_halo):
            lr, sr = self._features(sr_feature, window)
            with self.engine._autocast():
                cells = self.network.estimator(lr, sr, self.degradation)
            rows, columns = window.inner(divisor=ESTIMATOR_STRIDE)
            total += cells[:, :, rows, columns].double().sum((2, 3), keepdim=True)
        number = -(-self.height // ESTIMATOR_STRIDE) * -(-self.width // ESTIMATOR_STRIDE)
        self.degradation = self.degradation + (total / number).to(self.degradation.dtype)

    def _restore(self, sr_feature: Tensor | None) -> Tensor:
        """Update the image feature of the whole picture, a segment of the Restorer at a time."""
        between: Tensor | None = None
        for number, segment in enumerate(self.segments):
            last = number + 1 == len(self.segments)
            between = self._segment(segment, sr_feature, between, last=last)
        assert between is not None
        return between

    def _segment(
        self,
        blocks: list[nn.Module],
        sr_feature: Tensor | None,
        before: Tensor | None,
        *,
        last: bool,
    ) -> Tensor:
        after = self._new_store()
        for window in self._windows(len(blocks) * self.block_halo):
            fused: Tensor | None = None
            sr: Tensor | None = None
            if before is None or last:
                lr, sr = self._features(sr_feature, window)
                with self.engine._autocast():
                    fused = self.network.restorer.fuse(lr, sr, self.degradation)
            x = fused if before is None else self._load(before, window)
            assert x is not None
            with self.engine._autocast():
                for block in blocks:
                    x = block(x)
            if last:
                assert fused is not None and sr is not None
                x = sr + x + fused
            rows, columns = window.inner()
            after[(..., *window.tile)] = x[..., rows, columns].to(after)
        return after

    def _features(self, sr_feature: Tensor | None, window: Window) -> tuple[Tensor, Tensor]:
        """Image features of a window: of the input, computed anew, and of the last iteration."""
        # One more pixel around, so that the head has real neighbours where there are any.
        rows = slice(max(window.outer_top - HEAD_HALO, 0), window.outer_bottom + HEAD_HALO)
        columns = slice(max(window.outer_left - HEAD_HALO, 0), window.outer_right + HEAD_HALO)
        patch = self.lr[..., rows, columns].to(self.engine.device)
        with self.engine._autocast():
            feature, _ = self.network.head(patch.contiguous(memory_format=torch.channels_last))
        top, left = window.outer_top - rows.start, window.outer_left - columns.start
        height = window.outer_bottom - window.outer_top
        width = window.outer_right - window.outer_left
        lr = feature[..., top : top + height, left : left + width]
        return lr, lr if sr_feature is None else self._load(sr_feature, window)

    def _new_store(self) -> Tensor:
        features = self.network.image_head.out_channels
        return torch.empty(1, features, self.height, self.width).contiguous(
            memory_format=torch.channels_last
        )

    def _load(self, store: Tensor, window: Window) -> Tensor:
        return store[(..., *window.outer)].to(self.engine.device)

    def _windows(self, halo: int) -> Iterator[Window]:
        """The tiles of one pass, reported one by one as they are done."""
        for window in windows(self.height, self.width, self.side, halo):
            yield window
            self.done += 1
            if self.progress:
                self.progress(self.done, self.steps)
