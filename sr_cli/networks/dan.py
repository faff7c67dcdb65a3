"""DAN: the Deep Alternating Network for blind super-resolution (RealDAN and KernelDAN).

An Estimator and a Restorer, sharing their weights over all iterations, take turns in feature
space.  The published network differs from Eq. 8 and Fig. 3 of the paper: the Estimator goes
first, both modules take three inputs, and both updates are residual::

    d_i = E(l, x_{i-1}, d_{i-1}) + d_{i-1}
    x_i = R(l, x_{i-1}, d_i)     + x_{i-1}        x_0 = l

This module follows the published network, so that its checkpoints load.

Paper: Luo et al., "End-to-end Alternating Optimization for Real-World Blind Super Resolution".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_cli.networks.blocks import (
    BLOCK_HALO,
    RGB_MEAN,
    RRDB,
    SEGMENT_BLOCKS,
    UPSAMPLER_HALO,
    BlockName,
    EDSRBlock,
    upsampler,
)
from sr_cli.networks.family import Family
from sr_cli.networks.keys import Renames, count, has_all, rename, upsampler_scale
from sr_cli.networks.stages import DEGRADATION, LR, SR, Stage, SuperResolver

EstimatorSize = Literal["small", "large"]

ESTIMATOR_STRIDES: dict[EstimatorSize, tuple[int, ...]] = {
    "small": (2, 1, 2, 1, 2),
    "large": (2, 1, 1, 2, 1, 1, 2, 1),
}
"""Stride of each residual block of the Estimator; both sizes stride by 8 in all."""

ESTIMATOR_STRIDE = 8
ESTIMATOR_HALO: dict[EstimatorSize, int] = {"small": 48, "large": 72}
"""What the Estimator sees to each side, image head included, up to a multiple of its stride."""
HEAD_HALO = 1

BLOCKS: dict[BlockName, type[EDSRBlock] | type[RRDB]] = {"edsr": EDSRBlock, "rrdb": RRDB}


class EstimatorBlock(nn.Module):
    """Pre-activated residual block of the Estimator.

    The shortcut carries ``relu(x)``, not ``x``: in the published code the first ReLU works in
    place on the block's input, and checkpoints have learned with it.
    """

    def __init__(self, features: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        residual = self.conv2(F.relu(self.conv1(x)))
        shortcut = x if self.stride == 1 else F.avg_pool2d(x, 3, self.stride, 1)
        return residual + shortcut


class Estimator(nn.Module):
    """From image and degradation features to a map whose mean updates the degradation feature."""

    def __init__(self, features: int, size: EstimatorSize) -> None:
        super().__init__()
        self.fusion = nn.Conv2d(3 * features, features, 1)
        self.body = nn.Sequential(
            *(EstimatorBlock(features, stride) for stride in ESTIMATOR_STRIDES[size])
        )
        self.tail = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, lr: Tensor, sr: Tensor, degradation: Tensor) -> Tensor:
        """``(N, F, H, W)`` twice and ``(N, F, 1, 1)`` to ``(N, F, ceil(H/8), ceil(W/8))``.

        The global average is the caller's, so that tiles of one picture can share it.
        """
        return self.tail(self.body(_fuse(self.fusion, lr, sr, degradation)))


class Restorer(nn.Module):
    """From image and degradation features to an update of the image feature."""

    def __init__(self, features: int, blocks: int, block: BlockName) -> None:
        super().__init__()
        self.fusion = nn.Conv2d(3 * features, features, 1)
        self.body = nn.Sequential(*(BLOCKS[block](features) for _ in range(blocks)))

    def forward(self, lr: Tensor, sr: Tensor, degradation: Tensor) -> Tensor:
        """``(N, F, H, W)`` twice and ``(N, F, 1, 1)`` to ``(N, F, H, W)``."""
        fused = self.fuse(lr, sr, degradation)
        return self.body(fused) + fused

    def fuse(self, lr: Tensor, sr: Tensor, degradation: Tensor) -> Tensor:
        """What enters the body, and is added again behind it."""
        return _fuse(self.fusion, lr, sr, degradation)


def _fuse(fusion: nn.Conv2d, lr: Tensor, sr: Tensor, degradation: Tensor) -> Tensor:
    """The 1x1 convolution over the three concatenated features.

    The degradation feature is constant over the picture, so its third of the convolution is
    applied once a picture instead of once a pixel; the sum is the same.
    """
    features = lr.shape[1]
    image_weight, degradation_weight = fusion.weight.split((2 * features, features), 1)
    per_pixel = F.conv2d(torch.cat((lr, sr), 1), image_weight)
    return per_pixel + F.conv2d(degradation, degradation_weight, fusion.bias)


class DAN(SuperResolver):
    """The unrolled Deep Alternating Network.

    Args:
        scale: Enlargement, 2, 3, 4, ...
        degradation_size: Length of the degradation vector (42 two-stage, 8 blur only).
        features: Channels throughout.
        blocks: Residual blocks of the Restorer.
        iterations: Times Estimator and Restorer alternate (T of the paper); not in the weights.
        block: Body of the Restorer, ``"edsr"`` or ``"rrdb"``.
        estimator: Size of the Estimator; the published RRDB models use ``"large"``.
    """

    single_precision = ("image_head",)

    def __init__(
        self,
        scale: int = 4,
        degradation_size: int = 42,
        features: int = 64,
        blocks: int = 16,
        iterations: int = 3,
        block: BlockName = "edsr",
        estimator: EstimatorSize = "small",
    ) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {iterations}")
        self.scale = scale
        self.iterations = iterations
        self.block: BlockName = block
        self.estimator_size: EstimatorSize = estimator
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1))
        self.initial_degradation = nn.Parameter(torch.zeros(1, degradation_size, 1, 1))
        self.image_head = nn.Conv2d(3, features, 3, padding=1)
        self.degradation_head = nn.Conv2d(degradation_size, features, 1)
        self.estimator = Estimator(features, estimator)
        self.restorer = Restorer(features, blocks, block)
        self.image_tail = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            upsampler(features, scale),
            nn.Conv2d(features, 3, 3, padding=1),
        )
        self.degradation_tail = nn.Conv2d(features, degradation_size, 1)

    def head(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """The first features: ``(N, F, H, W)`` of the picture, ``(N, F, 1, 1)`` of the guess."""
        degradation = self.degradation_head(self.initial_degradation)
        return self._feature(lr), degradation.expand(lr.shape[0], -1, -1, -1)

    def _feature(self, lr: Tensor) -> Tensor:
        # Half precision would round away the faint traces that the Estimator lives on.
        place = "cpu" if lr.is_meta else lr.device.type  # shapes alone have no autocast
        with torch.autocast(place, enabled=False):
            return self.image_head(lr - self.mean)

    def _body_feature(self, lr: Tensor) -> Tensor:
        """The input's feature as precise as the weights that it meets."""
        return self._feature(lr).to(self.restorer.fusion.weight.dtype)

    def tail(self, sr: Tensor) -> Tensor:
        """Image features ``(N, F, H, W)`` to a picture ``(N, 3, scale*H, scale*W)``."""
        return self.image_tail(sr) + self.mean

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Super-resolve and describe.

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].

        Returns:
            The picture ``(N, 3, scale*H, scale*W)``, about [0, 1] and not clamped, and the
            degradation vector ``(N, degradation_size)`` in the normalised units of its layout.
        """
        picture, vector, *_ = self.unrolled(lr)
        return picture, vector

    def unrolled(self, lr: Tensor) -> tuple[Tensor, ...]:
        """What `forward` returns, then the degradation feature after every iteration.

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].

        Returns:
            Picture, vector and T features ``(N, F, 1, 1)``.
        """
        sr_feature, described = self._alternate(lr, self.iterations)
        vector = self.degradation_tail(described[-1]).flatten(1)
        return self.tail(sr_feature), vector, *described

    def vector(self, lr: Tensor) -> Tensor:
        """The vector that `forward` returns, without the last restoration and the enlargement.

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].

        Returns:
            ``(N, degradation_size)`` in the normalised units of the layout.
        """
        _, described = self._alternate(lr, self.iterations - 1)
        return self.degradation_tail(described[-1]).flatten(1)

    def _alternate(self, lr: Tensor, restorations: int) -> tuple[Tensor, list[Tensor]]:
        """The image feature after so many restorations, the degradation's after all estimates."""
        lr_feature, degradation = self.head(lr)
        sr_feature = lr_feature
        described: list[Tensor] = []
        for i in range(self.iterations):
            # Each module learns from its own loss only: what crosses over is detached.
            update = self.estimator(lr_feature, sr_feature.detach(), degradation)
            degradation = degradation + update.mean((2, 3), keepdim=True)
            if i < restorations:
                update = self.restorer(lr_feature, sr_feature, degradation.detach())
                sr_feature = sr_feature + update
            described.append(degradation)
        return sr_feature, described

    def stages(self) -> tuple[Stage, ...]:
        """The alternation, exact: only the Estimator's average needs the whole picture.

        The features of the input are computed anew in every stage that needs them, which is
        cheaper than to keep them.
        """
        stages = [
            Stage("d0", (), lambda: self.degradation_head(self.initial_degradation), "vector")
        ]
        for i in range(1, self.iterations + 1):
            stages += self._estimator_stages(i)
            stages += self._restorer_stages(i)
        stages.append(
            Stage(
                DEGRADATION, (f"d{self.iterations}",), lambda d: self.degradation_tail(d), "vector"
            )
        )
        last = f"x{self.iterations}"
        stages.append(Stage(SR, (last,), self.tail, halo=UPSAMPLER_HALO, scale=self.scale))
        return tuple(stages)

    def _estimator_stages(self, i: int) -> list[Stage]:
        def update(lr: Tensor, degradation: Tensor, *x: Tensor) -> Tensor:
            feature = self._body_feature(lr)
            return self.estimator(feature, *(x or (feature,)), degradation)

        before = () if i == 1 else (f"x{i - 1}",)
        halo = ESTIMATOR_HALO[self.estimator_size]
        return [
            Stage(
                f"update{i}",
                (LR, f"d{i - 1}", *before),
                update,
                "mean",
                halo=halo,
                stride=ESTIMATOR_STRIDE,
            ),
            Stage(f"d{i}", (f"d{i - 1}", f"update{i}"), torch.add, "vector"),
        ]

    def _restorer_stages(self, i: int) -> list[Stage]:
        """The Restorer in segments of a few blocks: all in one go would need a halo of 33."""
        step, block_halo = SEGMENT_BLOCKS[self.block], BLOCK_HALO[self.block]
        body = list(self.restorer.body)
        before = () if i == 1 else (f"x{i - 1}",)
        ends = (LR, f"d{i}", *before)
        stages: list[Stage] = []
        for first in range(0, len(body), step):
            segment = nn.Sequential(*body[first : first + step])
            opens, closes = first == 0, first + step >= len(body)
            # What closes sees the head only beside the blocks, which see further.
            halo = block_halo * len(segment) + (HEAD_HALO if opens else 0)
            output = f"x{i}" if closes else f"x{i}after{first + step}"
            inputs = (*ends, *(() if opens else (stages[-1].output,)))
            if not (opens or closes):
                stages.append(Stage(output, inputs[-1:], segment, halo=halo))
                continue
            run = partial(self._segment, segment, opens=opens, closes=closes)
            stages.append(Stage(output, inputs, run, halo=halo))
        return stages

    def _segment(
        self,
        blocks: nn.Sequential,
        lr: Tensor,
        degradation: Tensor,
        *maps: Tensor,
        opens: bool,
        closes: bool,
    ) -> Tensor:
        """The first or last blocks of the Restorer, or both, with what surrounds them.

        Args:
            blocks: Some of the Restorer's.
            lr: The picture.
            degradation: The feature d_i.
            maps: x_{i-1} (not in the first iteration), then what the blocks before these made (not
                if there are none).
            opens: Whether no blocks come before.
            closes: Whether none come after.
        """
        feature = self._body_feature(lr)
        first_iteration = len(maps) == (0 if opens else 1)
        sr = feature if first_iteration else maps[0]
        fused = self.restorer.fuse(feature, sr, degradation)
        x = blocks(fused if opens else maps[-1])
        return sr + (x + fused) if closes else x

    def estimate(self, lr: Tensor) -> Tensor:
        """The first iteration's degradation vector alone, without any Restorer.

        Used to train the Estimator first, at 3 % of the network's cost.

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].

        Returns:
            ``(N, degradation_size)`` in the normalised units of the layout.
        """
        return self.degradation_tail(self.describe(lr)).flatten(1)

    def restore(self, lr: Tensor, vector: Tensor) -> Tensor:
        """The picture when every d_i is the head of a given vector (RealDAN, Table 5).

        No Estimator runs.

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].
            vector: ``(N, degradation_size)`` or ``(1, degradation_size)``, normalised.

        Returns:
            ``(N, 3, scale*H, scale*W)``, about [0, 1] and not clamped.
        """
        lr_feature = self._feature(lr)
        degradation = self.degradation_head(vector[:, :, None, None]).expand(len(lr), -1, -1, -1)
        sr_feature = lr_feature
        for _ in range(self.iterations):
            sr_feature = sr_feature + self.restorer(lr_feature, sr_feature, degradation)
        return self.tail(sr_feature)

    def describe(self, lr: Tensor) -> Tensor:
        """The degradation feature ``(N, F, 1, 1)`` after the first iteration; see `estimate`."""
        lr_feature, degradation = self.head(lr)
        update = self.estimator(lr_feature, lr_feature, degradation)
        return degradation + update.mean((2, 3), keepdim=True)


_RENAMES: Renames = (
    (r"^init_deg$", "initial_degradation"),
    (r"^img_(head|tail)\.", r"image_\1."),
    (r"^deg_head\.", "degradation_head."),
    (r"^deg_tail\.0\.", "degradation_tail."),
    (r"^Restorer\.", "restorer."),
    (r"^Estimator\.fusion\.", "estimator.fusion."),
    # Each block is a sequence of norm, ReLU, convolution, twice, with the norms left out ...
    (r"^Estimator\.body\.(\d+)\.body\.2\.", r"estimator.body.\1.conv1."),
    (r"^Estimator\.body\.(\d+)\.body\.5\.", r"estimator.body.\1.conv2."),
    # ... and the closing convolution is numbered after the blocks.
    (r"^Estimator\.body\.\d+\.(weight|bias)$", r"estimator.tail.\1"),
)


NEEDED = ("initial_degradation", "restorer.fusion.weight", "estimator.tail.weight")
"""Keys by which a DAN is known."""


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published RealDAN or KernelDAN checkpoint to ours.

    Args:
        state: The published state dict, without wrappings or ``module.`` prefixes.

    Returns:
        A state dict that `DAN` loads strictly, with its tensors untouched.
    """
    return rename(state, _RENAMES)


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the DAN that a state dict in our names belongs to.

    The number of iterations leaves no trace in the weights: it is the published models' 3.

    Returns:
        Keyword arguments for `DAN`, or None if the state dict is not a DAN's.
    """
    if not has_all(state, NEEDED):
        return None
    features = state["restorer.fusion.weight"].shape[0]
    estimator_blocks = count(state, r"estimator\.body\.(\d+)\.")
    sizes = {len(strides): size for size, strides in ESTIMATOR_STRIDES.items()}
    if estimator_blocks not in sizes:
        return None
    return {
        "scale": upsampler_scale(state, "image_tail.1", features),
        "degradation_size": state["initial_degradation"].shape[1],
        "features": features,
        "blocks": count(state, r"restorer\.body\.(\d+)\."),
        "block": "rrdb" if "restorer.body.0.rdb1.conv1.weight" in state else "edsr",
        "estimator": sizes[estimator_blocks],
        "iterations": 3,
    }


FAMILY = Family("DAN", DAN, detect, convert_published, NEEDED, "vector")
