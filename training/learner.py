"""What learns: a network, the average of its weights, its optimiser, perhaps an adversary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sr_cli.networks.dan import DAN
from sr_cli.networks.pdm import PatchGAN
from sr_cli.networks.stages import SuperResolver
from sr_cli.networks.unet_discriminator import UNetDiscriminator
from training.averaging import Average
from training.capture import Captured, Recorded
from training.compiling import compile_parts
from training.initial import TrainingError, channels_last
from training.losses import Objectives
from training.losses.adversary import Adversary, cross_entropy, squares
from training.losses.objective import Forward, Objective, Result
from training.optimisers import Optimiser
from training.pool import Pairs
from training.processes import Processes
from training.schema import Phase, Recipe, Trained
from training.unpaired import LearnedDegradation
from training.unroll import unroll

R = TypeVar("R", Captured, Recorded)


class Learner:
    """Takes steps; nothing in a step makes a GPU wait.

    Args:
        network: To be trained, anywhere.
        recipe: Losses and optimiser.
        objectives: Make the loss of each phase.
        processes: With whom gradients are averaged.
        half: Compute in bfloat16 where that is safe.
        compiled: Let `torch.compile` rewrite parts of the network.
        captured: On a GPU, replay the passes of a step as one graph where the objective allows it.
    """

    def __init__(
        self,
        network: SuperResolver,
        recipe: Recipe,
        objectives: Objectives,
        processes: Processes,
        *,
        half: bool,
        compiled: bool = False,
        captured: bool = True,
    ) -> None:
        self.recipe = recipe
        self.objectives = objectives
        self.processes = processes
        self.device = processes.device
        self.half = half
        self.compiled = compiled
        self.captured = captured and self.device.type == "cuda"
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes stay the same for thousands of steps
            # What is not to be in half precision is not to be in TF32 either.
            torch.backends.cudnn.allow_tf32 = False
        learned = recipe.data.degradation == "learned"
        self.limit = recipe.pdm.clip if learned else 0.0
        """Largest norm of a gradient where the degradation is learned; 0 for no limit."""
        self.network = channels_last(network.to(self.device))
        self.average = Average(self.network, recipe.optimiser.ema)
        self.adversary = self._adversary() if recipe.loss.gan else None
        self.degradation: LearnedDegradation | None = None
        if learned:
            self.degradation = LearnedDegradation(recipe, processes)
        self.gradient_norm = torch.zeros((), device=self.device)
        self.optimiser: Optimiser
        self.objective: Objective
        self.forward: Forward
        self.graph: Captured | None = None
        """Of the phase, once its first batch has come."""
        self.judging: Recorded | None = None
        """The adversary's, likewise."""
        self.made: list[tuple[Tensor, Tensor]] = []
        """What the passes made and the truth, for the adversary; one per part of a batch."""

    def _adversary(self) -> Adversary:
        options = self.recipe.optimiser
        loss = self.recipe.loss
        rate = self.recipe.phase[0].learning_rate
        betas = (options.beta1, options.beta2)
        patches = loss.discriminator == "patch"
        kind = PatchGAN if patches else UNetDiscriminator
        discriminator: nn.Module = channels_last(kind(loss.discriminator_features))
        return Adversary(
            discriminator.to(self.device),
            loss.gan,
            rate,
            betas,
            loss.discriminator_mean,
            squares if patches else cross_entropy,
            halved=patches,
            # Published is the limit of a gradient that has the weight in it, unlike this one's.
            clip=self.limit / loss.gan,
        )

    def begin(self, phase: Phase) -> None:
        """Turn to a phase: its iterations, what is trained, a fresh optimiser."""
        self.phase = phase
        self._forget_graphs()
        self.gradient_norm.zero_()  # another loss has another scale
        self.average.begin()
        for network in (self.network, self.average.network):
            _set_iterations(network, self._wanted_iterations)
        self.objective = self.objectives.of(phase)
        self.network.zero_grad()  # what is not trained any more has none to be averaged or limited
        whole = phase.trains in ("all", "degradation")
        self.network.requires_grad_(whole)
        if not whole:
            _train_part(self.network, phase.trains)
        self.optimiser = Optimiser(
            (p for p in self.network.parameters() if p.requires_grad),
            self.recipe.optimiser,
            phase.learning_rate,
        )
        forward = self.objective.forward(self.network)
        self.forward = compile_parts(self.network, forward) if self.compiled else forward

    @property
    def _wanted_iterations(self) -> int | None:
        """Of the phase, or as the network was made; None if it does not iterate."""
        return self.phase.iterations or self.recipe.network.options.get("iterations")

    def autocast(self) -> torch.autocast:
        """The precision to run networks in."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def step(self, pairs: Pairs, rate: float) -> dict[str, Tensor]:
        """Learn from one batch.

        Args:
            pairs: This process's share of it.
            rate: Learning rate.

        Returns:
            The loss and its terms, detached, on the device.

        Raises:
            TrainingError: The step cannot be recorded as a graph.
        """
        learned: dict[str, Tensor] = {}
        if self.degradation is not None:
            pairs, learned = self.degradation.step(pairs, rate)
            if self.phase.trains == "degradation":
                return {"loss": learned["degradation"], **learned}
        if self.captured and self.objective.capturable:
            if self.graph is None:
                forget = self.optimiser.zero_grad
                self.graph = _recorded(lambda: Captured(self._passes, forget, pairs))
            found = self.graph(pairs)
        else:
            self.optimiser.zero_grad()
            found = self._passes(pairs)
        self.processes.average_gradients(self.network.parameters())
        if self.recipe.optimiser.clip:
            self._limit_gradient()
        if self.limit:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.limit)
        self.optimiser.step(rate)
        self.average.update(self.network)
        terms = {"loss": torch.stack(list(found.values())).sum(), **found, **learned}
        if self.adversary is not None and self.made:
            terms |= self._judge(self.adversary, rate)
        return terms

    def _judge(self, adversary: Adversary, rate: float) -> dict[str, Tensor]:
        """The adversary's own step, on what the network has just made."""

        def passes() -> dict[str, Tensor]:
            with self.autocast():
                return {"discriminator": adversary.passes(self.made)}

        if self.graph is not None:  # what it made lies in one place
            if self.judging is None:
                self.judging = _recorded(lambda: Recorded(passes, adversary.forget, self.device))
            found = self.judging()
        else:
            adversary.forget()
            found = passes()
            self.made = []
        adversary.step(rate, self.processes.average_gradients)
        return found

    def _forget_graphs(self) -> None:
        self.graph = self.judging = None
        self.made = []

    def _passes(self, pairs: Pairs) -> dict[str, Tensor]:
        """Forward and back through every part of a batch, gradients added up.

        Args:
            pairs: The batch.

        Returns:
            The terms, detached.
        """
        parts = self.phase.accumulate
        size = len(pairs) // parts
        self.made = []
        found: list[dict[str, Tensor]] = []
        for i in range(parts):
            some = pairs[i * size : (i + 1) * size]
            hr = some.hr.float() / 255
            result = self._pass(some, hr)
            terms = {key: term / parts for key, term in result.terms.items()}
            torch.stack(list(terms.values())).sum().backward()
            found.append({key: term.detach() for key, term in terms.items()})
            if self.adversary is not None and result.sr is not None:
                self.made.append((result.sr.detach(), hr))
        return {key: torch.stack([f[key] for f in found]).sum() for key in found[0]}

    def _pass(self, pairs: Pairs, hr: Tensor) -> Result:
        lr = (pairs.lr.float() / 255).contiguous(memory_format=torch.channels_last)
        with self.autocast():
            result = self.objective(self.network, self.forward, lr, hr, pairs.truth)
            if self.adversary is not None and result.sr is not None:
                result.terms["gan"] = self.adversary.opinion(result.sr)
        return result

    @torch.no_grad()
    def _limit_gradient(self) -> None:
        """Scale the gradient down to a multiple of its usual norm; no device has to wait for it."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        usual = torch.where(self.gradient_norm > 0, self.gradient_norm, norm)
        factor = (self.recipe.optimiser.clip * usual / (norm + 1e-12)).clamp(max=1.0)
        torch._foreach_mul_(gradients, factor)
        self.gradient_norm = usual.lerp(norm * factor, 0.01)

    @property
    def finite(self) -> bool:
        """Whether all weights, their average and those of whatever learns beside are numbers."""
        networks: list[nn.Module] = [self.network, self.average.network]
        if self.adversary is not None:
            networks.append(self.adversary.discriminator)
        if self.degradation is not None:
            networks += self.degradation.networks
        tensors = [
            tensor
            for network in networks
            for tensor in network.state_dict().values()
            if tensor.is_floating_point()
        ]
        return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())

    def state(self) -> dict[str, Any]:
        """Everything that going on needs, on whatever device it is."""
        return {
            "iterations": getattr(self.network, "iterations", 0),
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state(),
            "gradient_norm": self.gradient_norm,
            "adversary": self.adversary.state() if self.adversary else {},
            "degradation": self.degradation.state() if self.degradation else {},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`; the phase must have begun."""
        self._forget_graphs()
        if state["iterations"]:
            for network in (self.network, self.average.network):
                network.iterations = state["iterations"]
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        for network in (self.network, self.average.network):
            _set_iterations(network, self._wanted_iterations)  # which may have been changed since
        self.optimiser.load(state["optimiser"])
        self.gradient_norm = state["gradient_norm"].to(self.device)
        if self.adversary is not None and state["adversary"]:
            self.adversary.load(state["adversary"])
        if self.degradation is not None:
            self.degradation.load(state["degradation"])


def _recorded(record: Callable[[], R]) -> R:
    """What recording makes of passes, or why they cannot be recorded."""
    try:
        return record()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(
            f"A step could not be recorded as a CUDA graph ({reason}). Add --no-capture."
        ) from None


def _set_iterations(network: SuperResolver, iterations: int | None) -> None:
    if iterations is None:
        return
    if isinstance(network, DAN):
        unroll(network, iterations)
    else:
        network.iterations = iterations  # type: ignore[assignment]


def _train_part(network: SuperResolver, part: Trained) -> None:
    """Let a DAN's Estimator or its Restorer learn, with the heads and tail that it needs."""
    assert isinstance(network, DAN)
    parts: list[nn.Module] = [network.image_head, network.degradation_head]
    if part == "estimator":
        parts += [network.degradation_tail, network.estimator]
        network.initial_degradation.requires_grad_(True)
    else:
        parts += [network.restorer, network.image_tail]
    for module in parts:
        module.requires_grad_(True)
