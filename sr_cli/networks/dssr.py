"""DSSR: detail-structure alternation, a recurrent network that estimates no kernel.

At each of T steps a feature of the picture's structure is made, the detail that is missing from the
bicubic enlargement is predicted from it at full size, and the structure is modulated by that
detail, first at full size and then at the input's.  The result is the mean of the pictures of all
steps.

The published network differs from the paper: what is fused at one step is fused again at the next
(Eq. 5 takes the first feature each time), the structure is brought down by a strided convolution
(bicubically in Eq. 12), the structure is added at the end of a step (the input feature in Eq. 13),
and the grid on which details are brought down stretches over the picture, corner to corner, so that
it is the pixel's position which says where between two pixels it looks.

Paper: Li et al., "Learning Detail-Structure Alternative Optimization for Blind Super-Resolution".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_cli.networks.blocks import LEAK, EDSRBlock, upsampler
from sr_cli.networks.family import Family
from sr_cli.networks.keys import Renames, count, has_all, rename, upsampler_scale
from sr_cli.networks.stages import LR, POSITION, SR, Stage, SuperResolver, positions, segments

RESIDUAL_SCALE = 0.2
RESAMPLERS: dict[int, tuple[int, int, int]] = {2: (4, 2, 1), 3: (5, 3, 1), 4: (4, 4, 0)}
"""Kernel, stride and padding of the convolutions between the two sizes, by enlargement."""
CUBIC = -0.75
"""Parameter of the cubic kernel that torch and OpenCV use."""
BLOCK_HALO = 2
SEGMENT_BLOCKS = 5
"""Blocks that make one stage."""
MODULATION_HALO = {2: 7, 3: 6, 4: 6}
"""Six convolutions at full size and what is between the sizes, then four at the input's; by
enlargement."""
TAIL_HALO = 2
"""Of the bicubic enlargement; the last convolution, at full size, reaches no further."""


class ResidualGroup(nn.Module):
    """Residual blocks, whose input is added again behind them; ``(N, F, H, W)``."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(EDSRBlock(features, residual_scale=RESIDUAL_SCALE) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.blocks(x)


class Modulation(nn.Module):
    """A factor and a term for each value, from a feature of the detail (Eq. 11 and 12)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.extract = nn.Sequential()
        for _ in range(4):
            self.extract.append(nn.Conv2d(features, features, 3, padding=1))
            self.extract.append(nn.LeakyReLU(LEAK))
        self.factor = nn.Conv2d(features, features, 1)
        self.term = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor, detail: Tensor) -> Tensor:
        """Both ``(N, F, H, W)``."""
        extracted = self.extract(detail)
        return torch.sigmoid(self.factor(extracted)) * x + self.term(extracted)


class DSSR(SuperResolver):
    """The recurrent network.

    Args:
        scale: Enlargement, 2, 3 or 4.
        features: Channels throughout.
        blocks: Residual blocks that make the structure.
        refine_blocks: Residual blocks that make the picture.
        iterations: Steps (T of the paper); not in the weights.
    """

    def __init__(
        self,
        scale: int = 4,
        features: int = 128,
        blocks: int = 15,
        refine_blocks: int = 5,
        iterations: int = 4,
    ) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {iterations}")
        if scale not in RESAMPLERS:
            raise ValueError(f"scale must be 2, 3 or 4, not {scale}")
        resampler = RESAMPLERS[scale]
        self.scale = scale
        self.iterations = iterations
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.fuse = nn.Conv2d(2 * features, features, 1)
        self.structure = ResidualGroup(features, blocks)
        self.up = nn.ConvTranspose2d(features, features, *resampler)
        self.detail_tail = nn.Conv2d(features, 3, 3, padding=1)
        self.detail_head = nn.Conv2d(3, features, 3, padding=1)
        self.hr_modulation = Modulation(features)
        self.down = nn.Conv2d(features, features, *resampler)
        self.lr_modulation = Modulation(features)
        self.refine = ResidualGroup(features, refine_blocks)
        self.upsample = upsampler(features, scale)
        self.last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> tuple[Tensor, None]:
        """Super-resolve, see `SuperResolver.forward`; the second value is None.

        What follows the refined features is linear, so their mean gives the mean of the pictures.
        """
        total: Tensor | None = None
        for _, refined in self._steps(lr):
            total = refined if total is None else total + refined
        assert total is not None
        return self._tail(lr, total / self.iterations), None

    def iterate(self, lr: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Detail and picture of every step, each of which is supervised (Eq. 14).

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].

        Yields:
            What is missing from the bicubic enlargement, and the picture, both
            ``(N, 3, scale*H, scale*W)``.
        """
        for detail, refined in self._steps(lr):
            yield detail, self._tail(lr, refined)

    def enlarge(self, lr: Tensor) -> Tensor:
        """The bicubic enlargement, to which details and pictures are added."""
        size = [self.scale * side for side in lr.shape[2:]]
        return F.interpolate(lr, size=size, mode="bicubic", align_corners=False)

    def _steps(self, lr: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Detail and refined feature of every step."""
        position = positions(lr)
        fused = hidden = self.head(lr)
        for _ in range(self.iterations):
            fused = self.fuse(torch.cat((fused, hidden), 1))
            structure = self.structure(fused)
            enlarged = self.up(structure)
            detail = self._detail(lr, enlarged)
            hidden = self._modulate(position, structure, enlarged, detail)
            yield detail, self.refine(hidden)

    def _detail(self, lr: Tensor, enlarged: Tensor) -> Tensor:
        """Eq. 8."""
        return self.detail_tail(enlarged) - self.enlarge(lr)

    def _modulate(
        self, position: Tensor, structure: Tensor, enlarged: Tensor, detail: Tensor
    ) -> Tensor:
        """The structure modulation unit, Eq. 10 to 13: the structure at the input's size."""
        feature = self.detail_head(detail)
        enlarged = enlarged + self.hr_modulation(enlarged, feature)
        feature = shrink_corner_to_corner(feature, position, self.scale)
        return structure + self.lr_modulation(self.down(enlarged), feature)

    def _tail(self, lr: Tensor, refined: Tensor) -> Tensor:
        """Eq. 6: the picture."""
        return self.last(self.upsample(refined)) + self.enlarge(lr)

    def stages(self) -> tuple[Stage, ...]:
        """All steps, exact: the network is local once it is told each pixel's position."""
        stages: list[Stage] = []
        before: tuple[str, ...] = (LR,)
        total: tuple[str, ...] = ()
        for t in range(1, self.iterations + 1):
            fuse = self._fuse_first if t == 1 else self._fuse_again
            stages.append(Stage(f"fused{t}", before, fuse, halo=1 if t == 1 else 0))
            stages += self._body(f"structure{t}after", f"fused{t}", self.structure)
            stages.append(
                Stage(
                    f"hidden{t}",
                    (LR, POSITION, f"fused{t}", stages[-1].output),
                    self._modulate_stage,
                    halo=MODULATION_HALO[self.scale],
                )
            )
            stages += self._body(f"refined{t}after", f"hidden{t}", self.refine)
            inputs = (f"hidden{t}", stages[-1].output, *total)
            stages.append(Stage(f"total{t}", inputs, _sum))
            before, total = (f"fused{t}", f"hidden{t}"), (f"total{t}",)
        stages.append(
            Stage(
                SR,
                (LR, *total),
                lambda lr, total: self._tail(lr, total / self.iterations),
                halo=TAIL_HALO,
                scale=self.scale,
            )
        )
        return tuple(stages)

    def _body(self, name: str, source: str, group: ResidualGroup) -> list[Stage]:
        return segments(name, source, list(group.blocks), BLOCK_HALO, SEGMENT_BLOCKS)

    def _fuse_first(self, lr: Tensor) -> Tensor:
        feature = self.head(lr)
        return self._fuse_again(feature, feature)

    def _fuse_again(self, fused: Tensor, hidden: Tensor) -> Tensor:
        return self.fuse(torch.cat((fused, hidden), 1))

    def _modulate_stage(self, lr: Tensor, position: Tensor, fused: Tensor, body: Tensor) -> Tensor:
        structure = fused + body
        enlarged = self.up(structure)
        return self._modulate(position, structure, enlarged, self._detail(lr, enlarged))


def _sum(*maps: Tensor) -> Tensor:
    return reduce(torch.add, maps)


def shrink_corner_to_corner(x: Tensor, position: Tensor, scale: int) -> Tensor:
    """Bicubic samples of a map, as `torch.nn.functional.interpolate` with ``align_corners``.

    Pixel i of n looks at ``i * (scale*n - 1) / (n - 1)``, which is `scale` times i plus a shift
    that grows over the picture from 0 to ``scale - 1``; so a window of a picture can be sampled
    with the positions of its pixels in the whole.

    Args:
        x: ``(N, C, scale*h, scale*w)``, a window.
        position: ``(N, 2, h, w)`` of its pixels, see `sr_cli.networks.stages.positions`.
        scale: How much smaller the result is.

    Returns:
        ``(N, C, h, w)``.
    """
    shift = (scale - 1) * position
    x = _shrink_rows(x, shift[:, :1, :, :1], scale)
    return _shrink_rows(x.mT, shift[:, 1:, :1].mT, scale).mT


def _shrink_rows(x: Tensor, shift: Tensor, scale: int) -> Tensor:
    """``(N, C, scale*h, w)`` at shifts ``(N, 1, h, 1)`` from each `scale`-th row to h rows."""
    rows = x.shape[2]
    padded = F.pad(x, (0, 0, 1, 2), mode="replicate")
    taps = range(-1, scale + 2)
    samples = (_cubic(tap - shift) * padded[:, :, tap + 1 : tap + 1 + rows : scale] for tap in taps)
    return reduce(torch.add, samples)


def _cubic(distance: Tensor) -> Tensor:
    """The cubic convolution kernel (Keys, 1981)."""
    d = distance.abs()
    near = ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1
    far = CUBIC * (((d - 5) * d + 8) * d - 4)
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


NEEDED = ("fuse.weight", "structure.blocks.0.conv1.weight", "hr_modulation.factor.weight")
"""Keys by which a DSSR is known."""

_RENAMES: Renames = (
    (r"^conv1\.", "head."),
    (r"^conv2\.", "detail_head."),
    (r"^conv_recon\.", "detail_tail."),
    (r"^compress_in\.", "fuse."),
    (r"^feat_ext\.crb\.crb\.", "structure.blocks."),
    (r"^feat_refine\.crb\.crb\.", "refine.blocks."),
    (r"^spatial_trans1\.conv_gama\.", "hr_modulation.factor."),
    (r"^spatial_trans2\.conv_gama\.", "lr_modulation.factor."),
    (r"^spatial_trans1\.conv_beta\.", "hr_modulation.term."),
    (r"^spatial_trans2\.conv_beta\.", "lr_modulation.term."),
)


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published DSSR checkpoint to ours."""
    last = 2 * (count(state, r"UPNet\.(\d+)\.") - 1)
    tail = ((rf"^UPNet\.{last}\.", "last."), (r"^UPNet\.", "upsample."))
    modulations = tuple(
        (rf"^spatial_trans{number}\.conv{i + 1}\.", f"{ours}.extract.{2 * i}.")
        for number, ours in ((1, "hr_modulation"), (2, "lr_modulation"))
        for i in range(4)
    )
    return rename(state, _RENAMES + modulations + tail)


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the DSSR that a state dict in our names belongs to.

    The number of steps leaves no trace in the weights: it is the published models' 4.

    Returns:
        Keyword arguments for `DSSR`, or None if the state dict is not a DSSR's.
    """
    if not has_all(state, NEEDED):
        return None
    features = state["fuse.weight"].shape[0]
    return {
        "scale": upsampler_scale(state, "upsample", features),
        "features": features,
        "blocks": count(state, r"structure\.blocks\.(\d+)\."),
        "refine_blocks": count(state, r"refine\.blocks\.(\d+)\."),
        "iterations": 4,
    }


FAMILY = Family("DSSR", DSSR, detect, convert_published, NEEDED)
