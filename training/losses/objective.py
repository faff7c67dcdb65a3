"""What a step of training makes smaller: the terms of a network's loss, each already weighted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.operators import blur
from sr_cli.networks.dan import DAN
from sr_cli.networks.danv1 import DANv1
from sr_cli.networks.dmsr import DMSR
from sr_cli.networks.dssr import DSSR
from sr_cli.networks.stages import SuperResolver
from training.losses.estimate import EstimateLoss
from training.losses.features import Features
from training.losses.shape import ShapeLoss

Truth = Literal["vector", "kernel", "nothing"]
Forward = Callable[[Tensor], tuple[Any, ...]]
"""A network, perhaps compiled: from pictures to larger ones and the estimate, if it makes one, and
whatever else an objective's `Objective.forward` asks for."""


@dataclass(frozen=True)
class Result:
    """What one pass found."""

    terms: dict[str, Tensor] = field(default_factory=dict)
    """Scalars by name, to be added up."""
    sr: Tensor | None = None
    """``(N, 3, H, W)`` float32, for a discriminator; None where no picture was made."""


class Objective(ABC):
    """The loss of one kind of network."""

    truth: Truth = "nothing"
    """What it needs to know of the degradation."""
    capturable: ClassVar[bool] = False
    """Whether a CUDA graph may hold it: nothing on the way is sent to the device or waited for."""

    def forward(self, network: SuperResolver) -> Forward:
        """What to run of a network, perhaps compiled first, and to hand to every call."""
        return network

    @abstractmethod
    def __call__(
        self,
        network: SuperResolver,
        forward: Forward,
        lr: Tensor,
        hr: Tensor,
        truth: Tensor,
    ) -> Result:
        """Run a network on a batch.

        Args:
            network: The network itself.
            forward: Of the same network, perhaps compiled.
            lr: ``(N, 3, h, w)`` in [0, 1].
            hr: ``(N, 3, H, W)`` in [0, 1].
            truth: ``(N, D)`` as `truth` says.
        """


@dataclass(frozen=True)
class Restoration(Objective):
    """The picture's error and, where the network estimates something, the estimate's.

    RealDAN and KernelDAN: vectors.  DANv1: the kernel's code.  DANv2: the kernel.  In all of them
    the last iteration alone is supervised, but for DAN's `ShapeLoss`.
    """

    l1: float
    estimate: EstimateLoss | None = None
    perceptual: float = 0.0
    features: Features | None = None
    truth: Truth = "nothing"
    shape: ShapeLoss | None = None
    rmse: float = 0.0
    capturable: ClassVar[bool] = True

    def forward(self, network: SuperResolver) -> Forward:
        if self.shape is None:
            return network
        assert isinstance(network, DAN)
        return network.unrolled

    def __call__(
        self,
        network: SuperResolver,
        forward: Forward,
        lr: Tensor,
        hr: Tensor,
        truth: Tensor,
    ) -> Result:
        sr, estimate, *described = forward(lr)
        sr = sr.float()
        terms = self.picture(sr, hr)
        if self.estimate is not None:
            wanted = truth
            if isinstance(network, DANv1):
                with torch.autocast(lr.device.type, enabled=False):  # its codes are small numbers
                    wanted = network.encode(truth)
            terms["vector"] = self.estimate(estimate, wanted)
        if self.shape is not None:
            terms["shape"] = self.shape(described, truth)
        return Result(terms, sr)

    def picture(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """The terms of the picture alone; both ``(N, 3, H, W)``, float32."""
        terms: dict[str, Tensor] = {}
        if self.l1:
            terms["l1"] = self.l1 * F.l1_loss(sr, hr)
        if self.rmse:
            terms["rmse"] = self.rmse * root_mean_square(sr, hr)
        if self.features is not None:
            terms["perceptual"] = self.perceptual * self.features.distance(sr, hr)
        return terms


@dataclass(frozen=True)
class TruthGiven(Objective):
    """A DAN's picture when its Restorer is given the true vector: RealDAN, Table 5, but learned."""

    restoration: Restoration
    """Whose terms of the picture are taken."""
    truth: Truth = "vector"
    capturable: ClassVar[bool] = True

    def __call__(
        self,
        network: SuperResolver,
        forward: Forward,
        lr: Tensor,
        hr: Tensor,
        truth: Tensor,
    ) -> Result:
        assert isinstance(network, DAN)
        sr = network.restore(lr, truth).float()
        return Result(self.restoration.picture(sr, hr), sr)


@dataclass(frozen=True)
class FirstEstimate(Objective):
    """DAN's first estimate alone, before any Restorer."""

    estimate: EstimateLoss
    shape: ShapeLoss | None = None
    truth: Truth = "vector"
    capturable: ClassVar[bool] = True

    def __call__(
        self,
        network: SuperResolver,
        forward: Forward,
        lr: Tensor,
        hr: Tensor,
        truth: Tensor,
    ) -> Result:
        assert isinstance(network, DAN)
        feature = network.describe(lr)
        vector = network.degradation_tail(feature).flatten(1)
        terms = {"vector": self.estimate(vector, truth)}
        if self.shape is not None:
            terms["shape"] = self.shape([feature], truth)
        return Result(terms)


@dataclass(frozen=True)
class Details(Objective):
    """DSSR, Eq. 14: every step's picture, and what it says is missing from the bicubic one."""

    l1: float
    detail: float

    def __call__(
        self,
        network: SuperResolver,
        forward: Forward,
        lr: Tensor,
        hr: Tensor,
        truth: Tensor,
    ) -> Result:
        assert isinstance(network, DSSR)
        missing = hr - network.enlarge(lr).float()
        l1 = detail_error = hr.new_zeros(())
        for detail, sr in network.iterate(lr):
            l1 = l1 + F.l1_loss(sr.float(), hr)
            detail_error = detail_error + F.l1_loss(detail.float(), missing)
        return Result({"l1": self.l1 * l1, "detail": self.detail * detail_error}, sr.float())


@dataclass(frozen=True)
class MetaRestoration(Objective):
    """DMSR, Eq. 5 to 8: the picture, the true degradation, and one that agrees with itself.

    The paper does not say what its squared norms are divided by: here they are sums over a
    kernel's numbers, and means over a map's, as in its Eq. 6.
    """

    l1: float
    reconstruction: float
    consistency: float
    truth: Truth = "kernel"

    def __call__(
        self,
        network: SuperResolver,
        forward: Forward,
        lr: Tensor,
        hr: Tensor,
        truth: Tensor,
    ) -> Result:
        assert isinstance(network, DMSR)
        noise, kernel = (estimate.float() for estimate in network.extractor(lr))
        sr = network.restore(lr, noise, kernel).float()
        terms = {"l1": self.l1 * F.l1_loss(sr, hr)}
        true_noise = lr - _degraded(hr, truth, network.scale)
        known = F.mse_loss(noise, true_noise) + _kernel_error(kernel, truth)
        terms["reconstruction"] = self.reconstruction * known
        if self.consistency:
            simulated = _degraded(hr, kernel, network.scale) + noise
            noise_again, kernel_again = network.extractor(simulated)
            agreement = (
                F.mse_loss(simulated, lr)
                + F.mse_loss(noise_again.float(), noise)
                + _kernel_error(kernel_again.float(), kernel)
            )
            terms["consistency"] = self.consistency * agreement
        return Result(terms, sr)


def root_mean_square(sr: Tensor, hr: Tensor) -> Tensor:
    """Root mean square error of each picture, a mean over the batch ``(N, 3, H, W)``.

    A crop that is met exactly has a bounded gradient too: a tenth of an 8-bit level is added.
    """
    mean_squares = (sr - hr).square().flatten(1).mean(1)
    return (mean_squares + (0.1 / 255) ** 2).sqrt().mean()


def _kernel_error(kernel: Tensor, truth: Tensor) -> Tensor:
    return (kernel - truth).square().sum(1).mean()


def _degraded(hr: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """Blurred by kernels ``(N, side**2)`` and made smaller, without noise, in float32."""
    side = round(kernel.shape[1] ** 0.5)
    with torch.autocast(hr.device.type, enabled=False):
        return imresize(blur(hr, kernel.view(-1, side, side)), Fraction(1, scale))
