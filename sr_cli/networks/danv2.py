"""DANv2: the Deep Alternating Network with dual-path blocks, which estimates the whole kernel.

As in DANv1 a Restorer and an Estimator take turns in picture space::

    sr_i     = R(lr, code_{i-1})
    kernel_i = E(lr, sr_i)             code_i = principal components of kernel_i

The condition has its own path through the blocks, multiplied into that of the picture, and nothing
but the Estimator's one average an iteration depends on the whole picture.

The published groups of blocks differ from the paper's Fig. 2 (b): their long shortcut adds what it
finds after the blocks have overwritten it, so a group returns twice its last block's output.  This
module does the same, so that its checkpoints load.

Paper: Luo et al., "End-to-end Alternating Optimization for Blind Super Resolution".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sr_cli.networks.blocks import LEAK, upsampler
from sr_cli.networks.danv1 import KernelAlternation, alternation_options, last_upscale
from sr_cli.networks.family import Family
from sr_cli.networks.keys import Renames, count, has_all, rename
from sr_cli.networks.stages import DEGRADATION, LR, SR, Stage

BLOCK_HALO = 2
TAIL_HALO = 3
"""Convolutions at growing resolutions: three at x2 and x3, four at x4."""
SEGMENT_BLOCKS = 5
"""Blocks of the Restorer that make one stage."""


class DualPathBlock(nn.Module):
    """Two paths of two convolutions, the condition's multiplied into the picture's (DPCB).

    Args:
        features: Channels of both paths.
        condition_kernel: Side of the condition's convolutions.
    """

    def __init__(self, features: int, condition_kernel: int) -> None:
        super().__init__()
        self.basic = _two_convolutions(features, 3)
        self.condition = _two_convolutions(features, condition_kernel)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Both paths, ``(N, F, H, W)`` each, to the next block's."""
        factor = self.condition(condition)
        return x + self.basic(x) * factor, condition + factor


def _two_convolutions(features: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(features, features, kernel, padding=kernel // 2),
        nn.LeakyReLU(LEAK),
        nn.Conv2d(features, features, kernel, padding=kernel // 2),
    )


class Restorer(nn.Module):
    """From the input and the kernel's code to the enlarged picture."""

    def __init__(
        self, scale: int, features: int, groups: int, group_blocks: int, code_size: int
    ) -> None:
        super().__init__()
        self.group_blocks = group_blocks
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.code_head = nn.Conv2d(code_size, features, 1)
        self.groups = nn.ModuleList(
            nn.ModuleList(DualPathBlock(features, 1) for _ in range(group_blocks))
            for _ in range(groups)
        )
        self.closing = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = upsampler(features, scale)
        self.last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, lr: Tensor, code: Tensor) -> Tensor:
        """``(N, 3, H, W)`` and ``(N, code_size, 1, 1)`` to ``(N, 3, scale*H, scale*W)``."""
        x = self.run(range(len(self.blocks)), self.head(lr), self.factors(code))
        return self.tail(x)

    @property
    def blocks(self) -> list[DualPathBlock]:
        """Those of all groups in a row."""
        return [block for group in self.groups for block in group]  # type: ignore[attr-defined]

    def factors(self, code: Tensor) -> Tensor:
        """What each block multiplies its residual with: ``(N, blocks * F, 1, 1)``.

        The condition's path never looks at the picture, so it is run once, ahead of it.
        """
        condition = self.code_head(code)
        factors: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            factors.append(block.condition(condition))
            condition = self._leave(number, condition + factors[-1])
        return torch.cat(factors, 1)

    def run(self, numbers: Sequence[int], x: Tensor, factors: Tensor) -> Tensor:
        """The picture's path through the blocks of these numbers, ``(N, F, H, W)``."""
        blocks = self.blocks
        factor = factors.chunk(len(blocks), 1)
        for number in numbers:
            x = self._leave(number, x + blocks[number].basic(x) * factor[number])
        return x

    def tail(self, x: Tensor) -> Tensor:
        """From what the last block made to the picture."""
        return self.last(self.upsample(self.closing(x)))

    def _leave(self, number: int, x: Tensor) -> Tensor:
        """What a block's output becomes: twice itself at the end of a group."""
        return 2 * x if (number + 1) % self.group_blocks == 0 else x


class Estimator(nn.Module):
    """From the input and its enlargement to the blur kernel."""

    def __init__(self, scale: int, features: int, blocks: int, kernel_size: int) -> None:
        super().__init__()
        self.lr_head = nn.Conv2d(3, features, 5, padding=2)
        self.sr_head = nn.Conv2d(3, features, 4 * scale + 1, stride=scale, padding=2 * scale)
        self.body = nn.ModuleList(DualPathBlock(features, 3) for _ in range(blocks))
        self.closing = nn.Conv2d(features, 2 * features, 3, padding=1)
        self.tail = nn.Conv2d(2 * features, kernel_size**2, 1)
        self.halo = 2 + BLOCK_HALO * blocks + 1
        """Pixels of the input that a pixel of `cells` depends on."""

    def forward(self, lr: Tensor, sr: Tensor) -> Tensor:
        """``(N, 3, H, W)`` and ``(N, 3, scale*H, scale*W)`` to ``(N, kernel_size**2, 1, 1)``."""
        return self.kernel(self.cells(lr, sr).mean((2, 3), keepdim=True))

    def cells(self, lr: Tensor, sr: Tensor) -> Tensor:
        """The map ``(N, 2F, H, W)`` whose average over the picture becomes the kernel."""
        x, condition = self.lr_head(lr), self.sr_head(sr)
        for block in self.body:
            x, condition = block(x, condition)
        return self.closing(2 * x)

    def kernel(self, mean: Tensor) -> Tensor:
        """Non-negative numbers of sum one, ``(N, kernel_size**2, 1, 1)``, row by row."""
        return self.tail(mean).softmax(1)


class DANv2(KernelAlternation):
    """The unrolled alternation of Restorer and Estimator.

    Args:
        scale: Enlargement, 2, 3 or 4.
        features: Channels of the Restorer; the Estimator has half of them.
        groups: Groups of blocks in the Restorer.
        group_blocks: Dual-path blocks of each.
        estimator_blocks: Dual-path blocks of the Estimator, one group.
        code_size: Principal components of a kernel.
        kernel_size: Side of the kernel that is estimated.
        iterations: Times the two take turns; not in the weights.
    """

    def __init__(
        self,
        scale: int = 4,
        features: int = 64,
        groups: int = 5,
        group_blocks: int = 10,
        estimator_blocks: int = 5,
        code_size: int = 10,
        kernel_size: int = 21,
        iterations: int = 4,
    ) -> None:
        super().__init__(scale, code_size, kernel_size, iterations)
        self.restorer = Restorer(scale, features, groups, group_blocks, code_size)
        self.estimator = Estimator(scale, features // 2, estimator_blocks, kernel_size)

    def iterate(self, lr: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Picture and kernel of every iteration, see `KernelAlternation.iterate`."""
        code = self.initial_code.expand(lr.shape[0], -1)[..., None, None]
        for _ in range(self.iterations):
            sr = self.restorer(lr, code.detach())
            kernel = self.estimator(lr, sr.detach())
            code = self._code(kernel)
            yield sr, kernel.flatten(1)

    def stages(self) -> tuple[Stage, ...]:
        """The alternation, exact: only the Estimator's average needs the whole picture.

        The Estimator's stage enlarges its part of the picture again, so that no enlarged map has
        to be kept.
        """
        stages = [Stage("code0", (), lambda: self.initial_code[..., None, None], "vector")]
        halo = TAIL_HALO + self.estimator.halo
        for i in range(1, self.iterations + 1):
            kernel = DEGRADATION if i == self.iterations else f"kernel{i}"
            stages += self._body_stages(i)
            restored = stages[-1].output
            stages += [
                Stage(f"cells{i}", (LR, restored), self._cells, "mean", halo=halo),
                Stage(kernel, (f"cells{i}",), self.estimator.kernel, "vector"),
                Stage(f"code{i}", (kernel,), self._code, "vector"),
            ]
        # The last code has no reader.
        stages[-1] = Stage(SR, (restored,), self.restorer.tail, halo=TAIL_HALO, scale=self.scale)
        return tuple(stages)

    def _body_stages(self, i: int) -> list[Stage]:
        """Head and blocks of the Restorer, in segments of a few blocks."""
        factors = Stage(f"factors{i}", (f"code{i - 1}",), self.restorer.factors, "vector")
        stages = [factors]
        every = range(len(self.restorer.blocks))
        for first in every[::SEGMENT_BLOCKS]:
            numbers = every[first : first + SEGMENT_BLOCKS]
            run = partial(self._segment, numbers)
            inputs = (LR if first == 0 else stages[-1].output, factors.output)
            halo = BLOCK_HALO * len(numbers) + (1 if first == 0 else 0)
            stages.append(Stage(f"x{i}after{numbers.stop}", inputs, run, halo=halo))
        return stages

    def _segment(self, numbers: range, x: Tensor, factors: Tensor) -> Tensor:
        """Some blocks of the Restorer; the first of them begin at the picture."""
        return self.restorer.run(
            numbers, self.restorer.head(x) if numbers.start == 0 else x, factors
        )

    def _cells(self, lr: Tensor, restored: Tensor) -> Tensor:
        return self.estimator.cells(lr, self.restorer.tail(restored))

    def _code(self, kernel: Tensor) -> Tensor:
        """``(N, kernel_size**2, 1, 1)`` to ``(N, code_size, 1, 1)``."""
        return self.encode(kernel.flatten(1))[..., None, None]


NEEDED = ("encoder", "initial_kernel", "restorer.groups.0.0.basic.0.weight")
"""Keys by which a DANv2 is known."""

_RENAMES: Renames = (
    (r"^init_kernel$", "initial_kernel"),
    (r"^init_ker_map$", "initial_code"),
    (r"^Restorer\.head1\.", "restorer.head."),
    (r"^Restorer\.head2\.", "restorer.code_head."),
    (r"^Restorer\.fusion\.", "restorer.closing."),
    (r"^Restorer\.body\.(\d+)\.body\.(\d+)\.body1\.", r"restorer.groups.\1.\2.basic."),
    (r"^Restorer\.body\.(\d+)\.body\.(\d+)\.body2\.", r"restorer.groups.\1.\2.condition."),
    (r"^Estimator\.head_LR\.0\.", "estimator.lr_head."),
    (r"^Estimator\.head_HR\.0\.", "estimator.sr_head."),
    (r"^Estimator\.body\.body\.(\d+)\.body1\.", r"estimator.body.\1.basic."),
    (r"^Estimator\.body\.body\.(\d+)\.body2\.", r"estimator.body.\1.condition."),
    (r"^Estimator\.tail\.0\.", "estimator.closing."),
    (r"^Estimator\.tail\.2\.", "estimator.tail."),
)


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published DANv2 checkpoint to ours."""
    return rename(state, last_upscale(state) + _RENAMES)


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the DANv2 that a state dict in our names belongs to.

    Returns:
        Keyword arguments for `DANv2`, or None if the state dict is not a DANv2's.
    """
    if not has_all(state, NEEDED):
        return None
    return alternation_options(state) | {
        "groups": count(state, r"restorer\.groups\.(\d+)\."),
        "group_blocks": count(state, r"restorer\.groups\.0\.(\d+)\."),
    }


FAMILY = Family("DANv2", DANv2, detect, convert_published, NEEDED, "kernel")
