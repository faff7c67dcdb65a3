"""Many pictures, one after another, none of which stops the others."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sr_cli.cli import console
from sr_cli.cli.inputs import Source

_NAMES_SHOWN = 5


@dataclass
class Tally:
    """What became of a batch."""

    total: int
    as_json: bool
    done: int = 0
    skipped: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)
    """Pictures with the reason, a sentence without its full stop."""

    def fail(self, source: Source, reason: str, *, aloud: bool = True) -> None:
        """Counts a failure and tells it."""
        self.failures.append((source.path, reason))
        if aloud:
            console.complain(f"{source.path}: {reason}")
        if self.as_json:
            console.print_json({"input": str(source.path), "error": reason})

    def tell(self) -> None:
        """The summary, on standard error."""
        counts = [f"{self.done} done", f"{self.skipped} skipped", f"{len(self.failures)} failed"]
        missing = self.total - self.done - self.skipped - len(self.failures)
        if missing:
            counts.append(f"{missing} not reached")
        console.note(", ".join(counts))
        reasons: dict[str, list[Path]] = {}
        for path, reason in self.failures:
            reasons.setdefault(reason, []).append(path)
        for reason, paths in reasons.items():
            names = ", ".join(str(path) for path in paths[:_NAMES_SHOWN])
            more = len(paths) - _NAMES_SHOWN
            console.note(f"  {reason}: {names}{f' and {more} more' if more > 0 else ''}")


def run(
    pairs: Sequence[tuple[Source, Path]], work: Callable[[Source, Path], bool], *, as_json: bool
) -> Tally:
    """Works on every picture, whatever becomes of the others, and tells in the end how it went.

    A full disk alone ends the work, since no other picture would fit either: the rest fail with it.

    Args:
        pairs: Pictures and where their results go.
        work: Does one; returns whether it did, or left it as it was. What it raises is the
            picture's failure.
        as_json: Whether failures are JSON Lines on standard output too.
    """
    from sr_cli.images import DiskFullError

    _take_any_name()
    tally = Tally(len(pairs), as_json)
    full: DiskFullError | None = None
    try:
        for source, target in pairs:
            if full:
                tally.fail(source, f"not tried, since {full}", aloud=False)
                continue
            try:
                if work(source, target):
                    tally.done += 1
                else:
                    tally.skipped += 1
            except BrokenPipeError:  # nobody reads what is told, so nobody waits for the rest
                raise
            except Exception as error:
                full = error if isinstance(error, DiskFullError) else None
                tally.fail(source, _reason(error))
    finally:
        if len(pairs) > 1:
            tally.tell()
    return tally


def _reason(error: Exception) -> str:
    """An error as a sentence.

    Raises:
        Exception: The error itself, if it is a bug and --debug asks for its traceback.
    """
    from sr_cli.images import PictureError

    if isinstance(error, PictureError):
        return str(error)
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error)
    ):
        return "there is not enough memory for it; a smaller --tile needs less"
    if "--debug" in sys.argv:
        raise error
    return f"internal error: {error!r}; this is a bug, and --debug shows where"


def _take_any_name() -> None:
    """Lets output have names that are no valid text, which file systems allow.

    Such bytes are written as escapes, which JSON reads back.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
