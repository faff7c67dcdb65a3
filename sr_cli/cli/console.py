"""Everything that a command says: results on standard output, the rest on standard error."""

from __future__ import annotations

import atexit
import codecs
import errno
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table


class _Messages(Console):
    """Standard error: where it cannot be written to, results are made and told all the same."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's; after a failure nothing more is told."""
        try:
            super().print(*objects, **options)
        except OSError:  # its disk is full, or its reader is gone
            sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115

    def on_broken_pipe(self) -> None:
        """Rich would close standard output."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


if os.environ.get("COLUMNS", "").strip() == "0":  # nobody knows; rich would take it at its word
    del os.environ["COLUMNS"]
# Names of files are told as they are, be they like codes of colours or emoji.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = _Messages(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


closed: set[str] = set()
"""Standard streams that whoever started the program has closed."""


class CommandError(Exception):
    """A command that cannot go on; the message is one or two sentences that say what to do."""


def known_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is for users; every other is a bug.

    Only classes of modules that are loaded already can have been raised, so asking for them here
    never imports torch.
    """
    names = (
        ("sr_cli.images.picture", "PictureError"),
        ("sr_cli.inference.errors", "InferenceError"),
        ("sr_cli.zoo.manifest", "ZooError"),
        ("training.corpus", "CorpusError"),
        ("training.recipe", "RecipeError"),
        ("training.trainer", "TrainingError"),
    )
    found: list[type[Exception]] = [CommandError]
    for module, name in names:
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def ready() -> None:
    """Makes standard output and error take whatever there is to tell.

    Letters that their encoding lacks, and names that are no valid text, are written as escapes.
    What was closed by who called the program takes everything and keeps nothing.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            closed.add(name)
            nothing = Path(os.devnull).open("r" if name == "stdin" else "w")  # noqa: SIM115
            setattr(sys, name, nothing)
    _own_standard_error()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _own_standard_error() -> None:
    """Gives standard error a descriptor of its own.

    While a picture is decoded, what libraries in C write to the usual one goes nowhere
    (`sr_cli.images.quiet`); meanwhile, another thread may have something to tell.
    """
    if sys.platform == "win32":  # where rich knows a console by its descriptor
        return
    try:
        if sys.stderr.fileno() != _STANDARD_ERROR:
            return
        sys.stderr.flush()
        own = os.dup(_STANDARD_ERROR)
    except (OSError, ValueError, AttributeError):  # there is none, or it is no file
        return
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding=sys.stderr.encoding)
    atexit.register(sys.stderr.close)


_STANDARD_ERROR = 2


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output."""
    encoding = codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name
    # The escapes of `ready` are JSON's for half-characters alone, which UTF-8 has no place for.
    sys.stdout.write(json.dumps(value, ensure_ascii=encoding != "utf-8") + "\n")
    sys.stdout.flush()


def print_wide(table: Table, width: int = 110) -> None:
    """A table that would lose its sense in the eighty columns of a pipe."""
    Console(highlight=False, markup=False, emoji=False, width=max(out.width, width)).print(table)


def complain(message: str) -> None:
    """One line on standard error."""
    err.print(harmless(message), style="red")


def note(message: str) -> None:
    """One line on standard error that is no complaint."""
    err.print(harmless(message), style="dim")


_CONTROLS = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if chr(n) not in "\t\n"}


def harmless(text: str) -> str:
    """A text with its control characters escaped: names of files hold what commands a terminal."""
    return text.translate(_CONTROLS)


def system_error(error: OSError) -> str:
    """An operating system's error as a sentence."""
    from sr_cli.temporary import AppearedError

    where = f" ({error.filename})" if error.filename else ""
    if isinstance(error, AppearedError):
        return f"{error.strerror}{where}."
    return f"{os.strerror(error.errno) if error.errno else error}{where}."


@contextmanager
def progress(description: str, *, shown: bool = True) -> Iterator[Any]:
    """A bar on standard error, only if that is a terminal.

    Yields a function of how much is done and how much there is.
    """
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        # Else rich puts a way to standard error in the place of standard output: results in a file
        # or a pipe would go to the terminal. Who tells something meanwhile does so `aside`.
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not (shown and err.is_terminal),
    ) as bar:
        task = bar.add_task(description, total=None)

        def update(done: float, total: float) -> None:
            bar.update(task, completed=done, total=total)

        _shown.append(bar)
        try:
            yield update
        finally:
            _shown.remove(bar)


_shown: list[Progress] = []


@contextmanager
def aside() -> Iterator[None]:
    """Takes the bar away while something else is told, on whatever stream."""
    for bar in _shown:
        bar.stop()
    try:
        yield
    finally:
        for bar in _shown:
            bar.start()


def numbered(name: str, number: int, total: int) -> str:
    """What a bar says of one thing of several: ``12/52 photo.jpg``."""
    return harmless(name if total == 1 else f"{number}/{total} {name}")


def shown_path(path: Path) -> str:
    """A path as the user would write it: relative if it lies below the current folder."""
    try:
        return harmless(str(path.relative_to(Path.cwd())))
    except ValueError:
        return harmless(str(path))
