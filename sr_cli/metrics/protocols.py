"""Evaluation protocols: from a high-resolution picture and a seed to what a model has to restore.

A protocol says in which ways pictures are degraded at every scale, and how results are scored.
The same picture and seed give the same 8-bit pictures on every machine: draws come from a CPU
generator, arithmetic is in float64, and ties stay ties; see `sr_cli.degradation.repeatable`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.blur_only import BlurModel
from sr_cli.degradation.jpeg import jpeg
from sr_cli.degradation.operators import blur
from sr_cli.degradation.repeatable import RepeatableTwoStage, cut, doubled, seed_for, to_levels
from sr_cli.degradation.two_stage import SMALLEST_SIDE, Preset

GAUSSIAN8_SIGMAS = {2: (0.80, 1.60), 3: (1.35, 2.40), 4: (1.80, 3.20)}
"""First and last of the eight sigmas (DANv2, Sec. 4.1)."""
GAUSSIAN8_SIZE = 21
BLUR_NOISE_SIGMAS = (0.2, 1.3, 2.6)
BLUR_NOISE_LEVELS = (0, 15, 50)
"""Standard deviations on the 0..255 scale (DMSR, Table 1)."""
BLUR_NOISE_SIZE = 15
JPEG_BLOCK = 8
"""Side of what JPEG compresses by itself."""
MILD_QUALITIES = (None, 90, 65, 40)
"""Of the JPEG files of `mild`; None for none."""
MILD_SIDE = 16
"""Pixels that pictures must have there, at least: some to be compressed."""


@dataclass(frozen=True)
class Case:
    """One picture to restore."""

    name: str
    lr: Tensor
    """``(3, h, w)`` in [0, 1], on 8-bit levels."""
    hr: Tensor | None
    """``(3, H, W)``; None where nobody knows the truth."""
    vector: Tensor | None = None
    """The true degradation vector, if the protocol has one."""
    kernel: Tensor | None = None
    """The true blur kernel ``(size, size)``, if there is just one."""
    condition: str = ""
    """Which of the protocol's conditions made it."""
    repeat: int = 0
    """Which of the condition's degradations of this picture."""
    notes: tuple[str, ...] = ()
    """Sentences on what was left out of the files that it was made of."""


@dataclass(frozen=True)
class Condition:
    """One way in which a protocol degrades pictures."""

    name: str
    degrade: Callable[[str, Tensor, int], Case]
    """Takes the picture's name, ``(3, H, W)`` in [0, 1] with sides that the scale divides, and a
    seed."""
    smallest: int
    """Side that pictures must have at least."""
    drawn: bool = True
    """Whether another seed makes another picture."""


@dataclass(frozen=True)
class Benchmark:
    """A protocol at one scale."""

    protocol: str
    scale: int
    border: int
    """Pixels that figures leave out on each side."""
    rounded_luma: bool
    """Whether luma is rounded to whole numbers before it is compared."""
    conditions: tuple[Condition, ...]
    """Empty if the low-resolution pictures are given."""
    by_condition: bool = False
    """Whether the papers report every condition by itself."""


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is made and scored."""

    name: str
    description: str
    scales: tuple[int, ...]
    conditions: Callable[[int], tuple[Condition, ...]]
    """By scale."""
    border: int | None
    """Pixels that figures leave out on each side; None for as many as the scale."""
    rounded_luma: bool
    by_condition: bool = False
    more_than_blur: bool = False
    """Whether there is noise or JPEG in what it makes."""

    @property
    def draws(self) -> bool:
        """Whether another seed makes other pictures."""
        return any(one.drawn for scale in self.scales for one in self.conditions(scale))

    def at(self, scale: int) -> Benchmark:
        """The protocol at one of its scales.

        Raises:
            KeyError: The papers have nothing at this scale.
        """
        if scale not in self.scales:
            raise KeyError(scale)
        border = scale if self.border is None else self.border
        return Benchmark(
            self.name, scale, border, self.rounded_luma, self.conditions(scale), self.by_condition
        )


def isotropic_kernel(sigma: float, size: int) -> Tensor:
    """A Gaussian ``(size, size)`` with a sum of one, in float64 (DANv1, setting 1)."""
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    line = torch.exp(-axis.square() / (2 * sigma**2))
    kernel = line[:, None] * line[None]
    return kernel / kernel.sum()


def blur_and_shrink(hr: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """Reflect-padded blur and MATLAB's bicubic downsampling, in float64, not rounded.

    Args:
        hr: ``(3, H, W)``, sides divisible by the scale.
        kernel: ``(size, size)``.
        scale: Factor to shrink by.
    """
    blurred = blur(hr.double().unsqueeze(0), kernel.double().unsqueeze(0))
    return imresize(blurred, Fraction(1, scale))[0]


def _gaussian8(scale: int) -> tuple[Condition, ...]:
    first, last = GAUSSIAN8_SIGMAS[scale]
    return tuple(_isotropic(first + (last - first) * i / 7, scale) for i in range(8))


def _isotropic(sigma: float, scale: int) -> Condition:
    label = f"sigma {sigma:.2f}"
    kernel = isotropic_kernel(sigma, GAUSSIAN8_SIZE)

    def degrade(name: str, hr: Tensor, seed: int) -> Case:
        lr = to_levels(blur_and_shrink(hr, kernel, scale))
        return Case(name, lr, hr, kernel=kernel, condition=label)

    return Condition(label, degrade, GAUSSIAN8_SIZE // 2 + 1, drawn=False)


def _aniso(scale: int) -> tuple[Condition, ...]:
    model = BlurModel(scale)

    def degrade(name: str, hr: Tensor, seed: int) -> Case:
        generator = torch.Generator().manual_seed(seed_for(name, seed))
        drawn = doubled(model.sample(1, generator))
        kernel = model.kernels(drawn)[0]
        lr = to_levels(blur_and_shrink(hr, kernel, scale))
        return Case(name, lr, hr, model.vector(drawn)[0], kernel)

    return (Condition("", degrade, model.radius + 1),)


def _blur_noise(scale: int) -> tuple[Condition, ...]:
    return tuple(
        _noisy(sigma, level, scale) for level in BLUR_NOISE_LEVELS for sigma in BLUR_NOISE_SIGMAS
    )


def _noisy(sigma: float, level: int, scale: int) -> Condition:
    label = f"[{sigma}, {level}]"
    kernel = isotropic_kernel(sigma, BLUR_NOISE_SIZE)

    def degrade(name: str, hr: Tensor, seed: int) -> Case:
        lr = blur_and_shrink(hr, kernel, scale)
        generator = torch.Generator().manual_seed(seed_for(f"{label}/{name}", seed))
        noise = torch.randn(lr.shape, generator=generator, dtype=torch.float64)
        return Case(name, to_levels(lr + noise * (level / 255)), hr, None, kernel, label)

    return Condition(label, degrade, BLUR_NOISE_SIZE // 2 + 1, drawn=level > 0)


def _real(preset: Preset) -> Callable[[int], tuple[Condition, ...]]:
    def conditions(scale: int) -> tuple[Condition, ...]:
        model = RepeatableTwoStage(scale, preset)

        def degrade(name: str, hr: Tensor, seed: int) -> Case:
            lr, vector = model.degrade(hr, seed_for(name, seed))
            return Case(name, lr, hr, vector)

        return (Condition("", degrade, SMALLEST_SIDE),)

    return conditions


def _cropped(scale: int) -> tuple[Condition, ...]:
    """As `_real`, then 1 to 7 rows and columns cut off at the top and left."""
    (whole,) = _real("physical")(scale)

    def degrade(name: str, hr: Tensor, seed: int) -> Case:
        case = whole.degrade(name, hr, seed)
        generator = torch.Generator().manual_seed(seed_for(f"cropped/{name}", seed))
        top, left = torch.randint(1, JPEG_BLOCK, (2,), generator=generator).tolist()
        return Case(
            name, case.lr[:, top:, left:], hr[:, scale * top :, scale * left :], case.vector
        )

    return (Condition("", degrade, whole.smallest),)


def _mild(scale: int) -> tuple[Condition, ...]:
    return tuple(_compressed(quality, scale) for quality in MILD_QUALITIES)


def _compressed(quality: int | None, scale: int) -> Condition:
    label = "no JPEG" if quality is None else f"JPEG {quality}"

    def degrade(name: str, hr: Tensor, seed: int) -> Case:
        lr = to_levels(imresize(hr.double().unsqueeze(0), Fraction(1, scale))[0])
        if quality is not None:
            level = torch.tensor([quality], dtype=torch.float64)
            coded = jpeg(lr.double().unsqueeze(0), level, physical=True, settle=cut)
            lr = to_levels(coded[0])
        return Case(name, lr, hr, condition=label)

    return Condition(label, degrade, MILD_SIDE * scale, drawn=False)


def _given(scale: int) -> tuple[Condition, ...]:
    return ()


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            "real",
            "two-stage degradation (blur, resize, noise, JPEG, twice), physical preset",
            (4,),
            _real("physical"),
            4,
            True,
            more_than_blur=True,
        ),
        Protocol(
            "real-published",
            "the same with the published code's arithmetic",
            (4,),
            _real("published"),
            4,
            True,
            more_than_blur=True,
        ),
        Protocol(
            "real-cropped",
            "as real, then cut so that JPEG's grid begins elsewhere, as in a cropped photograph",
            (4,),
            _cropped,
            4,
            True,
            more_than_blur=True,
        ),
        Protocol(
            "gaussian8",
            "eight isotropic Gaussian blurs, bicubic downsampling (DANv1, DANv2, DSSR)",
            (2, 3, 4),
            _gaussian8,
            None,
            False,
        ),
        Protocol(
            "aniso",
            "random anisotropic blurs, bicubic downsampling, as KernelDAN is trained (DIV2KRK was "
            "filtered and subsampled by KernelGAN's script, with kernels of x4 composed of x2's)",
            (2, 4),
            _aniso,
            4,
            True,
        ),
        Protocol(
            "blur-noise",
            "isotropic blurs, bicubic downsampling and white noise (DMSR, Table 1)",
            (2, 3, 4),
            _blur_noise,
            None,
            False,
            by_condition=True,
            more_than_blur=True,
        ),
        Protocol(
            "mild",
            "bicubic downsampling and nothing else, or JPEG as libjpeg's: little is wrong",
            (2, 3, 4),
            _mild,
            4,
            True,
            by_condition=True,
            more_than_blur=True,
        ),
        Protocol(
            "paired",
            "low- and high-resolution pictures as given",
            (2, 3, 4, 8),
            _given,
            4,
            True,
        ),
        Protocol(
            "no-reference",
            "low-resolution pictures without truth: only what needs none is measured",
            (2, 3, 4, 8),
            _given,
            0,
            True,
        ),
    )
}
"""All protocols by name."""
