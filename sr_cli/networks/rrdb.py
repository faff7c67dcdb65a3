"""RRDB: the generator of ESRGAN and Real-ESRGAN, without an estimate of what was wrong.

Papers: Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks" and
"Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from sr_cli.networks.blocks import BLOCK_HALO, LEAK, RRDB, SEGMENT_BLOCKS
from sr_cli.networks.family import Family
from sr_cli.networks.keys import Renames, count, has_all, rename
from sr_cli.networks.stages import LR, SR, Stage, SuperResolver, segments

TAIL_HALO = 3
"""One convolution at the input's size, then ever finer ones: three at the finest."""


class RRDBNet(SuperResolver):
    """Residual-in-residual dense blocks, then nearest-neighbour steps of x2; local throughout.

    Args:
        scale: Enlargement, a power of two.
        features: Channels of the body.
        blocks: Residual-in-residual dense blocks.
        growth: Channels that each convolution of a dense block adds.
        unshuffle: Pixels a side that become channels before the head (Real-ESRGAN's x2 model works
            at half size, with 2).
    """

    def __init__(
        self,
        scale: int = 4,
        features: int = 64,
        blocks: int = 23,
        growth: int = 32,
        unshuffle: int = 1,
    ) -> None:
        super().__init__()
        steps = (scale * unshuffle).bit_length() - 1
        if 2**steps != scale * unshuffle:
            raise ValueError(f"scale must be a power of two, not {scale}")
        self.scale = scale
        self.unshuffle = unshuffle
        self.head = nn.Conv2d(3 * unshuffle**2, features, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        self.closing = nn.Conv2d(features, features, 3, padding=1)
        self.ups = nn.ModuleList(nn.Conv2d(features, features, 3, padding=1) for _ in range(steps))
        self.refine = nn.Conv2d(features, features, 3, padding=1)
        self.last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> tuple[Tensor, None]:
        """Super-resolve, see `SuperResolver.forward`; the second value is None."""
        height, width = lr.shape[2:]
        if self.unshuffle > 1:
            padding = (0, -width % self.unshuffle, 0, -height % self.unshuffle)
            lr = F.pixel_unshuffle(F.pad(lr, padding, mode="replicate"), self.unshuffle)
        feature = self.head(lr)
        sr = self._tail(feature, self.body(feature))
        return sr[..., : height * self.scale, : width * self.scale], None

    def stages(self) -> tuple[Stage, ...]:
        """One block a stage, exact; empty with `unshuffle`, whose features are coarser."""
        if self.unshuffle > 1:
            return ()
        opening = Stage("x0", (LR,), self.head, halo=1)
        body = segments("x", "x0", list(self.body), BLOCK_HALO["rrdb"], SEGMENT_BLOCKS["rrdb"])
        inputs = ("x0", body[-1].output)
        tail = Stage(SR, inputs, self._tail, halo=TAIL_HALO, scale=self.scale)
        return (opening, *body, tail)

    def _tail(self, feature: Tensor, body: Tensor) -> Tensor:
        """From what the head and the last block made to the picture."""
        x = feature + self.closing(body)
        for up in self.ups:
            x = F.leaky_relu(up(F.interpolate(x, scale_factor=2, mode="nearest")), LEAK)
        return self.last(F.leaky_relu(self.refine(x), LEAK))


NEEDED = ("head.weight", "body.0.rdb1.conv1.weight", "closing.weight", "last.weight")
"""Keys by which an RRDB network is known."""

_RENAMES: Renames = (
    # As in Real-ESRGAN, BasicSR and PDM ...
    (r"^conv_first\.", "head."),
    (r"^conv_body\.", "closing."),
    (r"^conv_up1\.", "ups.0."),
    (r"^conv_up2\.", "ups.1."),
    (r"^conv_hr\.", "refine."),
    (r"^conv_last\.", "last."),
    # ... as in ESRGAN's later code ...
    (r"^RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
    (r"^trunk_conv\.", "closing."),
    (r"^upconv1\.", "ups.0."),
    (r"^upconv2\.", "ups.1."),
    (r"^HRconv\.", "refine."),
    # ... and as in its first code, where the layers have numbers only.
    (r"^model\.0\.", "head."),
    (r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
    (r"^model\.1\.sub\.\d+\.(weight|bias)$", r"closing.\1"),
)


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published ESRGAN or Real-ESRGAN checkpoint, old or new, to ours."""
    return rename(state, _RENAMES + _numbered_tail(state))


def _numbered_tail(state: Mapping[str, Tensor]) -> Renames:
    """Renames of the layers behind the body in ESRGAN's first code: how many depends on scale."""
    found = {int(m[1]) for key in state if (m := re.fullmatch(r"model\.(\d+)\.weight", key))}
    layers = sorted(found - {0})
    if len(layers) < 2:
        return ()
    names = [*(f"ups.{i}" for i in range(len(layers) - 2)), "refine", "last"]
    return tuple(
        (rf"^model\.{layer}\.", f"{name}.") for layer, name in zip(layers, names, strict=True)
    )


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the network that a state dict in our names belongs to.

    Returns:
        Keyword arguments for `RRDBNet`, or None if the state dict is not an RRDB network's.
    """
    if not has_all(state, NEEDED):
        return None
    features, channels = state["head.weight"].shape[:2]
    unshuffle = math.isqrt(channels // 3)
    return {
        "scale": 2 ** count(state, r"ups\.(\d+)\.") // unshuffle,
        "features": features,
        "blocks": count(state, r"body\.(\d+)\."),
        "growth": state["body.0.rdb1.conv1.weight"].shape[0],
        "unshuffle": unshuffle,
    }


FAMILY = Family("RRDB", RRDBNet, detect, convert_published, NEEDED)
