"""How long a device stands still because its next batch is not there yet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

import torch


class Waiting:
    """Adds up the time for which a device waits, as a context around the fetching of a batch.

    A processor waits for as long as that takes.  A GPU waits from the end of the work that it was
    given before to the moment at which it could begin on the batch, by its own clock: drawing and
    queueing pairs while it is busy costs it nothing.

    Args:
        device: What learns from the batches.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._began = 0.0
        self._marks: list[torch.cuda.Event] = []
        """Of a GPU's waiting, in turn its beginning and its end."""

    def __enter__(self) -> None:
        if self.device.type == "cuda":
            self._mark()
        else:
            self._began = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.device.type == "cuda":
            self._mark()
        else:
            self._seconds += time.monotonic() - self._began

    def _mark(self) -> None:
        """Mark a point in the stream of what learns."""
        self._marks.append(torch.cuda.Event(enable_timing=True))
        self._marks[-1].record(torch.cuda.current_stream(self.device))

    def take(self) -> Waited:
        """What was waited since this was called last."""
        found = Waited(self._seconds, tuple(self._marks))
        self._seconds, self._marks = 0.0, []
        return found


@dataclass(frozen=True)
class Waited:
    """A time for which a device has waited."""

    by_processor: float
    """Seconds."""
    marks: tuple[torch.cuda.Event, ...]
    """Of a GPU's waiting, in turn its beginning and its end."""

    @property
    def seconds(self) -> float:
        """All of it; a GPU's work up to the last mark is waited for."""
        if self.marks:
            self.marks[-1].synchronize()
        spans = zip(self.marks[::2], self.marks[1::2], strict=True)
        return self.by_processor + sum(begin.elapsed_time(end) for begin, end in spans) / 1000
