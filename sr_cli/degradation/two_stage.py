"""RealDAN's two-stage degradation: blur, resize, noise and JPEG, twice, then a final low-pass.

Sec. 3.5 of the paper; probabilities and ranges are the published option files'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sr_cli.degradation import kernels
from sr_cli.degradation.jpeg import jpeg
from sr_cli.degradation.layout import TWO_STAGE, Layout
from sr_cli.degradation.operators import (
    RESIZE_MODES,
    ResizeMode,
    blur,
    gaussian_noise,
    poisson_noise,
    quantise,
    resize,
)
from sr_cli.degradation.vector import to_vector

Preset = Literal["published", "physical"]
"""``published`` computes what the authors' code does; ``physical`` what really happens to files:
a true radial low-pass, JPEG with rounded tables, independent grey noise.  Both draw whole JPEG
qualities, as files have; the authors' code draws real numbers."""

KERNEL_SIZE = 21
SMALLEST_SIDE = 76
"""Pixels; of less, the smallest resize (0.15) leaves less than the 11 that a blur needs to reflect.
"""

_RANGES = {p.key: (p.low, p.high) for p in TWO_STAGE.parameters}
_RESIZE_UP_DOWN = {"stage1": (0.2, 0.7), "stage2": (0.3, 0.4)}
_PLATEAU_BETA = {
    p.stage: p.range({f"{p.stage}.is_gaussian": False})
    for p in TWO_STAGE.parameters
    if p.name == "beta"
}
_THETA_MAX = math.pi / 2


@dataclass(frozen=True)
class Stage:
    """One stage's parameters for a batch, in units, on the CPU."""

    kind: Tensor
    """``(N,)`` of `kernels.GAUSSIAN`, `PLATEAU`, `SINC`."""
    sigma_x: Tensor
    sigma_y: Tensor
    theta: Tensor
    """Radians, 0 .. pi/2."""
    beta: Tensor
    omega: Tensor
    """Radians a pixel."""
    radius: Tensor
    scale: float
    """Resize factor; one for the batch."""
    mode: ResizeMode
    """Interpolation; one for the batch."""
    noise_is_gaussian: Tensor
    noise_is_grey: Tensor
    gaussian_sigma: Tensor
    """On the 0..255 scale."""
    poisson_level: Tensor
    is_jpeg: Tensor
    jpeg_quality: Tensor


@dataclass(frozen=True)
class TwoStage:
    """All parameters of the two-stage degradation for a batch."""

    stage1: Stage
    stage2: Stage
    final_mode: ResizeMode
    final_is_sinc: Tensor
    final_omega: Tensor
    final_radius: Tensor

    def __len__(self) -> int:
        return len(self.final_omega)

    def vector(self) -> Tensor:
        """The ``(N, 42)`` normalised vector of `sr_cli.degradation.layout.TWO_STAGE`.

        What does not apply is written as the published code does: value 0, quality 100.
        """
        values = _stage_values("stage1", self.stage1) | _stage_values("stage2", self.stage2)
        sinc = self.final_is_sinc
        values |= {
            "final.radius": self.final_radius,
            "final.is_sinc": sinc.float(),
            "final.omega": torch.where(sinc, self.final_omega, 0.0),
            **_one_hot("final", self.final_mode, len(self)),
        }
        return to_vector(TWO_STAGE, values)


def _one_hot(stage: str, mode: ResizeMode, batch: int) -> dict[str, Tensor]:
    return {
        f"{stage}.mode_{name}": torch.full((batch,), float(name == mode)) for name in RESIZE_MODES
    }


def _stage_values(name: str, stage: Stage) -> dict[str, Tensor]:
    sinc = stage.kind == kernels.SINC
    gaussian = stage.noise_is_gaussian
    batch = len(stage.kind)
    values = {
        "sigma_x": torch.where(sinc, 0.0, stage.sigma_x),
        "sigma_y": torch.where(sinc, 0.0, stage.sigma_y),
        "theta": torch.where(sinc, 0.0, stage.theta * (180 / math.pi)),
        "beta": torch.where(sinc, _PLATEAU_BETA[name][0], stage.beta),
        "is_gaussian": (stage.kind == kernels.GAUSSIAN).float(),
        "radius": stage.radius,
        "is_sinc": sinc.float(),
        "omega": torch.where(sinc, stage.omega, 0.0),
        "scale": torch.full((batch,), stage.scale),
        "noise_is_gaussian": gaussian.float(),
        "noise_is_grey": stage.noise_is_grey.float(),
        "gaussian_sigma": torch.where(gaussian, stage.gaussian_sigma, 0.0),
        "poisson_level": torch.where(gaussian, 0.0, stage.poisson_level),
        "is_jpeg": stage.is_jpeg.float(),
        "jpeg_quality": torch.where(stage.is_jpeg, stage.jpeg_quality, 100.0),
    }
    return {f"{name}.{key}": value for key, value in values.items()} | _one_hot(
        name, stage.mode, batch
    )


class TwoStageModel:
    """Draws two-stage degradations and applies them."""

    layout: Layout = TWO_STAGE

    def __init__(self, scale: int = 4, preset: Preset = "physical") -> None:
        self.scale = scale
        self.preset: Preset = preset

    def sample(self, batch: int, generator: torch.Generator) -> TwoStage:
        """Draw parameters for a batch.

        Resize factors and modes are drawn once a batch, as published; the rest per picture.

        Args:
            batch: Number of pictures.
            generator: A CPU generator: the draw is the same whatever device applies it.
        """
        draw = _Draw(batch, generator)
        stage1, stage2 = _sample_stage("stage1", draw), _sample_stage("stage2", draw)
        mode = draw.mode()
        radius = draw.radius()
        return TwoStage(stage1, stage2, mode, draw.coin(0.8), draw.cut_off(radius), radius)

    def decode(self, vector: Tensor) -> TwoStage:
        """Parameters from one normalised vector, to replay an estimate; the inverse of `vector`.

        Values are limited to the ranges of the layout, flags are cut at 0.5.

        Args:
            vector: ``(42,)``.
        """
        values = TWO_STAGE.decode(vector.tolist())
        radius = _limited(values, "final.radius").round()
        return TwoStage(
            _decode_stage("stage1", values),
            _decode_stage("stage2", values),
            _decode_mode("final", values),
            torch.tensor([values["final.is_sinc"] >= 0.5]),
            _limited(values, "final.omega").clamp(min=_smallest_cut_off(radius)),
            radius,
        )

    def apply(
        self, hr: Tensor, degradation: TwoStage, generator: torch.Generator | None = None
    ) -> Tensor:
        """Degrade a batch.

        Args:
            hr: ``(N, 3, H, W)`` RGB in [0, 1], H and W at least `SMALLEST_SIDE` and divisible by
                the scale.
            degradation: Parameters of the same N.
            generator: For the noise; of the pictures' device.

        Returns:
            ``(N, 3, H/scale, W/scale)`` on 8-bit levels.
        """
        height, width = hr.shape[-2:]
        small = (height // self.scale, width // self.scale)
        one, two = degradation.stage1, degradation.stage2
        x = self._degrade(hr, one, (height, width), generator)
        x = quantise(self._compress(x, one))
        x = self._degrade(x, two, small, generator).clamp_(0, 1)
        x = resize(x, small, degradation.final_mode)
        if bool(degradation.final_is_sinc.any()):
            low_pass = kernels.final_kernels(
                degradation.final_is_sinc,
                degradation.final_omega,
                degradation.final_radius,
                size=KERNEL_SIZE,
                squared_radius=self.preset == "published",
            )
            x = blur(x, low_pass.to(x))
        return quantise(self._compress(x, two))

    def _degrade(
        self,
        x: Tensor,
        stage: Stage,
        base: tuple[int, int],
        generator: torch.Generator | None,
    ) -> Tensor:
        """Blur, resize to ``base * scale``, noise; not limited yet."""
        kernel = kernels.blur_kernels(
            stage.kind,
            stage.sigma_x,
            stage.sigma_y,
            stage.theta,
            stage.beta,
            stage.omega,
            stage.radius,
            size=KERNEL_SIZE,
            squared_radius=self.preset == "published",
        )
        x = blur(x, kernel.to(x))
        x = resize(x, (int(base[0] * stage.scale), int(base[1] * stage.scale)), stage.mode)
        return self._add_noise(x, stage, generator)

    def _add_noise(self, x: Tensor, stage: Stage, generator: torch.Generator | None) -> Tensor:
        """Noise in place, since a blur made ``x``."""
        # The choice is made on the CPU, where the parameters are, so no device has to wait.
        for chosen, gaussian in (
            (stage.noise_is_gaussian & (stage.gaussian_sigma > 0), True),
            (~stage.noise_is_gaussian, False),
        ):
            index = chosen.nonzero().flatten()
            if len(index) == 0:
                continue
            there = index.to(x.device)
            grey = stage.noise_is_grey[index].to(x.device)
            if gaussian:
                sigma = stage.gaussian_sigma[index].to(x)
                shared = self.preset == "published"
                noise = gaussian_noise(x[: len(index)], sigma, grey, generator, shared_grey=shared)
            else:
                level = stage.poisson_level[index].to(x)
                noise = poisson_noise(x.index_select(0, there), level, grey, generator)
            x.index_add_(0, there, noise)
        return x

    def _compress(self, x: Tensor, stage: Stage) -> Tensor:
        """JPEG in place, of what it is drawn for."""
        index = stage.is_jpeg.nonzero().flatten()
        if len(index) == 0:
            return x
        there = index.to(x.device)
        quality = stage.jpeg_quality[index].to(x)
        compressed = jpeg(x.index_select(0, there), quality, physical=self.preset == "physical")
        return x.index_copy_(0, there, compressed)


class _Draw:
    """Random draws for a batch, from one CPU generator."""

    def __init__(self, batch: int, generator: torch.Generator) -> None:
        self.batch = batch
        self.generator = generator

    def uniform(self, low: float | Tensor = 0.0, high: float | Tensor = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(self.batch, generator=self.generator)

    def coin(self, probability: float) -> Tensor:
        return torch.rand(self.batch, generator=self.generator) < probability

    def once(self) -> float:
        return float(torch.rand((), generator=self.generator))

    def mode(self) -> ResizeMode:
        return RESIZE_MODES[min(int(self.once() * 3), 2)]

    def radius(self) -> Tensor:
        return torch.randint(3, 12, (self.batch,), generator=self.generator).float()

    def cut_off(self, radius: Tensor) -> Tensor:
        return self.uniform(_smallest_cut_off(radius), math.pi)


def _smallest_cut_off(radius: Tensor) -> Tensor:
    """Small kernels cannot hold the long waves of a low cut-off."""
    return torch.where(2 * radius + 1 < 13, math.pi / 3, math.pi / 5)


def _sample_stage(name: str, draw: _Draw) -> Stage:
    sigma = _RANGES[f"{name}.sigma_x"]
    isotropic, sinc = draw.coin(0.7), draw.coin(0.1)
    plateau, generalised = draw.coin(0.15), draw.coin(0.15)
    kind = torch.full((draw.batch,), kernels.GAUSSIAN)
    kind[plateau] = kernels.PLATEAU
    kind[sinc] = kernels.SINC
    sigma_x, sigma_y = draw.uniform(*sigma), draw.uniform(*sigma)
    theta = draw.uniform(0.0, _THETA_MAX)
    shaped = draw.uniform(*_RANGES[f"{name}.beta"])
    beta = torch.where(generalised, shaped, 1.0)
    beta = torch.where(plateau, draw.uniform(*_PLATEAU_BETA[name]), beta)
    radius = draw.radius()
    omega = draw.cut_off(radius)
    return Stage(
        kind=kind,
        sigma_x=sigma_x,
        sigma_y=torch.where(isotropic, sigma_x, sigma_y),
        theta=torch.where(isotropic, 0.0, theta),
        beta=beta,
        omega=omega,
        radius=radius,
        scale=_sample_scale(name, draw),
        mode=draw.mode(),
        noise_is_gaussian=draw.coin(0.5),
        noise_is_grey=draw.coin(0.4),
        gaussian_sigma=draw.uniform(*_RANGES[f"{name}.gaussian_sigma"]),
        poisson_level=draw.uniform(*_RANGES[f"{name}.poisson_level"]),
        is_jpeg=draw.coin(0.5),
        jpeg_quality=draw.uniform(*_RANGES[f"{name}.jpeg_quality"]).round(),
    )


def _sample_scale(name: str, draw: _Draw) -> float:
    low, high = _RANGES[f"{name}.scale"]
    up, down = _RESIZE_UP_DOWN[name]
    which, amount = draw.once(), draw.once()
    if which < up:
        return 1 + amount * (high - 1)
    if which < up + down:
        return low + amount * (1 - low)
    return 1.0


def _limited(values: Mapping[str, float], key: str) -> Tensor:
    low, high = _RANGES[key]
    return torch.tensor([min(max(values[key], low), high)])


def _decode_mode(stage: str, values: Mapping[str, float]) -> ResizeMode:
    return max(RESIZE_MODES, key=lambda mode: values[f"{stage}.mode_{mode}"])


def _decode_stage(name: str, values: Mapping[str, float]) -> Stage:
    def flag(key: str) -> Tensor:
        return torch.tensor([values[f"{name}.{key}"] >= 0.5])

    def number(key: str) -> Tensor:
        return _limited(values, f"{name}.{key}")

    gaussian, sinc = flag("is_gaussian"), flag("is_sinc")
    kind = torch.where(gaussian, kernels.GAUSSIAN, kernels.PLATEAU)
    low, high = _RANGES[f"{name}.beta"] if bool(gaussian) else _PLATEAU_BETA[name]
    radius = number("radius").round()
    return Stage(
        kind=torch.where(sinc, kernels.SINC, kind),
        sigma_x=number("sigma_x"),
        sigma_y=number("sigma_y"),
        theta=number("theta") * (math.pi / 180),
        beta=torch.tensor([min(max(values[f"{name}.beta"], low), high)]),
        omega=number("omega").clamp(min=_smallest_cut_off(radius)),
        radius=radius,
        scale=float(number("scale")),
        mode=_decode_mode(name, values),
        noise_is_gaussian=flag("noise_is_gaussian"),
        noise_is_grey=flag("noise_is_grey"),
        gaussian_sigma=number("gaussian_sigma"),
        poisson_level=number("poisson_level"),
        is_jpeg=flag("is_jpeg"),
        jpeg_quality=number("jpeg_quality").round(),
    )
