"""EDSR: residual blocks without normalisation, and no estimate of what was wrong.

Two networks share this file.  The published baseline (Lim et al., "Enhanced Deep Residual Networks
for Single Image Super-Resolution") works on 0-255, with ReLU and a trainable shift of colours.
DAN's twin has the body of DAN's Restorer and its way with colours, and no Estimator: the difference
between the two is what estimating is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sr_cli.networks.blocks import (
    BLOCK_HALO,
    LEAK,
    RGB_MEAN,
    SEGMENT_BLOCKS,
    UPSAMPLER_HALO,
    EDSRBlock,
    upsampler,
)
from sr_cli.networks.family import Family
from sr_cli.networks.keys import Renames, count, has_all, rename, upsampler_scale
from sr_cli.networks.stages import LR, SR, Stage, SuperResolver, segments

Style = Literal["dan", "published"]


class FixedColours(nn.Module):
    """Takes the mean colour of DIV2K off a picture in [0, 1], and puts it back."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1))

    def enter(self, lr: Tensor) -> Tensor:
        return lr - self.mean

    def leave(self, sr: Tensor) -> Tensor:
        return sr + self.mean


class LearnedColours(nn.Module):
    """The same on a scale of 255, as 1x1 convolutions that the published code trains."""

    def __init__(self) -> None:
        super().__init__()
        self.subtract = nn.Conv2d(3, 3, 1)
        self.add = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            for layer, sign in ((self.subtract, -255), (self.add, 255)):
                assert layer.bias is not None
                nn.init.dirac_(layer.weight)
                layer.bias.copy_(torch.tensor([sign * mean for mean in RGB_MEAN]))

    def enter(self, lr: Tensor) -> Tensor:
        return self.subtract(255 * lr)

    def leave(self, sr: Tensor) -> Tensor:
        return self.add(sr) / 255


class EDSR(SuperResolver):
    """Head, residual blocks, sub-pixel tail; local throughout.

    Args:
        scale: Enlargement, 2, 3, 4, ...
        features: Channels throughout.
        blocks: Residual blocks.
        residual_scale: Factor of every block's residual; 0.1 in the large published models.
        style: ``"dan"`` with DAN's activation (LeakyReLU) and fixed colours, or ``"published"``.
    """

    def __init__(
        self,
        scale: int = 4,
        features: int = 64,
        blocks: int = 16,
        residual_scale: float = 1.0,
        style: Style = "dan",
    ) -> None:
        super().__init__()
        slope = LEAK if style == "dan" else 0.0
        self.scale = scale
        self.colours = FixedColours() if style == "dan" else LearnedColours()
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(
            *(EDSRBlock(features, slope, residual_scale) for _ in range(blocks))
        )
        self.closing = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = upsampler(features, scale)
        self.last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> tuple[Tensor, None]:
        """Super-resolve, see `SuperResolver.forward`; the second value is None."""
        feature = self._feature(lr)
        return self._tail(feature, self.body(feature)), None

    def stages(self) -> tuple[Stage, ...]:
        """The body in segments of a few blocks, exact."""
        opening = Stage("x0", (LR,), self._feature, halo=1)
        body = segments("x", "x0", list(self.body), BLOCK_HALO["edsr"], SEGMENT_BLOCKS["edsr"])
        inputs = ("x0", body[-1].output)
        tail = Stage(SR, inputs, self._tail, halo=UPSAMPLER_HALO, scale=self.scale)
        return (opening, *body, tail)

    def _feature(self, lr: Tensor) -> Tensor:
        return self.head(self.colours.enter(lr))

    def _tail(self, feature: Tensor, body: Tensor) -> Tensor:
        """From what the head and the last block made to the picture."""
        return self.colours.leave(self.last(self.upsample(feature + self.closing(body))))


NEEDED = ("head.weight", "body.0.conv1.weight", "closing.weight", "last.weight")
"""Keys by which an EDSR is known."""

_RENAMES: Renames = (
    (r"^sub_mean\.", "colours.subtract."),
    (r"^add_mean\.", "colours.add."),
    (r"^head\.0\.", "head."),
    (r"^body\.(\d+)\.body\.0\.", r"body.\1.conv1."),
    (r"^body\.(\d+)\.body\.2\.", r"body.\1.conv2."),
    (r"^body\.\d+\.(weight|bias)$", r"closing.\1"),
    (r"^tail\.0\.", "upsample."),
    (r"^tail\.1\.", "last."),
)


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published EDSR checkpoint to ours."""
    return rename(state, _RENAMES)


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the EDSR that a state dict in our names belongs to.

    The factor of the residuals leaves no trace in the weights: it is taken as published, 0.1 for
    256 channels and 1 else.

    Returns:
        Keyword arguments for `EDSR`, or None if the state dict is not an EDSR's.
    """
    if not has_all(state, NEEDED):
        return None
    features = state["head.weight"].shape[0]
    return {
        "scale": upsampler_scale(state, "upsample", features),
        "features": features,
        "blocks": count(state, r"body\.(\d+)\."),
        "residual_scale": 0.1 if features == 256 else 1.0,
        "style": "published" if "colours.add.weight" in state else "dan",
    }


FAMILY = Family("EDSR", EDSR, detect, convert_published, NEEDED)
