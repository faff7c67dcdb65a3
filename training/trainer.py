"""The training loop: phases at a constant rate, then a decay that the release is made from.

A run's folder holds ``state.pt`` (the stable part, always resumable), ``decay.pt`` while and after
the rate falls, ``log.jsonl`` and, when the decay is done, ``ema.safetensors``.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sr_cli.degradation.two_stage import TwoStageModel
from sr_cli.networks.dan import DAN
from training.corpus import Corpus, Cropper
from training.losses import VectorLoss, label_deviation
from training.pool import Pairs, Pool
from training.recipe import Phase, Recipe, Start
from training.schedule import decay_rate, stable_rate
from training.unroll import unroll
from training.validation import ValidationSet

LOG_EVERY = 50
SAVE_EVERY_SECONDS = 300.0


class TrainingError(Exception):
    """The run cannot start or go on; the message says why."""


@dataclass(frozen=True)
class Progress:
    """What the loop tells whoever watches."""

    step: int
    steps: int
    phase: str
    loss: float
    rate: float
    steps_per_second: float
    wait: float
    """Share of the time spent on drawing and degrading pairs."""
    psnr_y: float | None
    bicubic: float | None


def channels_last(network: DAN) -> DAN:
    """The network in the memory layout that is fast on CPUs and GPUs alike."""
    laid_out: DAN = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out


def build_network(recipe: Recipe) -> DAN:
    """A freshly initialised network, seeded by the recipe, at the first phase's iterations."""
    torch.manual_seed(recipe.seed)
    network = DAN(**asdict(recipe.network), iterations=recipe.phase[0].iterations)
    _initialise(network, recipe.start)
    return network


def _start_from(network: DAN, path: Path) -> None:
    """Load the weights of an earlier run in place of fresh ones."""
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(f"Cannot start from {path}: {reason}") from None


@torch.no_grad()
def _initialise(network: DAN, start: Start) -> None:
    weight = network.image_head.weight
    count = round(start.high_pass_filters * len(weight))
    if count:
        filters = weight[:count]
        filters -= filters.mean((2, 3), keepdim=True)
        filters *= start.high_pass_gain
        assert network.image_head.bias is not None
        network.image_head.bias[:count] = 0
    for module in network.estimator.body.modules():
        if isinstance(module, nn.Conv2d):
            module.weight *= start.estimator_gain
    if start.residual_gain != 1:
        for block in network.restorer.body:
            last = [m for m in block.modules() if isinstance(m, nn.Conv2d)][-1]
            last.weight *= start.residual_gain
            assert last.bias is not None
            last.bias *= start.residual_gain


def _averaged(network: DAN, decay: float) -> AveragedModel:
    """The moving average, whose first steps weigh more so that it forgets the start."""

    @torch.no_grad()
    def update(averages: Any, currents: Any, count: Any) -> None:
        steps = float(count)
        weight = 1 - min(decay, (1 + steps) / (10 + steps))
        for average, current in zip(averages, currents, strict=True):
            average.lerp_(current, weight)

    return AveragedModel(network, multi_avg_fn=update)


class Trainer:
    """One run of a recipe in one process."""

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        validation: Corpus | None,
        out: Path,
        device: torch.device,
        *,
        half: bool,
        weights: Path | None = None,
    ) -> None:
        self.recipe = recipe
        self.out = out
        self.device = device
        self.half = half
        self.model = TwoStageModel(recipe.network.scale, recipe.data.preset)
        self.drawing = torch.Generator().manual_seed(recipe.seed + 1)
        self.noise = torch.Generator(device).manual_seed(recipe.seed + 2)
        self.cropper = Cropper(corpus.pictures, self.drawing)
        self.vector_loss = VectorLoss(recipe.loss, label_deviation(self.model))
        self.validation = (
            ValidationSet(
                validation.pictures,
                self.model,
                recipe.validation.crop,
                recipe.validation.degradations,
            )
            if validation
            else None
        )
        self.phase_index = 0
        self.phase_step = 0
        self.decaying = False
        self.step = 0
        self.psnr_y: float | None = None
        self.seconds = 0.0
        self.gradient_norm = torch.zeros((), device=device)
        self.stopping = False
        """Set it (from a signal handler, say) to stop behind the step that is under way."""
        network = build_network(recipe)
        if weights is not None:
            _start_from(network, weights)
        self.network = channels_last(network.to(device))
        self.ema = _averaged(self.network, recipe.optimiser.ema)
        self._begin_phase()

    @property
    def phase(self) -> Phase:
        """The phase whose batches are being trained on."""
        return self.recipe.phase[self.phase_index]

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, decay included."""
        return self.recipe.stable_steps + self.recipe.decay_steps

    @property
    def average(self) -> DAN:
        """The network of averaged weights."""
        module = self.ema.module
        assert isinstance(module, DAN)
        return module

    def run(
        self, time_budget: float = math.inf, watch: Callable[[Progress], None] | None = None
    ) -> bool:
        """Train until the recipe ends, the budget is used up or `stopping` is set; saves each time.

        An error leaves the last saved state as it was.

        Args:
            time_budget: Seconds from now.
            watch: Called now and then with the progress.

        Returns:
            Whether the recipe is finished.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        began = saved = logged = time.monotonic()
        waited = 0.0
        last_step = self.step
        while not self._advance():
            if self.stopping or time.monotonic() - began > time_budget:
                self.seconds += time.monotonic() - logged
                self.save()
                return False
            fetch = time.monotonic()
            pairs = self.pool.next()
            waited += time.monotonic() - fetch
            terms = self._train_step(pairs)
            self.step += 1
            self.phase_step += 1
            now = time.monotonic()
            if self.step % LOG_EVERY == 0:
                progress = self._progress(terms, now - logged, waited, self.step - last_step)
                self.seconds += now - logged
                self._log({**asdict(progress), **{k: float(v) for k, v in terms.items()}})
                if watch:
                    watch(progress)
                logged, waited, last_step = now, 0.0, self.step
            if self.validation and self.step % self.recipe.validation.every == 0:
                self._validate()
            if now - saved > SAVE_EVERY_SECONDS:
                self.save()
                saved = time.monotonic()
        self.seconds += time.monotonic() - logged
        self._validate()
        self.save()
        save_file(self.ema_state(), self.out / "ema.safetensors")
        return True

    def ema_state(self) -> dict[str, Tensor]:
        """The averaged weights, contiguous on the CPU."""
        state = self.average.state_dict()
        return {key: value.cpu().contiguous() for key, value in state.items()}

    def _advance(self) -> bool:
        """Go on to the next phase or to the decay when due; True when everything is done."""
        if self.decaying:
            return self.phase_step >= self.recipe.decay_steps
        while self.phase_step >= self.phase.steps:
            if self.phase_index + 1 == len(self.recipe.phase):
                self.save()
                self.decaying, self.phase_step = True, 0
                return self.recipe.decay_steps == 0
            self.phase_index += 1
            self.phase_step = 0
            self._begin_phase()
        return False

    def _begin_phase(self) -> None:
        phase = self.phase
        self.gradient_norm.zero_()  # another loss has another scale
        for network in (self.network, self.average):
            if phase.iterations != network.iterations:
                unroll(network, phase.iterations)
        for parameter in self.network.parameters():
            parameter.requires_grad_(phase.trains == "all")
        if phase.trains == "estimator":
            for part in (
                self.network.image_head,
                self.network.degradation_head,
                self.network.degradation_tail,
                self.network.estimator,
            ):
                part.requires_grad_(True)
            self.network.initial_degradation.requires_grad_(True)
        options = self.recipe.optimiser
        self.optimiser = torch.optim.Adam(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=phase.learning_rate,
            betas=(options.beta1, options.beta2),
            fused=True,
        )
        self.pool = Pool(
            lambda: self._make_pairs(phase),
            self.recipe.data.pool,
            phase.batch,
            self.recipe.data.reuse,
            self.drawing,
        )

    @torch.no_grad()
    def _make_pairs(self, phase: Phase) -> Pairs:
        crops = self.cropper(phase.batch, phase.lr_crop * self.recipe.network.scale)
        crops = crops.to(self.device, non_blocking=True)
        drawn = self.model.sample(phase.batch, self.drawing)
        lr = self.model.apply(crops.float() / 255, drawn, self.noise)
        return Pairs((lr * 255).round().byte(), crops, drawn.vector().to(self.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def _train_step(self, pairs: Pairs) -> dict[str, Tensor]:
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        lr = (pairs.lr.float() / 255).contiguous(memory_format=torch.channels_last)
        terms: dict[str, Tensor] = {}
        with self._autocast():
            if self.phase.trains == "estimator":
                vector = self.network.estimate(lr)
            else:
                sr, vector = self.network(lr)
                terms["l1"] = F.l1_loss(sr.float(), pairs.hr.float() / 255)
        terms["vector"] = self.vector_loss(vector, pairs.vector)
        loss = torch.stack(list(terms.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.optimiser.clip:
            self._limit_gradient()
        self.optimiser.step()
        self.ema.update_parameters(self.network)
        return {"loss": loss.detach(), **{k: v.detach() for k, v in terms.items()}}

    @torch.no_grad()
    def _limit_gradient(self) -> None:
        """Scale the gradient down to a multiple of its usual norm; no device has to wait for it."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        usual = torch.where(self.gradient_norm > 0, self.gradient_norm, norm)
        factor = (self.recipe.optimiser.clip * usual / (norm + 1e-12)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
        self.gradient_norm = usual.lerp(norm * factor, 0.01)

    def _rate(self) -> float:
        if self.decaying:
            return decay_rate(self.phase, self.phase_step, self.recipe.decay_steps)
        return stable_rate(self.phase, self.phase_step)

    def _progress(
        self, terms: dict[str, Tensor], seconds: float, waited: float, steps: int
    ) -> Progress:
        loss = float(terms["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} at step {self.step}. Resume from the last state with a "
                "lower learning rate (--set phase.N.learning_rate=...)."
            )
        name = "decay" if self.decaying else f"phase {self.phase_index + 1}"
        bicubic = self.validation.bicubic if self.validation else None
        return Progress(
            self.step,
            self.total_steps,
            name,
            loss,
            self._rate(),
            steps / max(seconds, 1e-9),
            waited / max(seconds, 1e-9),
            self.psnr_y,
            bicubic,
        )

    def _validate(self) -> None:
        if self.validation is None:
            return
        scores = self.validation(
            self.average,
            estimator_only=self.phase.trains == "estimator",
            autocast=self._autocast(),
        )
        self.psnr_y = scores.psnr_y
        self._log({"step": self.step, "validation": asdict(scores)})

    def _log(self, entry: dict[str, Any]) -> None:
        entry["total_seconds"] = round(self.seconds, 1)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    # State --------------------------------------------------------------------------------------

    def save(self) -> Path:
        """Write everything the run needs to go on to the step, atomically."""
        path = self.out / ("decay.pt" if self.decaying else "state.pt")
        pairs = self.pool.pairs
        state = {
            "recipe": self.recipe.name,
            "stable_steps": self.recipe.stable_steps,
            "position": [self.phase_index, self.phase_step, self.step, self.decaying],
            "iterations": self.network.iterations,
            "seconds": self.seconds,
            "psnr_y": self.psnr_y,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "drawing": self.drawing.get_state(),
            "noise": self.noise.get_state(),
            "pool": [pairs.lr, pairs.hr, pairs.vector] if pairs else None,
            "pool_given": self.pool.given,
            "gradient_norm": self.gradient_norm,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)
        return path

    def resume(self) -> bool:
        """Go on from the run's folder; False if there is nothing to resume.

        Raises:
            TrainingError: The state is another recipe's, or cannot be read.
        """
        decay, stable = self.out / "decay.pt", self.out / "state.pt"
        if decay.exists() and self._load(decay):
            return True
        return stable.exists() and self._load(stable)

    def _load(self, path: Path) -> bool:
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise TrainingError(f"{path} cannot be read as a training state: {error}") from None
        if state["recipe"] != self.recipe.name:
            raise TrainingError(
                f"{path} belongs to the recipe '{state['recipe']}', not '{self.recipe.name}'. "
                "Choose another --out folder."
            )
        index, phase_step, step, decaying = state["position"]
        if decaying and state["stable_steps"] != self.recipe.stable_steps:
            return False  # The stable part has been lengthened: branch again, later.
        self.phase_index = index
        self._begin_phase()
        self.phase_step, self.step, self.decaying = phase_step, step, decaying
        self.network.iterations = self.average.iterations = state["iterations"]
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.drawing.set_state(state["drawing"].cpu())
        self.noise.set_state(state["noise"].cpu())
        self.pool.pairs = Pairs(*state["pool"]) if state["pool"] else None
        self.pool.given = state["pool_given"]
        self.seconds, self.psnr_y = state["seconds"], state["psnr_y"]
        self.gradient_norm = state["gradient_norm"]
        return True
