"""Looking at what a device computes without keeping it from what comes next.

Whoever waits for the last thing that was queued leaves a GPU without work until more has been
called for, which takes as long as some steps.  So what is to be looked at is marked when it is
queued, and waited for when some steps more have been.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

LATER = 8
"""Steps after which what one of them has computed is looked at; on a GPU.  To call for the next
pairs takes the processor as long as one or two steps take the GPU."""


def steps_later(device: torch.device) -> int:
    """`LATER` where things are queued, else none."""
    return LATER if device.type == "cuda" else 0


class Moment:
    """A place in the queue of a device: behind everything that has been called for so far."""

    def __init__(self, device: torch.device) -> None:
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(device))

    def wait(self) -> None:
        """Go on when it has come; what was called for since is not waited for."""
        if self._event is not None:
            self._event.synchronize()


class Reading:
    """Numbers on their way from a device.

    Args:
        numbers: Single ones; they may be overwritten by what is called for later.
        device: On which they are computed.
    """

    def __init__(self, numbers: Mapping[str, Tensor], device: torch.device) -> None:
        self._names = tuple(numbers)
        together = torch.stack([number.detach().float() for number in numbers.values()])
        # Into memory to which a GPU writes by itself; nothing else may be read before its moment.
        self._numbers = together.to("cpu", non_blocking=device.type == "cuda")
        self._moment = Moment(device)

    def values(self) -> dict[str, float]:
        """The numbers by their names, once they are there."""
        self._moment.wait()
        return dict(zip(self._names, self._numbers.tolist(), strict=True))
