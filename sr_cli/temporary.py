"""Files that are whole or not there, even where a run is killed, and files that nobody sees."""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_BEGINNING, _ENDING = ".sr-cli-", ".partial"

if sys.platform == "win32":

    def _lock(stream: BinaryIO, *, wait: bool) -> bool:
        return True  # a file that somebody has open cannot be removed there

    @contextmanager
    def claimed(folder: Path) -> Iterator[bool]:
        """Nothing to claim a folder by is known there."""
        yield True

else:
    import fcntl

    def _lock(stream: BinaryIO, *, wait: bool) -> bool:
        """Whether the file now belongs to us; it does until it is closed or we are dead."""
        try:
            fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody else's, or a file system that has no locks
            return False
        return True

    @contextmanager
    def claimed(folder: Path) -> Iterator[bool]:
        """Whether a folder is ours until the end, since no other process has claimed it.

        Ends with the process, however that ends.  On file systems without locks it is always ours.
        """
        opened = os.open(folder, os.O_RDONLY)
        ours = True
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            ours = False
        except OSError:
            pass  # there are no locks here
        try:
            yield ours
        finally:
            os.close(opened)


def is_device(path: Path) -> bool:
    """Whether a path is a device or a pipe, which is written to and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def followed(path: Path) -> Path:
    """Where a file is to be made: a link stays, what it points to is replaced.

    Links to pipes (``/dev/stdout``, ``/dev/fd/63``) are names of what no path leads to.
    """
    return path.resolve() if path.is_symlink() and not is_device(path) else path


APPEARED = "a file of that name has appeared meanwhile and was kept; nothing was written"


class AppearedError(FileExistsError):
    """A file has come to be where one was to be made; it was left as it is."""


@contextmanager
def replacing(path: Path, *, keep: bool = False) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file at the end, or vanishes on any error.

    The content grows in a hidden file in the same folder. What a killed process leaves of it is
    removed by `sweep`.

    Args:
        path: The file.
        keep: Whether a file that is there by then stays, and is an `AppearedError`.  Devices and
            pipes are written to all the same.
    """
    path = followed(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if is_device(path):
        whole = io.BytesIO()  # writers go back and forth, which a pipe cannot
        yield whole
        path.write_bytes(whole.getvalue())
        return
    # Not `tempfile`, whose files nobody else may read: this one gets the umask's permissions.
    temporary = path.with_name(f"{_BEGINNING}{secrets.token_hex(8)}{_ENDING}")
    try:
        with _owned(temporary) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if sys.platform != "win32":
                _named(temporary, path, keep=keep)  # while `sweep` keeps its hands off
        if sys.platform == "win32":
            _named(temporary, path, keep=keep)  # where an open file can have no other name
    except BaseException as error:  # an interrupt too must leave nothing behind
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)
        raise


def _named(temporary: Path, path: Path, *, keep: bool) -> None:
    """Give a file its name; see `replacing`.

    Raises:
        AppearedError: Another has it, and is to be kept.
    """
    if not keep:
        temporary.replace(path)
        return
    try:
        if sys.platform == "win32":
            temporary.rename(path)  # replaces nothing there
            return
        os.link(temporary, path)
    except OSError as error:
        if os.path.lexists(path):
            raise AppearedError(errno.EEXIST, APPEARED, str(path)) from error
        temporary.replace(path)  # a file system without links: a moment was left in between
    else:
        temporary.unlink()


def _owned(path: Path) -> BinaryIO:
    """A new file that `sweep` keeps its hands off."""
    while True:
        stream = path.open("xb")
        _lock(stream, wait=True)
        if path.exists():
            return stream
        stream.close()  # swept away between its making and its locking


def sweep(folder: Path) -> None:
    """Removes the half-written files of killed runs from a folder.

    Those of a process that is still at work are left alone, and so is all that may not be touched.
    """
    with contextlib.suppress(OSError):
        for left in folder.glob(f"{_BEGINNING}*{_ENDING}"):
            _remove_abandoned(left)


def _remove_abandoned(left: Path) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            left.unlink()
            return
        with left.open("rb") as stream:
            if _lock(stream, wait=False):
                left.unlink()  # still locked, so that `_owned` of another process notices


def mapped(size: int) -> mmap.mmap:
    """Memory that lies in a file of its own, below ``TMPDIR``.

    The file is gone as soon as nothing maps it, whatever becomes of this program.

    Args:
        size: Bytes.

    Raises:
        OSError: There is no room for it.
    """
    with tempfile.TemporaryFile(prefix="sr-cli-") as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):
            # A file with holes would kill the program when the disk runs full.
            os.posix_fallocate(file.fileno(), 0, size)
        return mmap.mmap(file.fileno(), size)
