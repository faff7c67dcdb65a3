"""The two-stage degradation with the same 8-bit pictures on every machine.

Float64 alone does not give that.  Products of matrices and Fourier transforms differ in their last
bit from one processor to the next, and JPEG is full of exact ties: the sum of an 8x8 block of whole
numbers falls on a half of a quantisation step in one block of a hundred.  A tie that tips the other
way moves 64 pixels, and one that comes before Poisson noise changes every draw behind it.  So the
last bits are cut off before anything is rounded or drawn, and ties are ties everywhere.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_cli.degradation import jpeg as codec
from sr_cli.degradation.blur_only import Blur
from sr_cli.degradation.two_stage import Stage, TwoStage, TwoStageModel

_Drawn = TypeVar("_Drawn", Blur, Stage, TwoStage)

_GRID = 2.0**24
"""Steps in one level of 255: far above the errors of float64, far below what can be seen."""


def cut(levels: Tensor) -> Tensor:
    """Numbers on the scale of 8-bit levels, in float64, without their last bits."""
    return (levels * _GRID).round() / _GRID


def to_levels(picture: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to 8 bits, the same on every machine; float32."""
    return (cut(picture.double().clamp(0, 1) * 255).round() / 255).float()


def doubled(parameters: _Drawn) -> _Drawn:
    """The same numbers in float64, in which every machine makes the same kernels of them."""
    values = {f.name: getattr(parameters, f.name) for f in fields(parameters)}
    changed: dict[str, Any] = {
        name: value.double()
        for name, value in values.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    return replace(parameters, **changed)


class RepeatableTwoStage(TwoStageModel):
    """`TwoStageModel` for one picture in float64; its pictures differ from that model's in ties."""

    def degrade(self, hr: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """As `sr_cli.degradation.replay.degrade_picture`, with the same draws."""
        generator = torch.Generator().manual_seed(seed)
        drawn = self.sample(1, generator)
        stages = replace(drawn, stage1=doubled(drawn.stage1), stage2=doubled(drawn.stage2))
        lr = self.apply(hr.double().unsqueeze(0), doubled(stages), generator)
        return to_levels(lr[0]), drawn.vector()[0]

    def _add_noise(self, x: Tensor, stage: Stage, generator: torch.Generator | None) -> Tensor:
        return super()._add_noise(cut(x * 255) / 255, stage, generator)

    def _compress(self, x: Tensor, stage: Stage) -> Tensor:
        if bool(stage.is_jpeg):
            x = _jpeg(x, stage.jpeg_quality, physical=self.preset == "physical")
        return cut(x * 255) / 255


def _jpeg(picture: Tensor, quality: Tensor, *, physical: bool) -> Tensor:
    """`sr_cli.degradation.jpeg.jpeg`, step by step, with ties that are ties."""
    height, width = picture.shape[-2:]
    mode = "replicate" if physical else "constant"
    padded = F.pad(picture.clamp(0, 1), (0, -width % 16, 0, -height % 16), mode=mode)
    ycc = torch.einsum("kc,nchw->nkhw", padded.new_tensor(codec._TO_YCC), padded * 255)
    if physical:
        ycc = cut(ycc).round()
    luma, chroma = ycc[:, :1] - 128, F.avg_pool2d(ycc[:, 1:], 2)
    chroma = chroma.round() if physical else chroma
    table_luma, table_chroma = codec._tables(quality.to(picture), physical)
    luma = _code(luma, table_luma, physical)
    chroma = codec._upsample_chroma(_code(chroma, table_chroma, physical), physical)
    levels = codec._to_rgb(luma, chroma)[..., :height, :width].clamp(0, 255)
    return cut(levels).round() / 255 if physical else levels / 255


def _code(plane: Tensor, table: Tensor, physical: bool) -> Tensor:
    n, c, height, width = plane.shape
    dct = codec._block_dct(plane)
    blocks = plane.view(n, c, height // 8, 8, width // 8, 8).transpose(3, 4).reshape(n, -1, 64)
    step = table.reshape(n, 1, 64)
    pixels = cut(cut(blocks @ dct.T / step).round() * step @ dct)
    if physical:
        pixels = pixels.round().clamp(-128, 127)
    shape = (n, c, height // 8, width // 8, 8, 8)
    return pixels.view(shape).transpose(3, 4).reshape(n, c, height, width)
