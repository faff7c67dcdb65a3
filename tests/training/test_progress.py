"""What a step takes is told from many lines of the log, since a run's decay is timed by it."""

from __future__ import annotations

import time

import pytest
import torch

from training import progress, waiting
from training.later import LATER, Moment, Reading, steps_later
from training.progress import Clock
from training.waiting import Waiting


def test_one_slow_line_does_not_pass_for_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    clock = Clock(0, torch.device("cpu"))
    step = 0

    def line(seconds: float) -> float:
        nonlocal now, step
        now, step = now + seconds, step + 50
        return clock.window(step, clock.waiting.take())[1]

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


def test_a_processor_waits_for_as_long_as_the_fetching_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now)
    found = Waiting(torch.device("cpu"))
    for seconds in (2.0, 0.5):
        with found:
            now += seconds
        now += 10.0  # of work
    assert found.take().seconds == pytest.approx(2.5)
    assert found.take().seconds == 0


class Mark:
    """An event of a GPU whose clock is `now`, in seconds."""

    now = 0.0
    done = 0.0
    """What it has been waited for."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: None) -> None:
        self.at = Mark.now

    def synchronize(self) -> None:
        Mark.done = self.at

    def elapsed_time(self, end: Mark) -> float:
        assert end.at <= Mark.done
        return 1000 * (end.at - self.at)


def test_what_a_gpu_waits_is_added_up_from_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Mark)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    found = Waiting(torch.device("cuda"))
    for seconds in (2.0, 0.0, 0.5):
        with found:
            Mark.now += seconds
        Mark.now += 10.0  # of work
    assert found.take().seconds == pytest.approx(2.5)
    assert found.take().seconds == 0


def test_what_is_read_later_is_waited_for_up_to_its_own_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[int] = []

    class Event:
        made = 0

        def record(self, stream: None) -> None:
            Event.made += 1
            self.number = Event.made

        def synchronize(self) -> None:
            waited.append(self.number)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    loss = torch.tensor(0.25)
    first = Reading({"loss": loss, "l1": loss / 2}, torch.device("cuda"))
    loss.fill_(7)  # as a graph that is replayed does
    Moment(torch.device("cuda"))
    assert not waited
    assert first.values() == {"loss": 0.25, "l1": 0.125}
    assert waited == [1]


def test_only_what_is_queued_is_looked_at_later() -> None:
    assert steps_later(torch.device("cpu")) == 0
    assert steps_later(torch.device("cuda:0")) == LATER > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_not_waited_for_beyond_the_moment() -> None:
    device = torch.device("cuda")
    number = torch.ones((), device=device)
    torch.cuda.synchronize()
    reading = Reading({"one": number}, device)
    torch.cuda._sleep(int(4e9))  # cycles: about two seconds
    began = time.monotonic()
    assert reading.values() == {"one": 1.0}
    assert time.monotonic() - began < 1.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_waits_only_while_it_has_nothing_else_to_do() -> None:
    found = Waiting(torch.device("cuda"))
    torch.cuda.synchronize()
    with found:
        time.sleep(0.2)
    assert found.take().seconds == pytest.approx(0.2, abs=0.05)
    torch.cuda._sleep(int(2e9))  # cycles: about a second
    with found:
        time.sleep(0.2)
    assert found.take().seconds < 0.02
