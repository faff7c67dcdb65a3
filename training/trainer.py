"""The training loop: phases at a constant rate, then a decay that the release is made from.

A run's folder holds ``stable/`` (the state of the stable part, always resumable), ``decay/`` while
and after the rate falls, ``log.jsonl``, ``strips/`` and ``ema.safetensors``, the weights' average
as of the last stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr_cli.networks.stages import SuperResolver
from sr_cli.zoo import weights
from sr_cli.zoo.learned import NETWORK
from sr_cli.zoo.manifest import ZooError
from training.corpus import Corpus
from training.degradations import degrader
from training.feeder import Feeder
from training.held_out import HeldOut, degraded
from training.initial import (
    START,
    TrainingError,
    build_network,
    earlier,
    keep_start,
    kept_start,
    told_of,
)
from training.journal import Journal
from training.later import Reading, steps_later
from training.learner import Learner
from training.likeness import Likeness
from training.losses import Objectives
from training.losses.features import FeaturesError
from training.options import Options
from training.packing import DEGRADATION, WEIGHTS
from training.processes import Processes
from training.progress import Clock, Health, Progress
from training.schedule import Position
from training.schema import Recipe
from training.state import RunState, Totals, any_saved
from training.validation import ValidationSet
from training.waiting import Waited

__all__ = ["Options", "Progress", "Trainer", "TrainingError"]

LOG_EVERY = 50
OVERTIME = 1.1
"""How far a decay that was begun in time may exceed the budget, as a factor."""
ASK_EVERY = 10
"""Steps between two agreements of several processes on whether to stop."""


@dataclass(frozen=True)
class Line:
    """What a line of the log is to tell, perhaps not known yet."""

    step: int
    phase: str
    rate: float
    terms: Reading
    waited: Waited


class Trainer:
    """One run of a recipe, in one of perhaps many processes.

    Args:
        recipe: What to do.
        corpus: To learn from.
        validation: To measure on: pictures, or, where the degradation is learned, pairs; or None.
        out: The run's folder.
        device: To compute on.
        options: See there.
        low: Low-quality pictures whose degradation is learned, where a recipe does that.

    Raises:
        TrainingError: The run cannot start.
        RecipeError: The recipe's parts do not fit each other.
    """

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        validation: Corpus | HeldOut | None,
        out: Path,
        device: torch.device,
        options: Options | None = None,
        low: Corpus | None = None,
    ) -> None:
        self.recipe = recipe
        self.out = out
        self.options = options or Options()
        self.processes = Processes(device)
        model = degrader(recipe, low)
        self.notes: list[str] = []
        """What is to be told before the run."""
        start = None if self.options.weights is None else earlier(self.options.weights)
        network = build_network(recipe, model, start, self.notes.append)
        self.start = told_of(start)
        """What the run's weights tell of those that it went on from."""
        try:
            objectives = Objectives(recipe, network, model, self.processes.device)
            for phase in recipe.phase:
                self.processes.share(phase.batch, phase.accumulate)
        except (FeaturesError, ValueError) as error:
            raise TrainingError(str(error)) from None
        self.learner = Learner(
            network,
            recipe,
            objectives,
            self.processes,
            half=self.options.half,
            compiled=self.options.compiled,
            captured=self.options.captured,
        )
        self.feeder = Feeder(corpus, model, recipe.data, recipe.seed, self.processes)
        self.state = RunState(recipe, out, self.processes, self.learner, self.feeder)
        self.position = Position(recipe, recipe.begins)
        self.totals = Totals()
        self.clock = Clock(0, self.processes.device)
        """Since `run` was entered."""
        self.health = Health()
        self.later = steps_later(self.processes.device)
        """Steps after which a line of the log is written: nothing is to wait for it."""
        self.rate = 0.0
        """Of the last step."""
        self._unwritten: set[str] = set()
        """What could not be written and has been complained about."""
        self._warn: Callable[[str], None] = _nothing
        self._begin_phase(self.position)
        self.validation = None
        if validation is not None and self.processes.main:
            if isinstance(validation, Corpus):
                known = {objectives.of(phase).truth for phase in recipe.phase} - {"nothing"}
                truth = known.pop() if known else "nothing"
                validation = degraded(validation, model, recipe.validation, truth)
            scale, strips = recipe.network.scale, recipe.validation.strips
            self.validation = ValidationSet(validation, scale, strips)
        self.likeness = None
        if self.learner.degradation is not None and low is not None and self.processes.main:
            self.likeness = Likeness(
                self.learner.degradation,
                corpus,
                low,
                min(phase.lr_crop for phase in recipe.phase),
                recipe.network.scale,
                recipe.validation.strips,
            )
        self.stopping = False
        """Set it (from a signal handler, say) to stop behind the step that is under way."""

    @property
    def network(self) -> SuperResolver:
        """What is trained."""
        return self.learner.network

    @property
    def average(self) -> SuperResolver:
        """The network of averaged weights."""
        return self.learner.average.network

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.position.step

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, decay included."""
        return self.position.total_steps

    def run(
        self,
        watch: Callable[[Progress], None] | None = None,
        warn: Callable[[str], None] | None = None,
        stepped: Callable[[int, int], None] | None = None,
    ) -> bool:
        """Train until the recipe ends, the budget is used up or `stopping` is set; saves each time.

        An error leaves the last saved state as it was.

        Args:
            watch: Called now and then with the progress.
            warn: Called with a sentence when something could not be saved but the run goes on.
            stepped: Called after every step with those done and those in all.

        Returns:
            Whether the recipe is finished.

        Raises:
            TrainingError: The run has diverged, or the last state could not be saved.
        """
        self._warn = warn or _nothing
        journal = self._journal()
        self._keep_start()
        clock = self.clock = Clock(self.step, self.processes.device)
        terms: dict[str, Tensor] = {}
        line: Line | None = None
        finished = True

        def report() -> None:
            nonlocal line
            if line is not None:
                told, line = line, None
                self._report(told, clock, journal, watch)

        while not self._advance(clock, report):
            if self._must_stop(clock):
                finished = False
                break
            with clock.waiting:
                pairs = self.feeder.next()
            self.rate = self.position.rate
            terms = self.learner.step(pairs, self.rate)
            self.position.forward()
            clock.stepped(self.step)
            if stepped:
                stepped(self.step, self.total_steps)
            if self.step % LOG_EVERY == 0:
                report()
                line = self._line(terms, clock)
            if line is not None and self.step >= line.step + self.later:
                report()
            if self.step % self.recipe.validation.every == 0:
                report()
                self._validate(journal, clock)
            if self._agreed(clock.since_saved > 60 * self.recipe.save_minutes):
                report()
                self._examine(self._reading(terms).values(), self.position.name)
                self._save_or_warn()
                clock.save()
        report()
        if terms and self.step % LOG_EVERY:
            line = self._line(terms, clock)
            report()
        if finished and terms and self.step % self.recipe.validation.every:
            self._validate(journal, clock)
        self._leave(keep=not terms)
        return finished

    def _leave(self, *, keep: bool) -> None:
        """Save the last state and the weights, which are small and may fit where it does not.

        Args:
            keep: See `_write_weights`.

        Raises:
            TrainingError: One of them could not be written, or neither.
        """
        self._examine_weights()
        problems: list[str] = []
        try:
            self.state.save(self.position, self.totals.after(self.clock.since_logged))
        except TrainingError as error:
            problems.append(str(error))
        try:
            if self.processes.main:
                self._write_weights(keep=keep)
        except TrainingError as error:
            problems.append(str(error))
        if problems:
            raise TrainingError(" ".join(problems))
        self.processes.wait()

    def _journal(self) -> Journal | None:
        if not self.processes.main:
            return None
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            return Journal(self.out, curves=self.options.curves)
        except OSError as error:
            raise TrainingError(f"Cannot write to {self.out}: {error.strerror}.") from None
        except ImportError:
            raise TrainingError(
                "Curves need TensorBoard: pip install 'sr-cli[tensorboard]'."
            ) from None

    def _keep_start(self) -> None:
        if self.processes.main:
            try:
                keep_start(self.out, self.start)
            except OSError as error:
                self._complain(f"what the run went on from ({START})", error)

    # The way through the recipe ------------------------------------------------------------------

    def _advance(self, clock: Clock, report: Callable[[], None]) -> bool:
        """Go on to the next phase or to the decay when due; True when everything is done."""
        position = self.position
        while position.phase_over:
            report()
            if position.decaying:
                return True
            if position.last_phase:
                return self._decay()
            position.next_phase()
            self._begin_phase(position)
            clock.begin_phase()
        if self._must_finish(clock):
            report()
            return self._decay()
        return False

    def _begin_phase(self, position: Position) -> None:
        self.learner.begin(position.phase)
        self.feeder.begin(position.phase, self.learner.objective.truth)

    def _decay(self) -> bool:
        if self.recipe.decay_steps == 0:
            return True
        self._save_or_warn()
        self.position.decay()
        return False

    def _agreed(self, here: bool) -> bool:
        """Whether something is so in any process; several ask each other only now and then."""
        if self.processes.count > 1 and self.step % ASK_EVERY:
            return False
        return self.processes.any(here)

    def _must_stop(self, clock: Clock) -> bool:
        last = self.options.last_step
        if last is not None and self.step >= last:
            return True
        budget = self.options.time_budget
        if self.options.finish and self.position.decaying:
            budget *= OVERTIME  # what was cut off a few steps before its end would be worth little
        return self._agreed(self.stopping or clock.running > budget)

    def _must_finish(self, clock: Clock) -> bool:
        """Whether what is left of the budget is just enough for the decay.

        While no step's time is known, or where it is not enough any more, the stable part goes on:
        a decay that is cut off leaves no release, and `resume` would go on in it.
        """
        steps, budget = self.recipe.decay_steps, self.options.time_budget
        wanted = self.options.finish and steps and math.isfinite(budget)
        # A part that was trained alone is no network to be released.
        if not wanted or self.position.decaying or self.position.phase.trains != "all":
            return False
        seconds, left = clock.step_seconds, budget - clock.running
        due = seconds is not None and left < 1.05 * steps * seconds
        fits = seconds is not None and steps * seconds <= left + (OVERTIME - 1) * budget
        return self._agreed(due and fits)

    # Telling -------------------------------------------------------------------------------------

    def _line(self, terms: dict[str, Tensor], clock: Clock) -> Line:
        """A line of the log about the step that was just called for."""
        waited = clock.waiting.take()
        return Line(self.step, self.position.name, self.rate, self._reading(terms), waited)

    def _reading(self, terms: dict[str, Tensor]) -> Reading:
        return Reading(self.processes.means(terms), self.processes.device)

    def _report(
        self,
        line: Line,
        clock: Clock,
        journal: Journal | None,
        watch: Callable[[Progress], None] | None,
    ) -> None:
        found = line.terms.values()
        seconds, speed, wait = clock.window(line.step, line.waited)
        self.totals.seconds += seconds
        self._examine(found, line.phase, line.step)
        progress = Progress(
            line.step,
            self.total_steps,
            line.phase,
            found,
            line.rate,
            speed,
            wait,
            self.totals.psnr_y,
            self.validation.bicubic if self.validation else None,
        )
        facts = {k: v for k, v in asdict(progress).items() if v is not None}
        facts |= {**facts.pop("terms"), "total_seconds": round(self.totals.seconds, 1)}
        self._note(journal, line.step, facts)
        if watch:
            watch(progress)

    def _note(self, journal: Journal | None, step: int, facts: Mapping[str, Any]) -> None:
        if journal is not None:
            try:
                journal.write(step, facts)
            except OSError as error:
                self._complain("the log", error)

    def _complain(self, what: str, error: OSError) -> None:
        """Say once what cannot be written; a run of hours does not end for it."""
        if what not in self._unwritten:
            self._unwritten.add(what)
            reason = error.strerror or error
            self._warn(f"{what.capitalize()} could not be written: {reason}. Training goes on.")

    def _examine(self, terms: Mapping[str, float], phase: str, step: int | None = None) -> None:
        complaint = self.health.complaint(phase, terms["loss"])
        if complaint:
            self._give_up(f"The loss {complaint}", step)

    def _give_up(self, why: str, step: int | None = None) -> None:
        step = self.step if step is None else step
        way = (
            f"a lower learning rate (--set phase.{self.position.phase_index}.learning_rate=...) or "
            "quicker moments (--set optimiser.beta2=0.99)"
        )
        again = (
            f"Its last state is from before: --resume with {way}."
            if any_saved(self.out)
            else f"Nothing was saved yet: begin again with {way}."
        )
        raise TrainingError(f"{why} at step {step}: the run has diverged. {again}")

    def _validate(self, journal: Journal | None, clock: Clock) -> None:
        spent = round(self.totals.seconds + clock.since_logged, 1)
        alone = self.position.phase.trains == "degradation"
        if self.likeness is not None and journal is not None:
            self._look(self.likeness, None if alone else self.average, journal)
        if self.validation is not None and journal is not None and not alone:
            scores = self.validation(
                self.average,
                trains=self.position.phase.trains,
                autocast=self.learner.autocast(),
                strips=self.out / "strips" / f"{self.step:08d}.png",
            )
            if scores.undrawn is not None:
                self._complain("the strips", scores.undrawn)
            totals = self.totals
            totals.psnr_y, totals.bicubic = scores.psnr_y, scores.bicubic
            if scores.psnr_y is not None:
                totals.best_psnr_y = max(scores.psnr_y, totals.best_psnr_y or 0.0)
            facts = {"psnr_y": scores.psnr_y, "bicubic": scores.bicubic, **scores.estimate}
            best = totals.best_psnr_y
            told = {"validation": facts, "best_psnr_y": best, "total_seconds": spent}
            self._note(journal, self.step, told)
        self.processes.wait()

    def _look(self, likeness: Likeness, network: SuperResolver | None, journal: Journal) -> None:
        """Draw and tell what has been learned of a degradation."""
        sheet = self.out / "degradation" / f"{self.step:08d}.png"
        look = likeness(network, self.learner.autocast(), sheet)
        if look.undrawn is not None:
            self._complain("the sheets", look.undrawn)
        self._note(journal, self.step, {"learned": look.learned})

    # State ---------------------------------------------------------------------------------------

    def _write_weights(self, *, keep: bool) -> None:
        """The averaged weights, atomically, with what loading them needs in the header.

        Args:
            keep: Leave a file of this very step as it is: it may have been calibrated since.
        """
        network = self.recipe.network
        options = dict(network.options)
        if "iterations" in options:  # of the phase under way, which may have less than the last
            options["iterations"] = self.average.iterations
        facts = {"recipe": self.recipe.name, "model": self.recipe.model}
        facts |= {"step": str(self.step), "phase": self.position.name}
        path = self.out / WEIGHTS
        if keep and _holds(path, options, facts):
            return
        try:
            state, start = self.average.state_dict(), self.start
            weights.write_exact(path, state, network.family, options, **facts, **start)
            if (learned := self.learner.degradation) is not None:
                path = self.out / DEGRADATION
                pdm = learned.settled.state_dict()
                weights.write_exact(path, pdm, NETWORK, learned.options, **facts)
        except OSError as error:
            raise TrainingError(f"{path} could not be written: {error.strerror}.") from None

    def _save_or_warn(self) -> None:
        self._examine_weights()
        try:
            self.state.save(self.position, self.totals.after(self.clock.since_logged))
        except TrainingError as error:
            self._warn(f"{error} Training goes on.")

    def _examine_weights(self) -> None:
        """A state that cannot be gone on from must not replace one that can.

        The loss is of the weights before the last update, so it does not say it all.
        """
        if not self.learner.finite:
            self._give_up("Weights are no numbers any more")

    def resume(self) -> bool:
        """Go on from the run's folder; False if there is nothing to resume.

        Raises:
            TrainingError: The state is another recipe's, or cannot be read.
        """
        found = self.state.load(self._begin_phase)
        if found is not None:
            self.start = kept_start(self.out)
            self.position, totals = found
            self.totals = totals.on(self.validation.bicubic) if self.validation else totals
        return found is not None


def _holds(path: Path, options: Mapping[str, Any], facts: Mapping[str, str]) -> bool:
    """Whether a weights file is there that says this of itself."""
    try:
        _, header = weights.read(path)
        return facts.items() <= header.items() and weights.told_options(header, path) == options
    except ZooError:
        return False


def _nothing(sentence: str) -> None:
    """Nobody listens."""
