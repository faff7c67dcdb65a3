"""Where a run is, and the learning rate there: warm-up, stable, decay."""

from __future__ import annotations

from dataclasses import dataclass

from training.schema import Phase, Recipe


@dataclass
class Position:
    """A place in a recipe."""

    recipe: Recipe
    phase_index: int = 0
    phase_step: int = 0
    """Steps taken in the phase, or in the decay."""
    step: int = 0
    """Steps taken in all."""
    decaying: bool = False
    branched_at: int = 0
    """The step at which the decay began."""
    branch_rate: float = 0.0
    """The learning rate there."""

    @property
    def phase(self) -> Phase:
        """The phase whose batches are being trained on."""
        return self.recipe.phase[self.phase_index]

    @property
    def name(self) -> str:
        """The phase in a word or two."""
        return "decay" if self.decaying else f"phase {self.phase_index + 1}"

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, decay included."""
        stable = self.branched_at if self.decaying else self.recipe.stable_steps
        return stable + self.recipe.decay_steps

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        if self.decaying:
            # States of earlier versions do not have it.
            begins = self.branch_rate or stable_rate(self.phase, self.phase.steps)
            return decay_rate(begins, self.phase_step, self.recipe.decay_steps)
        return stable_rate(self.phase, self.phase_step)

    @property
    def phase_over(self) -> bool:
        """Whether the phase's steps, or the decay's, have been taken."""
        steps = self.recipe.decay_steps if self.decaying else self.phase.steps
        return self.phase_step >= steps

    @property
    def last_phase(self) -> bool:
        """Whether no phase but the decay follows."""
        return self.phase_index + 1 == len(self.recipe.phase)

    def forward(self) -> None:
        """Count a step."""
        self.step += 1
        self.phase_step += 1

    def next_phase(self) -> None:
        """Go on to the next phase."""
        self.phase_index += 1
        self.phase_step = 0

    def decay(self) -> None:
        """Branch off into the decay."""
        self.branch_rate = self.rate
        self.decaying, self.branched_at, self.phase_step = True, self.step, 0


def stable_rate(phase: Phase, step: int) -> float:
    """The rate at a step (from 0) of a phase: warm-up, then constant but for the halvings."""
    halvings = sum(step >= at for at in phase.halve_at)
    rate = phase.learning_rate * 0.5**halvings
    if step < phase.warmup:
        rate *= (step + 1) / phase.warmup
    return rate


def decay_rate(begins: float, step: int, steps: int) -> float:
    """The rate at a step (from 0) of the final decay: a straight line from that before to zero."""
    return begins * (1 - (step + 1) / (steps + 1))
