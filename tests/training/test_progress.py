"""What a step takes is told from many lines of the log, since a run's decay is timed by it."""

from __future__ import annotations

import pytest

from training import progress
from training.progress import Clock


def test_one_slow_line_does_not_pass_for_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    clock = Clock(0)
    step = 0

    def line(seconds: float) -> float:
        nonlocal now, step
        now, step = now + seconds, step + 50
        return clock.window(step)[1]

    assert line(30.0) == pytest.approx(50 / 30)
    assert clock.step_seconds is None  # the pool was filled
    for _ in range(39):
        line(1.0)
    assert clock.step_seconds == pytest.approx(1 / 50)
    assert line(4.0) == pytest.approx(50 / 4)  # a validation
    assert clock.step_seconds == pytest.approx((39 + 4) / (40 * 50))
    for _ in range(40):
        line(1.0)
    assert clock.step_seconds == pytest.approx(1 / 50)
    clock.begin_phase()
    assert clock.step_seconds is None
    line(9.0)
    line(2.0)
    assert clock.step_seconds == pytest.approx(2 / 50)
