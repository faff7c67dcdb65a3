"""DANv1: the first Deep Alternating Network (called DAN-Pre by the later papers), for blur alone.

A Restorer and an Estimator take turns, in picture space: the picture is restored for the blur
kernel guessed so far, then the kernel is estimated anew from both pictures::

    sr_i   = R(lr, code_{i-1})
    code_i = E(lr, sr_i)           code_0 is that of a kernel which does not blur

The code is the kernel's projection on a few principal components.  Channel attention averages over
the whole picture in every block, so tiles of a picture cannot be processed alone.

Paper: Luo et al., "Unfolding the Alternating Optimization for Blind Super Resolution".
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sr_cli.networks.blocks import LEAK, ChannelAttention, upsampler
from sr_cli.networks.family import Family
from sr_cli.networks.keys import Renames, count, has_all, rename, upsampler_scale
from sr_cli.networks.stages import SuperResolver


class ConditionalBlock(nn.Module):
    """Residual block whose residual also sees the condition (the paper's CRB)."""

    def __init__(self, features: int, condition: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features + condition, features + condition, 3, padding=1)
        self.conv2 = nn.Conv2d(features + condition, features, 3, padding=1)
        self.attention = ChannelAttention(features, slope=LEAK)
        self.act = nn.LeakyReLU(LEAK)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``(N, F, H, W)`` and ``(N, C, H, W)`` to ``(N, F, H, W)``."""
        hidden = self.act(self.conv1(torch.cat((x, condition), 1)))
        return x + self.attention(self.conv2(hidden))


class Restorer(nn.Module):
    """From the input and the kernel's code to the enlarged picture."""

    def __init__(self, scale: int, features: int, blocks: int, code_size: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.ModuleList(ConditionalBlock(features, code_size) for _ in range(blocks))
        self.closing = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = upsampler(features, scale)
        self.last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, lr: Tensor, code: Tensor) -> Tensor:
        """``(N, 3, H, W)`` and ``(N, code_size)`` to ``(N, 3, scale*H, scale*W)``."""
        condition = code[..., None, None].expand(-1, -1, *lr.shape[2:])
        x = self.head(lr)
        for block in self.body:
            x = block(x, condition)
        return self.last(self.upsample(self.closing(x)))


class Estimator(nn.Module):
    """From the input and its enlargement to the kernel's code."""

    def __init__(self, scale: int, features: int, blocks: int, code_size: int) -> None:
        super().__init__()
        self.lr_head = nn.Conv2d(3, features, 1)
        self.sr_head = nn.Conv2d(3, features, 9, stride=scale, padding=4)
        self.body = nn.ModuleList(ConditionalBlock(features, features) for _ in range(blocks))
        self.tail = nn.Conv2d(features, code_size, 3, padding=1)

    def forward(self, lr: Tensor, sr: Tensor) -> Tensor:
        """``(N, 3, H, W)`` and ``(N, 3, scale*H, scale*W)`` to ``(N, code_size)``."""
        x, condition = self.lr_head(lr), self.sr_head(sr)
        for block in self.body:
            x = block(x, condition)
        return self.tail(x).mean((2, 3))


class KernelAlternation(SuperResolver):
    """What DANv1 and DANv2 share: a guessed kernel, its code, and taking turns.

    Args:
        scale: Enlargement.
        code_size: Principal components of a kernel.
        kernel_size: Side of the kernels that the components are of.
        iterations: Times the two modules take turns.
    """

    def __init__(self, scale: int, code_size: int, kernel_size: int, iterations: int) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {iterations}")
        pulse = torch.zeros(1, kernel_size, kernel_size)
        pulse[0, kernel_size // 2, kernel_size // 2] = 1
        self.scale = scale
        self.iterations = iterations
        self.encoder: Tensor
        self.initial_kernel: Tensor
        self.initial_code: Tensor
        self.register_buffer("encoder", torch.zeros(1, kernel_size**2, code_size))
        self.register_buffer("initial_kernel", pulse)
        self.register_buffer("initial_code", torch.zeros(1, code_size))

    def set_encoder(self, encoder: Tensor) -> None:
        """Set the principal components, which are zero until then or until weights are loaded.

        Args:
            encoder: ``(kernel_size**2, code_size)``.
        """
        self.encoder.copy_(encoder[None])
        self.initial_code.copy_(self.encode(self.initial_kernel.flatten(1)))

    def encode(self, kernel: Tensor) -> Tensor:
        """Kernels ``(N, kernel_size**2)`` to codes ``(N, code_size)``; nothing is subtracted."""
        return kernel @ self.encoder[0]

    @abstractmethod
    def iterate(self, lr: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """What `forward` returns, of every iteration.

        What crosses over between the modules is detached, so each learns from its own loss only.
        """

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Super-resolve and describe.

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].

        Returns:
            The last iteration's picture ``(N, 3, scale*H, scale*W)``, about [0, 1] and not clamped,
            and its estimate of the blur: the code ``(N, code_size)`` (DANv1) or the kernel
            ``(N, kernel_size**2)``, row by row and of sum one (DANv2).
        """
        *_, last = self.iterate(lr)
        return last


class DANv1(KernelAlternation):
    """The unrolled alternation of Restorer and Estimator.

    Args:
        scale: Enlargement, 2, 3 or 4.
        features: Channels of the Restorer; the Estimator has half of them.
        blocks: Conditional blocks of the Restorer.
        estimator_blocks: Conditional blocks of the Estimator.
        code_size: Principal components of a kernel.
        kernel_size: Side of the kernels that the components are of.
        iterations: Times the two take turns; not in the weights.
    """

    def __init__(
        self,
        scale: int = 4,
        features: int = 64,
        blocks: int = 40,
        estimator_blocks: int = 5,
        code_size: int = 10,
        kernel_size: int = 21,
        iterations: int = 4,
    ) -> None:
        super().__init__(scale, code_size, kernel_size, iterations)
        self.restorer = Restorer(scale, features, blocks, code_size)
        self.estimator = Estimator(scale, features // 2, estimator_blocks, code_size)

    def iterate(self, lr: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Picture and code of every iteration, see `KernelAlternation.iterate`."""
        code = self.initial_code.expand(lr.shape[0], -1)
        for _ in range(self.iterations):
            sr = self.restorer(lr, code.detach())
            code = self.estimator(lr, sr.detach())
            yield sr, code


NEEDED = ("encoder", "initial_kernel", "restorer.body.0.attention.squeeze.weight")
"""Keys by which a DANv1 is known."""

_RENAMES: Renames = (
    (r"^init_kernel$", "initial_kernel"),
    (r"^init_ker_map$", "initial_code"),
    (r"^Restorer\.fusion\.", "restorer.closing."),
    (r"^Restorer\.head\.", "restorer.head."),
    (r"^Estimator\.head_LR\.", "estimator.lr_head."),
    (r"^Estimator\.head_HR\.", "estimator.sr_head."),
    (r"^Estimator\.out\.", "estimator.tail."),
    *(
        (rf"^{module.title()}\.body\.(\d+)\.body\.{theirs}\.", rf"{module}.body.\1.{ours}.")
        for module in ("restorer", "estimator")
        for theirs, ours in (
            ("0", "conv1"),
            ("2", "conv2"),
            (r"3\.body\.0", "attention.squeeze"),
            (r"3\.body\.2", "attention.excite"),
        )
    ),
)


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published DANv1 checkpoint to ours."""
    return rename(state, last_upscale(state) + _RENAMES)


def last_upscale(state: Mapping[str, Tensor]) -> Renames:
    """Renames of the published ``Restorer.upscale``: its highest number makes the picture."""
    last = 2 * (count(state, r"Restorer\.upscale\.(\d+)\.") - 1)
    return (
        (rf"^Restorer\.upscale\.{last}\.", "restorer.last."),
        (r"^Restorer\.upscale\.", "restorer.upsample."),
    )


def alternation_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the state dicts of DANv1 and DANv2 tell in the same way.

    The number of iterations leaves no trace in the weights: it is the published models' 4.
    """
    features = state["restorer.head.weight"].shape[0]
    kernel_numbers, code_size = state["encoder"].shape[1:]
    return {
        "scale": upsampler_scale(state, "restorer.upsample", features),
        "features": features,
        "estimator_blocks": count(state, r"estimator\.body\.(\d+)\."),
        "code_size": code_size,
        "kernel_size": math.isqrt(kernel_numbers),
        "iterations": 4,
    }


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the DANv1 that a state dict in our names belongs to.

    Returns:
        Keyword arguments for `DANv1`, or None if the state dict is not a DANv1's.
    """
    if not has_all(state, NEEDED):
        return None
    return alternation_options(state) | {"blocks": count(state, r"restorer\.body\.(\d+)\.")}


FAMILY = Family("DANv1", DANv1, detect, convert_published, NEEDED, "code")
