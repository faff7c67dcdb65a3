"""How long a device stands still because its next batch is not there yet."""

from __future__ import annotations

import time
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

    def take(self) -> float:
        """Seconds since this was called last; the work queued so far is waited for on a GPU."""
        marks, self._marks = self._marks, []
        if marks:
            marks[-1].synchronize()
        spans = zip(marks[::2], marks[1::2], strict=True)
        milliseconds = sum(begin.elapsed_time(end) for begin, end in spans)
        seconds, self._seconds = self._seconds + milliseconds / 1000, 0.0
        return seconds
