"""Evaluation protocols: from a high-resolution picture and a seed to what a model has to restore.

A protocol is a name, what it does to a picture, and the border that its figures leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sr_cli.degradation.replay import degrade_picture, seed_for
from sr_cli.degradation.two_stage import Preset, TwoStageModel


@dataclass(frozen=True)
class Case:
    """One picture to restore."""

    name: str
    lr: Tensor
    """``(3, h, w)`` in [0, 1], on 8-bit levels."""
    hr: Tensor
    """``(3, H, W)``."""
    vector: Tensor | None
    """The true degradation vector, if the protocol has one."""


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is made and scored."""

    name: str
    description: str
    scale: int
    border: int
    make: Callable[[str, Tensor, int], Case]
    """Takes the picture's name, ``(3, H, W)`` in [0, 1] and a seed."""


def _real(preset: Preset) -> Callable[[str, Tensor, int], Case]:
    model = TwoStageModel(4, preset)

    def make(name: str, hr: Tensor, seed: int) -> Case:
        height, width = (side // model.scale * model.scale for side in hr.shape[-2:])
        hr = hr[:, :height, :width]
        lr, vector = degrade_picture(model, hr, seed_for(name, seed))
        return Case(name, lr, hr, vector)

    return make


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            "real",
            "two-stage degradation (blur, resize, noise, JPEG, twice), physical preset, x4",
            4,
            4,
            _real("physical"),
        ),
        Protocol(
            "real-published",
            "the same with the published code's arithmetic",
            4,
            4,
            _real("published"),
        ),
    )
}
"""All protocols by name."""
