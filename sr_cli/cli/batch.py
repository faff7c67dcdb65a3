"""Many pictures, none of which stops the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Generic, TypeVar

from sr_cli.cli import console
from sr_cli.cli.inputs import Source

_NAMES_SHOWN = 5
PATIENCE = 0.2
"""Seconds between two looks at whether the work is to end."""

Taken = TypeVar("Taken")
Made = TypeVar("Made")


@dataclass
class Tally:
    """What became of a batch."""

    total: int
    as_json: bool
    """Whether what is not done is a JSON Line on standard output, too."""
    begun: int = 0
    """Pictures that are over or under way."""
    done: int = 0
    skipped: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)
    """Pictures with the reason, a sentence without its full stop."""
    full: Exception | None = None
    """The failure that told of a full disk."""
    lock: Lock = field(default_factory=Lock)
    """Held by whoever counts or tells."""

    def fail(self, source: Source, reason: str, *, aloud: bool = True) -> None:
        """Counts a failure and tells it."""
        self.failures.append((source.path, reason))
        with _telling():
            if aloud:
                console.complain(f"{source.path}: {reason}")
            if self.as_json:
                console.print_json({"input": str(source.path), "error": reason})

    def skip(self, source: Source, target: Path) -> None:
        """Counts a picture whose result is there."""
        self.skipped += 1
        with _telling():
            if self.as_json:
                facts = {"input": str(source.path), "output": str(target), "skipped": True}
                console.print_json(facts)
            elif self.total == 1:  # of several the summary tells
                console.note(f"{console.shown_path(target)} is there already and was left")

    @property
    def counts(self) -> str:
        """How many are done, were skipped, failed and were not reached."""
        counts = [f"{self.done} done", f"{self.skipped} skipped", f"{len(self.failures)} failed"]
        missing = self.total - self.done - self.skipped - len(self.failures)
        if missing:
            counts.append(f"{missing} not reached")
        return ", ".join(counts)

    def tell(self) -> None:
        """The summary, on standard error."""
        console.note(self.counts)
        reasons: dict[str, list[Path]] = {}
        for path, reason in self.failures:
            reasons.setdefault(reason, []).append(path)
        for reason, paths in reasons.items():
            names = ", ".join(str(path) for path in paths[:_NAMES_SHOWN])
            more = len(paths) - _NAMES_SHOWN
            console.note(f"  {reason}: {names}{f' and {more} more' if more > 0 else ''}")


@dataclass(frozen=True)
class Work(Generic[Taken, Made]):
    """What is done with every picture.

    What these raise is that picture's failure, but for `LeftError`.
    """

    take: Callable[[Source, Path], Taken | None]
    """Reads it; None leaves it as it is."""
    make: Callable[[Taken, Callable[[], None]], Made]
    """The long part; calls its second argument now and then, and passes on what that raises."""
    put: Callable[[Made], None]
    """Writes the result."""
    tell: Callable[[Made], None]
    """Says what was done."""
    is_large: Callable[[Made], bool]
    """Whether memory could be short if the next were made while this one is written."""


def run(
    pairs: Sequence[tuple[Source, Path]], works: Sequence[Work[Taken, Made]], tally: Tally
) -> None:
    """Works on every picture, whatever becomes of the others, and tells in the end how it went.

    A full disk alone ends the work, since no other picture would fit either: the rest fail with it.

    Args:
        pairs: Pictures and where their results go.
        works: What is done; several share the pictures, as several devices do.
        tally: Counts what becomes of them, also where something ends the work.

    Raises:
        OSError: What is told cannot be written, so the work has ended there.
    """
    queue = iter(pairs)
    lanes = [_Lane(tally, work, queue) for work in works]
    try:
        if len(lanes) == 1:
            lanes[0].run()
        else:
            _run_together(lanes)
    except _CannotTellError as error:
        assert isinstance(error.__cause__, OSError)
        raise error.__cause__ from None
    finally:
        if len(pairs) > 1:
            tally.tell()


def _run_together(lanes: Sequence[_Lane[Taken, Made]]) -> None:
    with ThreadPoolExecutor(len(lanes)) as pool:
        running = [pool.submit(lane.run) for lane in lanes]
        try:
            for one in as_completed(running):
                one.result()
        except BaseException:
            for lane in lanes:
                lane.stopped = True
            raise


class _StoppedError(BaseException):
    """The program is to end, so that a lane has to."""


class _Lane(Generic[Taken, Made]):
    """Pictures one after another; the next is read and the last is written meanwhile."""

    def __init__(
        self, tally: Tally, work: Work[Taken, Made], queue: Iterator[tuple[Source, Path]]
    ) -> None:
        self.tally, self.work, self.queue = tally, work, queue
        self.stopped = False
        self.writing: tuple[Source, Path, Made, Future[None]] | None = None

    def run(self) -> None:
        """Until the queue is empty."""
        with ThreadPoolExecutor(1) as writer:
            try:
                ahead = self._next()
                while ahead is not None:
                    source, target, taken = ahead
                    ahead = self._next()
                    with self._failure_of(source, target):
                        self._one(source, target, taken, writer)
            except _CannotTellError:
                raise
            except BaseException:  # what is being written will be whole all the same: tell of it
                self._finish_writing()
                raise
            self._finish_writing()

    def _next(self) -> tuple[Source, Path, Future[Taken | None]] | None:
        with self.tally.lock:
            pair = next(self.queue, None)
        return None if pair is None else (*pair, _in_background(self._take, *pair))

    def _take(self, source: Source, target: Path) -> Taken | None:
        return None if self.tally.full else self.work.take(source, target)

    def _one(
        self, source: Source, target: Path, taken: Future[Taken | None], writer: Executor
    ) -> None:
        with self.tally.lock:
            self.tally.begun += 1
        self._give_up_if_full()
        item = self._waited_for(taken)
        self._give_up_if_full()
        if item is None:
            raise LeftError
        made = self.work.make(item, self._meanwhile)
        self._finish_writing()
        self._give_up_if_full()
        self.writing = source, target, made, writer.submit(self.work.put, made)
        if self.work.is_large(made):
            self._finish_writing()

    def _waited_for(self, taken: Future[Taken | None]) -> Taken | None:
        while not wait((taken,), PATIENCE).done:
            self._meanwhile()
        return taken.result()

    def _meanwhile(self) -> None:
        """What there is to do while a picture is being made."""
        if self.stopped:
            raise _StoppedError
        if self.writing and self.writing[-1].done():
            self._finish_writing()

    def _finish_writing(self) -> None:
        if self.writing is None:
            return
        source, target, made, written = self.writing
        wait((written,))  # and if the program is to end meanwhile, it will be asked for again
        self.writing = None
        with self._failure_of(source, target):
            written.result()
            with self.tally.lock, console.aside():
                with _telling():
                    self.work.tell(made)
                self.tally.done += 1

    def _give_up_if_full(self) -> None:
        if self.tally.full:
            raise _NotTriedError(f"not tried, since {self.tally.full}")

    @contextmanager
    def _failure_of(self, source: Source, target: Path) -> Iterator[None]:
        """Counts what is raised as a picture's failure, or as its being left, and goes on."""
        from sr_cli.images import DiskFullError

        try:
            yield
        except LeftError:
            with self.tally.lock, console.aside():
                self.tally.skip(source, target)
        except Exception as error:
            with self.tally.lock, console.aside():
                if isinstance(error, DiskFullError):
                    self.tally.full = error
                told = not isinstance(error, _NotTriedError)
                self.tally.fail(source, reason(error), aloud=told)


def _in_background(
    work: Callable[[Source, Path], Taken | None], source: Source, target: Path
) -> Future[Taken | None]:
    """What a thread makes of a picture, for which the program waits no longer than it wants to.

    Those of a pool are waited for at the end, and a pipe or a disk somewhere in a network can keep
    one for ever.
    """
    result: Future[Taken | None] = Future()

    def run() -> None:
        try:
            result.set_result(work(source, target))
        except BaseException as error:
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result


class LeftError(Exception):
    """A picture that is left as it is, since its result is there."""


class _NotTriedError(Exception):
    """A picture whose result would not fit."""


class _CannotTellError(BaseException):
    """Standard output is full, or nobody reads it any more; the cause says which."""


@contextmanager
def _telling() -> Iterator[None]:
    """Where output fails, the picture is not to blame, and nothing else can be told either."""
    try:
        yield
    except OSError as error:
        raise _CannotTellError from error


def reason(error: Exception) -> str:
    """What went wrong with a picture, as a sentence without its full stop.

    Raises:
        Exception: The error itself, if it is a bug and --debug asks for its traceback.
    """
    from sr_cli.images import PictureError
    from sr_cli.inference.errors import InferenceError, out_of_memory
    from sr_cli.temporary import APPEARED, AppearedError

    if isinstance(error, PictureError | InferenceError | _NotTriedError):
        return str(error)
    if isinstance(error, AppearedError):
        return APPEARED
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error)
    if out_of_memory(error):
        return "there is not enough memory for it"
    if "--debug" in sys.argv:
        raise error
    return f"internal error: {error!r}; this is a bug, and `sr-cli --debug ...` shows where"
