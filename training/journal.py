"""What a run leaves for people to look at: a line of JSON a measurement, and curves on request."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG_NAME = "log.jsonl"


class Journal:
    """``log.jsonl`` in the run's folder, and TensorBoard's files beside it if wanted.

    Args:
        folder: The run's.
        curves: Write for TensorBoard too.

    Raises:
        ImportError: TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: Path, *, curves: bool = False) -> None:
        self.path = folder / LOG_NAME
        self._whole = False
        """Whether the last line is known to be."""
        self.writer: Any = None
        if curves:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(folder / "tensorboard")

    def write(self, step: int, facts: Mapping[str, Any]) -> None:
        """One measurement; numbers within tables become curves named ``table/number``."""
        line = json.dumps({**facts, "step": step}) + "\n"
        if not self._whole and _ends_within_a_line(self.path):  # a kill or a full disk cut it off
            line = "\n" + line
        self._whole = False
        with self.path.open("a", encoding="utf-8") as log:
            log.write(line)
        self._whole = True
        if self.writer is not None:
            for name, value in _numbers(facts, ""):
                self.writer.add_scalar(name, value, step)
            self.writer.flush()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All measurements of a run's log, in the order they were made; empty without a log.

    A line that a kill or a full disk cut off is left out.
    """
    try:
        text = (folder / LOG_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def _ends_within_a_line(path: Path) -> bool:
    try:
        with path.open("rb") as log:
            log.seek(-1, os.SEEK_END)
            return log.read(1) != b"\n"
    except OSError:  # there is none, or it is empty
        return False


def _numbers(facts: Mapping[str, Any], before: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in facts.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{before}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((before + key, float(value)))
    return found
