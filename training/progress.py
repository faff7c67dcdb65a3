"""Time and speed of a run under way, and what is told of them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from training.waiting import Waited, Waiting

LINES = 40
"""Of the log, from which the time of a step is told."""
FEWEST = 10
"""Steps from which it is told before there are any."""


@dataclass(frozen=True)
class Progress:
    """What the loop tells whoever watches."""

    step: int
    steps: int
    phase: str
    terms: Mapping[str, float]
    """The loss and its parts."""
    rate: float
    steps_per_second: float
    wait: float
    """Share of the time for which the device had no batch to learn from (`Waiting`)."""
    psnr_y: float | None
    bicubic: float | None


class Health:
    """Tells a run that has diverged from one that has met a hard batch.

    Losses of single batches differ by a factor of some; those of a run whose weights have been
    thrown by thousands.
    """

    LIMIT = 10.0
    """Times the highest loss that the phase has told before."""

    def __init__(self) -> None:
        self.phase = ""
        self.highest = 0.0

    def complaint(self, phase: str, loss: float) -> str | None:
        """What is wrong with a loss, as the end of a sentence that begins with "The loss".

        Args:
            phase: Another one has another scale.
            loss: Of the step that was just taken.
        """
        if not math.isfinite(loss):
            return f"became {loss}"
        if phase != self.phase:
            self.phase, self.highest = phase, 0.0
        if 0 < self.LIMIT * self.highest < loss:
            return f"rose from at most {self.highest:.3g} to {loss:.3g}"
        self.highest = max(self.highest, loss)
        return None


class Clock:
    """Time since a run was entered, and since the last line of its log.

    Args:
        step: At which it was entered.
        device: What learns.
    """

    def __init__(self, step: int, device: torch.device) -> None:
        self.began = self.saved = self.logged = time.monotonic()
        self.step = step
        """Of the last line of the log."""
        self.waiting = Waiting(device)
        """For data, since then."""
        self._warm = False
        self._lines: deque[tuple[float, int]] = deque(maxlen=LINES)
        """Seconds and steps of the phase's last lines."""
        self._first: tuple[float, int] | None = None
        """When the phase's first step was done, and which that was."""
        self._last = step
        """The last step done."""

    @property
    def running(self) -> float:
        """Seconds since the run was entered."""
        return time.monotonic() - self.began

    @property
    def step_seconds(self) -> float | None:
        """What a step has taken of late, its share of validations included.

        Before the phase's second line, the time since its first step, which filled the pool; None
        before ten more.  One line alone says little: the one with a validation in it may have taken
        twice as long as any other.
        """
        steps = sum(steps for _, steps in self._lines)
        if steps:
            return sum(seconds for seconds, _ in self._lines) / steps
        if self._first is None or self._last - self._first[1] < FEWEST:
            return None
        return (time.monotonic() - self._first[0]) / (self._last - self._first[1])

    def stepped(self, step: int) -> None:
        """A step has been taken."""
        self._last = step
        if self._first is None:
            self._first = time.monotonic(), step

    def begin_phase(self) -> None:
        """Steps of another kind follow."""
        self._warm = False
        self._lines.clear()
        self._first = None

    @property
    def since_logged(self) -> float:
        """Seconds since the last line of the log."""
        return time.monotonic() - self.logged

    @property
    def since_saved(self) -> float:
        """Seconds since the last state was saved."""
        return time.monotonic() - self.saved

    def save(self) -> None:
        """A state has been saved."""
        self.saved = time.monotonic()

    def window(self, step: int, waited: Waited) -> tuple[float, float, float]:
        """Close the time since the last line of the log, and begin the next.

        Args:
            step: Up to which it is to be told, and which is just done.
            waited: Of the time since then, from `waiting`.

        Returns:
            Its seconds, its steps a second, and the share of it spent waiting for data.
        """
        seconds_waited = waited.seconds
        now = time.monotonic()
        seconds = max(now - self.logged, 1e-9)
        steps = step - self.step
        if self._warm:
            self._lines.append((seconds, steps))
        self._warm = True
        self.logged, self.step = now, step
        return seconds, steps / seconds, seconds_waited / seconds
