"""How a network may be cut: the interface between networks and whatever runs them over tiles.

Most of a super-resolution network is local: a pixel of the result depends on a neighbourhood of
the input.  What is not local is mostly an average over the whole picture.  A network that says
which of its parts are which, as a chain of stages, can be run over a picture of any size, tile by
tile, with the pixels of the whole, by a program that knows nothing else of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

LR = "lr"
"""Name of the input picture among the inputs of stages."""
POSITION = "position"
"""Name of a map that comes with the picture: how far down and how far right each pixel is, see
`positions`.  For the few networks whose grid stretches over the picture."""
SR = "sr"
"""Name of the enlarged picture, which every chain ends with."""
DEGRADATION = "degradation"
"""Name of the estimated vector, if there is one."""


@dataclass(frozen=True)
class Stage:
    """One step on the way from the picture to the result."""

    output: str
    """What later stages call its result; no two stages share it."""
    inputs: tuple[str, ...]
    """``LR``, ``POSITION`` or outputs of earlier stages, in the order of the function's
    arguments."""
    run: Callable[..., Tensor]
    """From the inputs to the output.  Maps are ``(N, C, h, w)`` and all of one window of the
    picture, vectors are ``(N, C, 1, 1)``.  Pads with zeros where its input ends, so a window must
    be `halo` pixels larger than what is kept of its result, except at the picture's own edge."""
    kind: Literal["map", "mean", "vector"] = "map"
    """``map``: one value a pixel (or `scale` squared, or one a cell of `stride` pixels).  ``mean``:
    such a map, averaged over the whole picture, is a vector.  ``vector``: from vectors alone,
    once a picture."""
    halo: int = 0
    """Pixels of the input, on each side, that a pixel of the result depends on."""
    stride: int = 1
    """Of a mean's map, in pixels of the input: a window must begin at a multiple of it.  A last
    cell that is cut off by the picture's edge counts as a whole one."""
    scale: int = 1
    """Of a map, how much finer its grid is than the input's."""


class SuperResolver(nn.Module, ABC):
    """A network from a picture to a larger one, perhaps with a description of what was wrong."""

    scale: int
    """Enlargement."""
    single_precision: tuple[str, ...] = ()
    """Modules that compute in single precision even where the rest does in half."""

    @abstractmethod
    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor | None]:
        """Super-resolve.

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].

        Returns:
            The picture ``(N, 3, scale*H, scale*W)``, about [0, 1] and not clamped, and what was
            estimated, ``(N, size)``, or None for a network that estimates nothing.  What the
            numbers are is said by the network's family, see `sr_cli.networks.registry`.
        """

    def stages(self) -> tuple[Stage, ...]:
        """The network as a chain of stages that ends in `SR` and computes what `forward` does.

        Empty for a network that cannot be cut exactly, such as one that pools over the whole
        picture in every block: tiles of it have to overlap widely and be blended.
        """
        return ()


def segments(
    name: str, source: str, blocks: Sequence[nn.Module], halo: int, length: int
) -> list[Stage]:
    """Local blocks in a row, each from one map to one map, as stages of a few blocks each.

    Args:
        name: Begin of the stages' names.
        source: Name of the map that enters the first block.
        blocks: At least one.
        halo: Of one block.
        length: Blocks that make one stage: fewer need a smaller halo, and more passes over the
            picture.

    Returns:
        The stages; the last one's output is that of the last block.
    """
    stages: list[Stage] = []
    for first in range(0, len(blocks), length):
        part = blocks[first : first + length]
        before = stages[-1].output if stages else source
        run = nn.Sequential(*part)
        stages.append(Stage(f"{name}{first + len(part)}", (before,), run, halo=halo * len(part)))
    return stages


def positions(lr: Tensor) -> Tensor:
    """Where each pixel of a whole picture is: rows, then columns, from 0 to 1.

    Args:
        lr: ``(N, 3, H, W)``.

    Returns:
        ``(N, 2, H, W)``; 0 in the first row or column and 1 in the last, 0 if it is the only one.
    """
    count, _, height, width = lr.shape
    # Half precision cannot count the pixels of a large picture.
    kind = torch.promote_types(lr.dtype, torch.float32)
    rows = torch.arange(height, dtype=kind, device=lr.device) / max(height - 1, 1)
    columns = torch.arange(width, dtype=kind, device=lr.device) / max(width - 1, 1)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).to(lr.dtype)
    return grid.expand(count, -1, -1, -1)
