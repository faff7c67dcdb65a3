"""A degradation that is learned from low-quality pictures, beside the network that undoes it.

PDM, Sec. 3.3 and 3.4; orders, losses and numbers are those of the published code.
"""

from __future__ import annotations

from dataclasses import asdict
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from sr_cli.networks.pdm import PDM, PatchGAN
from training import schema
from training.averaging import Average
from training.initial import channels_last
from training.losses.adversary import Adversary, squares
from training.optimisers import load_moments, take_step
from training.pool import Pairs
from training.processes import Processes
from training.recipe import RecipeError
from training.schema import Recipe
from training.tensors import send

FEWEST = 2
"""Crops that a batch has to have for its statistics."""


def options_of(settings: schema.PDM, scale: int) -> dict[str, Any]:
    """Keywords of `sr_cli.networks.pdm.PDM`."""
    known = signature(PDM).parameters
    return {"scale": scale} | {k: v for k, v in asdict(settings).items() if k in known}


def moments(kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Where the weights of kernels lie, and how far they reach.

    Args:
        kernels: ``(N, size, size)`` of sum one.

    Returns:
        Mean row and column ``(N, 2)``, and their variances ``(N, 2)``, pixels.
    """
    along = torch.arange(kernels.shape[-1], device=kernels.device, dtype=kernels.dtype)
    weights = torch.stack((kernels.sum(2), kernels.sum(1)), 1)
    mean = (weights * along).sum(2)
    variance = (weights * (along - mean.unsqueeze(2)).square()).sum(2)
    return mean, variance


def off_centre(kernels: Tensor, scale: int) -> Tensor:
    """Mean squared distance of kernels' centres of mass from where small pixels lie.

    A kernel's middle weight is that of the upper left of the ``scale`` x ``scale`` pixels that one
    small pixel stands for; their middle is ``(scale - 1) / 2`` further.
    """
    mean, _ = moments(kernels)
    return (mean - kernels.shape[-1] // 2 - (scale - 1) / 2).square().sum(1).mean()


def _check_batches(recipe: Recipe, processes: Processes) -> None:
    """Whether every process has crops to normalise over: of one alone nothing would be left.

    Raises:
        RecipeError: One has not.
    """
    for number, phase in enumerate(recipe.phase):
        if phase.batch < FEWEST * processes.count:
            among = f" for {processes.count} processes" if processes.count > 1 else ""
            raise RecipeError(
                f"{recipe.name}: 'phase.{number}.batch' is {phase.batch}{among}, but a degradation "
                f"is learned from at least {FEWEST} crops in each process."
            )


class LearnedDegradation:
    """Degrades high-resolution crops, and learns to do it as low-quality ones look.

    All of it computes in float32: what gives its pictures away is fainter than bfloat16 shows.  Of
    several processes each normalises by the statistics of its own share of a batch.

    Args:
        recipe: Its ``[pdm]``, scale, seed and optimiser.
        processes: With whom a batch is shared.

    Raises:
        RecipeError: A batch has too few crops for all processes.
    """

    def __init__(self, recipe: Recipe, processes: Processes) -> None:
        _check_batches(recipe, processes)
        settings = recipe.pdm
        self.settings = settings
        self.processes = processes
        self.device = processes.device
        torch.manual_seed(recipe.seed + 1)
        self.options = options_of(settings, recipe.network.scale)
        """Keywords of `model`'s constructor."""
        self.model = PDM(**self.options).to(self.device)
        judge = PatchGAN(settings.discriminator_features, settings.discriminator_stride)
        rate = recipe.phase[0].learning_rate
        betas = (recipe.optimiser.beta1, recipe.optimiser.beta2)
        self.average = Average(self.model, settings.ema) if settings.ema else None
        self.adversary = Adversary(
            channels_last(judge.to(self.device)),
            1.0,
            rate,
            betas,
            measure=squares,
            halved=True,
            clip=settings.clip,
        )
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=rate, betas=betas, fused=True)
        self.drawing = torch.Generator().manual_seed(recipe.seed + 4)
        """Of the normal numbers, alike in all processes and on all devices."""

    def step(self, pairs: Pairs, rate: float) -> tuple[Pairs, dict[str, Tensor]]:
        """Learn from one batch, and degrade it.

        Args:
            pairs: High-resolution crops and low-quality ones that do not belong to them.
            rate: Learning rate of degradation and discriminator.

        Returns:
            The same high-resolution crops with what was made of them, on 8-bit levels, by the
            generators before this step or by their average behind it; and what to log.
        """
        hr, real = pairs.hr.float() / 255, pairs.lr.float() / 255
        numbers = self._numbers(hr)
        made, kernels, noise = self.model(hr, *numbers)
        loss = self.adversary.opinion(made)
        if noise is not None:
            loss = loss + self.settings.noise_penalty * noise.square().mean()
        if self.settings.centre:
            loss = loss + self.settings.centre * off_centre(kernels, self.model.kernel.scale)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average = self.processes.average_gradients
        take_step(self.optimiser, rate, average, self.settings.clip)

        made = made.detach()
        self.adversary.forget()
        judged = self.adversary.passes([(made, real)])
        self.adversary.step(rate, average)
        if self.average is not None:
            # Its normalisation remembers what its own pictures are like: those of the generators
            # that swing about it would make another degradation of it, once it is a file.
            self.average.follow(self.model)
            with torch.no_grad():
                made = self.average.network(hr, *numbers)[0]
        told = {"degradation": loss.detach(), "patches": judged}
        lr = (made.clamp(0, 1) * 255).round().byte()
        return Pairs(lr, pairs.hr, pairs.truth), told

    @property
    def settled(self) -> PDM:
        """What makes the pairs: the moving average, if there is one."""
        return self.model if self.average is None else self.average.network

    def _numbers(self, hr: Tensor) -> tuple[Tensor, Tensor]:
        """This process's share of what is drawn for the whole batch, on the device."""
        count, *rest = hr.shape
        whole = torch.empty(1).expand(count * self.processes.count, *rest)  # a shape, no memory
        mine = self.processes.share(len(whole))
        kernel, noise = self.model.draw(whole, self.drawing)
        return send(kernel[mine], self.device), send(noise[mine], self.device)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that learns here."""
        averaged = () if self.average is None else (self.average.network,)
        return self.model, self.adversary.discriminator, *averaged

    def state(self) -> dict[str, Any]:
        """Everything that going on needs."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversary": self.adversary.state(),
            "drawing": self.drawing.get_state(),
            "average": {} if self.average is None else self.average.network.state_dict(),
            "average_steps": 0 if self.average is None else self.average.steps,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.model.load_state_dict(state["model"])
        load_moments(self.optimiser, state["optimiser"])
        self.adversary.load(state["adversary"])
        self.drawing.set_state(state["drawing"].cpu())
        if self.average is not None:
            self.average.network.load_state_dict(state["average"])
            self.average.steps = state["average_steps"]
