"""Files that a command writes beside its results: a report, a plot, what was done to a picture."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sr_cli.cli.console import CommandError, shown_path
from sr_cli.cli.inputs import STANDARD


def check(
    path: Path,
    *,
    overwrite: bool,
    pictures: Iterable[Path] = (),
    way: str = "--overwrite replaces it",
) -> None:
    """Make sure, before any work, that a file can be written at its end and nothing is lost by it.

    Args:
        path: The file. Missing folders above it are no problem, see `write`.
        overwrite: Whether it may be there already.
        pictures: What goes in and what comes out: never replaced by something else.
        way: What to do about one that is there, in a few words.

    Raises:
        CommandError: It is standard output, a folder, or one of the pictures; it is there; it
            cannot be made.
    """
    if path == STANDARD:
        raise CommandError("This goes to a file, not to standard output; name one instead of -.")
    if path.is_dir():
        raise CommandError(f"{shown_path(path)} is a folder; name a file.")
    real = os.path.realpath(path)
    if any(os.path.realpath(picture) == real for picture in pictures):
        raise CommandError(f"{shown_path(path)} is one of the pictures; name another file.")
    if path.is_file() and not overwrite:
        raise CommandError(f"{shown_path(path)} exists already; {way}.")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise CommandError(f"{shown_path(path)} cannot be made: {above} may not be written to.")


def write(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file whole or not at all, with the folders above it.

    Args:
        path: What `check` let pass, before the work.
        data: What is to be in it.
        overwrite: Whether one that has come to be there meanwhile is replaced.

    Raises:
        OSError: It cannot be written.
    """
    from sr_cli.temporary import replacing, sweep

    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    with replacing(path, keep=not overwrite) as stream:
        stream.write(data)
