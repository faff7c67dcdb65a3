"""Blur kernels, batched: generalised Gaussian, plateau and low-pass.

Coordinates follow the published code: ``x`` runs **down the rows**, so a kernel with
``sigma_x > sigma_y`` and ``theta = 0`` blurs vertically more than horizontally.
RealDAN Sec. 3.5, Eq. 10, 11 and 13, with the differences noted at each function.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GAUSSIAN, PLATEAU, SINC = 0, 1, 2
"""Kinds of kernel, as `blur_kernels` takes them."""


def _grid(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    axis = torch.arange(size, device=like.device, dtype=like.dtype) - size // 2
    return axis.view(1, size, 1), axis.view(1, 1, size)


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)


def elliptic_distance(sigma_x: Tensor, sigma_y: Tensor, theta: Tensor, size: int) -> Tensor:
    """Half the squared Mahalanobis distance from the centre.

    Args:
        sigma_x: ``(N,)`` standard deviation along the rotated rows' axis, pixels.
        sigma_y: ``(N,)`` the same along the rotated columns' axis, pixels.
        theta: ``(N,)`` angle in radians.
        size: Side of the square kernel, odd.

    Returns:
        ``(N, size, size)``.
    """
    x, y = _grid(size, sigma_x)
    cos, sin = torch.cos(_column(theta)), torch.sin(_column(theta))
    along = (x * cos - y * sin) / _column(sigma_x)
    across = (x * sin + y * cos) / _column(sigma_y)
    return 0.5 * (along.square() + across.square())


def low_pass(omega: Tensor, size: int, *, squared_radius: bool) -> Tensor:
    """The circular low-pass (Eq. 13): ``omega J1(omega r) / (2 pi r)``, not normalised.

    Args:
        omega: ``(N,)`` cut-off in radians a pixel, in (0, pi].
        size: Side of the square kernel, odd.
        squared_radius: Use ``r**2`` in place of ``r``, as the published code does.  The result is
            then no ideal low-pass: it falls off much faster.

    Returns:
        ``(N, size, size)``.
    """
    x, y = _grid(size, omega)
    radius = x.square() + y.square()
    if not squared_radius:
        radius = radius.sqrt()
    w = _column(omega)
    centre = w.square() / (4 * math.pi)
    # The centre is a limit; any other radius there keeps the division finite.
    safe = torch.where(radius == 0, torch.ones_like(radius), radius)
    ring = w * torch.special.bessel_j1(w * safe) / (2 * math.pi * safe)
    return torch.where(radius == 0, centre.expand_as(ring), ring)


def mask_and_normalise(kernels: Tensor, radius: Tensor) -> Tensor:
    """Zero outside the square ``|x|, |y| <= radius``, then make each kernel's sum one.

    Args:
        kernels: ``(N, size, size)``.
        radius: ``(N,)`` in pixels.
    """
    x, y = _grid(kernels.shape[-1], kernels)
    inside = (x.abs() <= _column(radius)) & (y.abs() <= _column(radius))
    kernels = kernels * inside
    return kernels / kernels.sum((1, 2), keepdim=True)


def blur_kernels(
    kind: Tensor,
    sigma_x: Tensor,
    sigma_y: Tensor,
    theta: Tensor,
    beta: Tensor,
    omega: Tensor,
    radius: Tensor,
    *,
    size: int = 21,
    squared_radius: bool,
) -> Tensor:
    """Kernels of mixed kinds, each with a sum of one.

    With ``d`` of `elliptic_distance`: Gaussian ``exp(-d**beta)``, plateau ``1 / (1 + d**beta)``.
    The paper's Eq. 10 and 11 put the factor 1/2 of ``d`` outside the power; this is the code's.

    Args:
        kind: ``(N,)`` of `GAUSSIAN`, `PLATEAU` or `SINC`.
        sigma_x: ``(N,)`` pixels; must be positive even where a sinc ignores it.
        sigma_y: ``(N,)`` pixels; the same.
        theta: ``(N,)`` radians.
        beta: ``(N,)`` shape; 1 is a plain Gaussian.
        omega: ``(N,)`` cut-off of the sinc kernels, radians a pixel.
        radius: ``(N,)`` half width of the square support, pixels.
        size: Side of the kernels, odd.
        squared_radius: See `low_pass`.

    Returns:
        ``(N, size, size)``.
    """
    power = elliptic_distance(sigma_x, sigma_y, theta, size).pow(_column(beta))
    kind = _column(kind)
    kernels = torch.where(kind == PLATEAU, 1 / (1 + power), torch.exp(-power))
    kernels = torch.where(
        kind == SINC, low_pass(omega, size, squared_radius=squared_radius), kernels
    )
    return mask_and_normalise(kernels, radius)


def final_kernels(
    is_sinc: Tensor, omega: Tensor, radius: Tensor, *, size: int = 21, squared_radius: bool
) -> Tensor:
    """Kernels of the last low-pass: a sinc, or a unit pulse that changes nothing.

    Args and result as `blur_kernels`; ``is_sinc`` is ``(N,)`` boolean.
    """
    sinc = mask_and_normalise(low_pass(omega, size, squared_radius=squared_radius), radius)
    pulse = torch.zeros_like(sinc)
    pulse[:, size // 2, size // 2] = 1
    return torch.where(_column(is_sinc), sinc, pulse)


def disturb(kernels: Tensor, uniform: Tensor, amount: float = 0.25) -> Tensor:
    """Multiply every weight by up to ``1 +- amount`` and normalise again (KernelDAN, Sec. 4.1).

    The published code disturbs before masking and normalising; as the support is the whole
    kernel there, the order makes no difference.

    Args:
        kernels: ``(N, size, size)``.
        uniform: ``(N, size, size)`` in [0, 1).
        amount: Largest relative change.
    """
    kernels = kernels * (1 + amount * (2 * uniform - 1))
    return kernels / kernels.sum((1, 2), keepdim=True)
