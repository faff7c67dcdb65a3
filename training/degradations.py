"""What trains a network: degradations behind one interface, drawn on the CPU, applied anywhere.

The two-stage and the blur-only degradation are `sr_cli.degradation`'s; the Gaussian one is that of
the earlier papers (DANv1, DANv2, DSSR, DMSR).  Where the degradation is learned, low-quality
pictures stand in for degraded ones until `training.unpaired` has made these.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sr_cli.degradation import kernels
from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.blur_only import Blur, BlurModel
from sr_cli.degradation.layout import TWO_STAGE, Layout
from sr_cli.degradation.operators import blur, quantise
from sr_cli.degradation.two_stage import Stage, TwoStage, TwoStageModel
from training.corpus import Corpus
from training.crops import Cropper, Places
from training.schema import Recipe
from training.tensors import on, send

UPWARDS = 1 / 9
"""DAN's codes multiply a kernel's weights by 1 + 0.25 u, u in [0, 1), before they normalise it:
that is 1.125 (1 + (2u - 1) / 9)."""

NARROWEST = min(p.low for p in TWO_STAGE.parameters if p.name == "sigma_x")
"""Pixels: the least width of a blur in the two-stage degradation."""


class Degrader(ABC):
    """Draws degradations and applies them to batches."""

    scale: int
    layout: Layout | None = None
    """What the numbers of `vector` are, if there are any."""

    @abstractmethod
    def sample(self, batch: int, generator: torch.Generator) -> Any:
        """Draw parameters for a batch from a CPU generator.

        Returns:
            A dataclass of tensors ``(N, ...)``, and perhaps of such dataclasses, with a length: N.
        """

    def mildest(self, drawn: Any) -> Any:
        """The same parameters with as little of everything as there can be, see `schema.Data`."""
        raise NotImplementedError

    @abstractmethod
    def apply(self, hr: Tensor, drawn: Any, generator: torch.Generator | None = None) -> Tensor:
        """Degrade a batch.

        Args:
            hr: ``(N, 3, H, W)`` RGB in [0, 1], sides divisible by the scale.
            drawn: Parameters of the same N.
            generator: For noise; of the pictures' device.

        Returns:
            ``(N, 3, H/scale, W/scale)`` on 8-bit levels.
        """

    def vector(self, drawn: Any) -> Tensor:
        """The normalised vectors ``(N, len(layout))``, where there is a layout."""
        raise NotImplementedError

    def kernels(self, drawn: Any) -> Tensor:
        """The blur kernels ``(N, side**2)``, row by row, where there is one a picture."""
        raise NotImplementedError


class TwoStageDegrader(Degrader):
    """RealDAN's."""

    def __init__(self, model: TwoStageModel) -> None:
        self.model = model
        self.scale = model.scale
        self.layout = model.layout

    def sample(self, batch: int, generator: torch.Generator) -> TwoStage:
        return self.model.sample(batch, generator)

    def mildest(self, drawn: TwoStage) -> TwoStage:
        """No blur, noise or low-pass, one reduction by means, and the last JPEG alone as drawn."""
        first, last = _mildest(drawn.stage1), _mildest(drawn.stage2)
        return dataclasses.replace(
            drawn,
            stage1=dataclasses.replace(first, is_jpeg=torch.zeros_like(first.is_jpeg)),
            stage2=last,
            final_is_sinc=torch.zeros_like(drawn.final_is_sinc),
        )

    def apply(
        self, hr: Tensor, drawn: TwoStage, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.model.apply(hr, drawn, generator)

    def vector(self, drawn: TwoStage) -> Tensor:
        return drawn.vector()


def _mildest(stage: Stage) -> Stage:
    """A stage whose blur is its narrowest, a single pixel, that keeps the size and adds nothing.

    Noise is Gaussian with a deviation of 0, which is told apart from a level that does not apply.
    """
    narrowest = torch.full_like(stage.sigma_x, NARROWEST)
    return dataclasses.replace(
        stage,
        kind=torch.full_like(stage.kind, kernels.GAUSSIAN),
        sigma_x=narrowest,
        sigma_y=narrowest,
        theta=torch.zeros_like(stage.theta),
        beta=torch.ones_like(stage.beta),
        scale=1.0,
        mode="area",
        noise_is_gaussian=torch.ones_like(stage.noise_is_gaussian),
        gaussian_sigma=torch.zeros_like(stage.gaussian_sigma),
    )


@dataclass(frozen=True)
class Sharp(Blur):
    """Parameters of pictures that no blur has gone over, only a reduction."""

    by_means: Tensor
    """``(N,)`` boolean: reduced by means of squares, sharper than by bicubic interpolation."""


class BlurDegrader(Degrader):
    """KernelDAN's."""

    def __init__(self, model: BlurModel) -> None:
        self.model = model
        self.scale = model.scale
        self.layout = model.layout

    def sample(self, batch: int, generator: torch.Generator) -> Blur:
        return self.model.sample(batch, generator)

    def mildest(self, drawn: Blur) -> Sharp:
        """No blur: every second picture, by its draw, is reduced by means, the rest as any other.

        The numbers say a round blur of the two-stage degradation's least width, a single pixel,
        whose direction nothing tells: it is the mean of all.
        """
        narrowest = torch.full_like(drawn.sigma_x, NARROWEST)
        return Sharp(
            sigma_x=narrowest,
            sigma_y=narrowest,
            theta=torch.full_like(drawn.theta, math.pi / 4),
            unevenness=torch.full_like(drawn.unevenness, 0.5),
            by_means=drawn.theta < math.pi / 4,
        )

    def apply(self, hr: Tensor, drawn: Blur, generator: torch.Generator | None = None) -> Tensor:
        there = on(hr.device, drawn)
        if not isinstance(there, Sharp):
            return self.model.apply(hr, there)
        means = functional.avg_pool2d(hr, self.scale)
        smooth = imresize(hr, Fraction(1, self.scale))
        return quantise(torch.where(there.by_means.view(-1, 1, 1, 1), means, smooth))

    def vector(self, drawn: Blur) -> Tensor:
        return self.model.vector(drawn)

    def kernels(self, drawn: Blur) -> Tensor:
        return self.model.kernels(drawn).flatten(1)


@dataclass(frozen=True)
class Gaussian:
    """Parameters of `GaussianDegrader` for a batch, on the CPU."""

    kernel: Tensor
    """``(N, side, side)``, sums of one."""
    noise: Tensor
    """``(N,)`` standard deviation on the 0..255 scale."""

    def __len__(self) -> int:
        return len(self.noise)


class GaussianDegrader(Degrader):
    """A Gaussian blur, antialiased bicubic downsampling, white noise, rounded to 8 bits.

    The published codes neither clamp nor, for noise, round; files are both, and so is this.

    Args:
        scale: Reduction.
        side: Of the kernels, odd.
        sigma: Range of their widths, pixels.
        noise: Range of the noise's deviation on the 0..255 scale.
        isotropic: Round kernels; else two widths, any direction, and uneven weights.
    """

    def __init__(
        self,
        scale: int,
        side: int,
        sigma: tuple[float, float],
        noise: tuple[float, float] = (0.0, 0.0),
        *,
        isotropic: bool,
    ) -> None:
        self.scale = scale
        self.side = side
        self.sigma = sigma
        self.noise = noise
        self.isotropic = isotropic

    def sample(self, batch: int, generator: torch.Generator) -> Gaussian:
        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(batch, generator=generator)

        sigma_x = uniform(*self.sigma)
        sigma_y = sigma_x if self.isotropic else uniform(*self.sigma)
        theta = 0 * sigma_x if self.isotropic else uniform(-math.pi, math.pi)
        drawn = _gaussian(sigma_x, sigma_y, theta, self.side)
        if not self.isotropic:
            unevenness = torch.rand(drawn.shape, generator=generator)
            drawn = kernels.disturb(drawn, unevenness, UPWARDS)
        return Gaussian(drawn, uniform(*self.noise))

    def apply(
        self, hr: Tensor, drawn: Gaussian, generator: torch.Generator | None = None
    ) -> Tensor:
        there: Gaussian = on(hr.device, drawn)
        lr = imresize(blur(hr, there.kernel.to(hr)), Fraction(1, self.scale))
        if self.noise[1] > 0:
            unit = torch.randn(lr.shape, generator=generator, device=hr.device, dtype=hr.dtype)
            lr = lr + unit * (there.noise.to(hr).view(-1, 1, 1, 1) / 255)
        return quantise(lr)

    def kernels(self, drawn: Gaussian) -> Tensor:
        return drawn.kernel.flatten(1)


def _gaussian(sigma_x: Tensor, sigma_y: Tensor, theta: Tensor, side: int) -> Tensor:
    one = torch.ones_like(theta)
    return kernels.blur_kernels(
        kernels.GAUSSIAN * one,
        sigma_x,
        sigma_y,
        theta,
        beta=one,
        omega=one,
        radius=side // 2 * one,
        size=side,
        squared_radius=True,
    )


class Unpaired(Degrader):
    """What is handed on where the degradation is learned: crops of low-quality pictures.

    They have nothing to do with the high-resolution crops beside them.

    Args:
        scale: Enlargement.
        low: The pictures, none with a side shorter than a crop; without any, nothing can be drawn.
    """

    def __init__(self, scale: int, low: Corpus | None = None) -> None:
        self.scale = scale
        self.cropper = None if low is None else Cropper(low, torch.Generator())

    def sample(self, batch: int, generator: torch.Generator) -> Places:
        assert self.cropper is not None
        self.cropper.generator = generator
        return self.cropper.places(batch)

    def apply(self, hr: Tensor, drawn: Places, generator: torch.Generator | None = None) -> Tensor:
        assert self.cropper is not None
        side = hr.shape[-1] // self.scale  # of the phase under way
        crops = self.cropper.cut(self.cropper.windows(drawn, side), side)
        return send(crops, hr.device).float() / 255


def degrader(recipe: Recipe, low: Corpus | None = None) -> Degrader:
    """The degradation that a recipe trains for.

    Args:
        recipe: Any.
        low: Low-quality pictures, for one that is learned.
    """
    data, scale = recipe.data, recipe.network.scale
    if data.degradation == "learned":
        return Unpaired(scale, low)
    if data.degradation == "two-stage":
        return TwoStageDegrader(TwoStageModel(scale, data.preset))
    if data.degradation == "blur":
        return BlurDegrader(BlurModel(scale))
    assert data.degradation in ("isotropic", "anisotropic", "blur-noise"), data.degradation
    return GaussianDegrader(
        scale,
        data.kernel,
        (data.sigma[0], data.sigma[1]),
        (data.noise[0], data.noise[1]),
        isotropic=data.degradation != "anisotropic",
    )


def principal_components(model: Degrader, count: int, draws: int = 30_000) -> Tensor:
    """The encoder of DANv1 and DANv2: left singular vectors of random centred kernels.

    Args:
        model: Draws the kernels, with a fixed seed.
        count: Components wanted, strongest first.
        draws: Kernels; 30,000 in the published code.

    Returns:
        ``(side**2, count)``; each component's largest weight is positive.

    Raises:
        ValueError: A kernel has fewer numbers than that.
    """
    generator = torch.Generator().manual_seed(0)
    numbers = model.kernels(model.sample(1, generator)).shape[1]
    if count > numbers:
        raise ValueError(f"kernels of {numbers} numbers have no {count} principal components")
    generator.manual_seed(0)
    drawn = model.kernels(model.sample(draws, generator)).double()
    drawn = drawn - drawn.mean(0)
    _, vectors = torch.linalg.eigh(drawn.T @ drawn)
    strongest = vectors.flip(1)[:, :count]
    signs = strongest.gather(0, strongest.abs().argmax(0, keepdim=True)).sign()
    return (strongest * signs).float()


def degraded_centres(
    corpus: Corpus, model: Degrader, crop: int, repeats: int, seed: int
) -> Iterator[tuple[Tensor, Tensor, Any]]:
    """The middles of pictures, each degraded a few times, the same every time.

    Args:
        corpus: Pictures.
        model: Degrades them.
        crop: Side of what is cut, high-resolution pixels; of a shorter side, all is taken, and of
            either no more than a multiple of the scale.
        repeats: Degradations of each.
        seed: Of the first.

    Yields:
        What was cut ``(1, 3, H, W)`` uint8, what became of it ``(1, 3, H/scale, W/scale)`` in
        [0, 1], and the parameters that `Degrader.sample` drew.
    """
    for number, picture in enumerate(corpus.pictures):
        height, width = (min(crop, side) // model.scale * model.scale for side in picture.shape[:2])
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        centre = torch.from_numpy(picture[top : top + height, left : left + width].copy())
        hr = centre.permute(2, 0, 1).unsqueeze(0)
        for repeat in range(repeats):
            generator = torch.Generator().manual_seed(seed + 1000 * number + repeat)
            drawn = model.sample(1, generator)
            yield hr, model.apply(hr.float() / 255, drawn, generator), drawn
