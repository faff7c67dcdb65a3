"""Learning rates: warm-up, stable, decay."""

from __future__ import annotations

from training.recipe import Phase


def stable_rate(phase: Phase, step: int) -> float:
    """The rate at a step (from 0) of a phase: warm-up, then constant but for the halvings."""
    halvings = sum(step >= at for at in phase.halve_at)
    rate = phase.learning_rate * 0.5**halvings
    if step < phase.warmup:
        rate *= (step + 1) / phase.warmup
    return rate


def decay_rate(phase: Phase, step: int, steps: int) -> float:
    """The rate at a step (from 0) of the final decay: a straight line from the phase's to zero."""
    return stable_rate(phase, phase.steps) * (1 - (step + 1) / (steps + 1))
