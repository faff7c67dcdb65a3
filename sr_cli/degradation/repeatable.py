"""The two-stage degradation with the same 8-bit pictures on every machine.

Float64 alone does not give that.  Products of matrices and Fourier transforms differ in their last
bit from one processor to the next, and JPEG is full of exact ties: the sum of an 8x8 block of whole
numbers falls on a half of a quantisation step in one block of a hundred.  A tie that tips the other
way moves 64 pixels, and one that comes before Poisson noise changes every draw behind it.  So the
last bits are cut off before anything is rounded or drawn, and ties are ties everywhere.
"""

from __future__ import annotations

import zlib
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from sr_cli.degradation.blur_only import Blur
from sr_cli.degradation.jpeg import jpeg
from sr_cli.degradation.two_stage import Stage, TwoStage, TwoStageModel

_Drawn = TypeVar("_Drawn", Blur, Stage, TwoStage)

_GRID = 2.0**24
"""Steps in one level of 255: far above the errors of float64, far below what can be seen."""
_LAST_BITS = 1e-6
"""Of a vector's numbers in float32, which go up to 2: some steps of rounding, to units and back."""


def cut(levels: Tensor) -> Tensor:
    """Numbers on the scale of 8-bit levels, in float64, without their last bits."""
    return (levels * _GRID).round() / _GRID


def to_levels(picture: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to 8 bits, the same on every machine; float32."""
    levels = cut(picture.double().clamp(0, 1) * 255).round()
    return (levels.abs() / 255).float()  # -0 is black as 0 is, and other bytes


def doubled(parameters: _Drawn) -> _Drawn:
    """The same numbers in float64, in which every machine makes the same kernels of them."""
    values = {f.name: getattr(parameters, f.name) for f in fields(parameters)}
    changed: dict[str, Any] = {
        name: value.double()
        for name, value in values.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    return replace(parameters, **changed)


def seed_for(name: str, seed: int) -> int:
    """A seed for one picture of a set, whatever else lies in the same folder."""
    return zlib.crc32(f"{seed}/{name}".encode())


class RepeatableTwoStage(TwoStageModel):
    """`TwoStageModel` for one picture in float64; its pictures differ from that model's in ties."""

    def degrade(self, hr: Tensor, seed: int, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Degrade one picture on the CPU.

        The vector that a seed has drawn makes, with that seed, the same picture again.

        Args:
            hr: ``(3, H, W)`` RGB in [0, 1], sides divisible by the scale and at least
                `sr_cli.degradation.two_stage.SMALLEST_SIDE`.
            seed: For the parameters, unless given, and the noise.
            vector: ``(D,)``, parameters to apply instead of those that are drawn.

        Returns:
            The picture ``(3, H/scale, W/scale)`` float32 on 8-bit levels, and its vector ``(D,)``:
            the given one, unless its numbers are not such as are drawn, as an estimate's.
        """
        generator = torch.Generator().manual_seed(seed)
        # Drawn in any case, so that the noise is the same whether or not parameters are given.
        drawn = self.sample(1, generator)
        # A vector has lost the last bits of what it was made of, and they decide ties: its own
        # parameters are better than what it says of them.
        if vector is not None and not torch.equal(vector, drawn.vector()[0]):
            drawn = self.decode(vector)
        stages = replace(drawn, stage1=doubled(drawn.stage1), stage2=doubled(drawn.stage2))
        lr = self.apply(hr.double().unsqueeze(0), doubled(stages), generator)
        told = drawn.vector()[0]
        # One that says the same but for its last bits would not make this very picture again.
        if vector is not None and torch.allclose(vector, told, rtol=0, atol=_LAST_BITS):
            told = vector
        return to_levels(lr[0]), told

    def _add_noise(self, x: Tensor, stage: Stage, generator: torch.Generator | None) -> Tensor:
        return super()._add_noise(cut(x * 255) / 255, stage, generator)

    def _compress(self, x: Tensor, stage: Stage) -> Tensor:
        if bool(stage.is_jpeg):
            physical = self.preset == "physical"
            x = jpeg(x, stage.jpeg_quality, physical=physical, settle=cut)
        return cut(x * 255) / 255
