"""Finding pictures on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

PICTURE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib"),
        *(".gif", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
"""File name endings, in lower case, that are taken for pictures in a folder."""
OTHER_SUFFIXES = frozenset(
    {
        *(".heic", ".heif", ".heics", ".heifs", ".hif"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jph", ".jxl", ".jxr", ".wdp", ".hdp"),
        *(".tga", ".ico", ".icns", ".psd", ".psb", ".xcf", ".svg", ".svgz"),
        *(".exr", ".hdr", ".pfm", ".pam", ".dds", ".pcx", ".qoi"),
        # What cameras write as it comes from the sensor.
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq"),
        *(".kdc", ".mef", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2"),
        *(".srf", ".srw", ".x3f"),
    }
)
"""File name endings, in lower case, of pictures of other kinds, which are not read."""


Unreadable = Callable[[OSError], None]


def find_pictures(
    folder: Path,
    *,
    recursive: bool,
    unreadable: Unreadable | None = None,
    others: Callable[[Path], None] | None = None,
) -> list[Path]:
    """The pictures of a folder by their endings, sorted; hidden files are left out.

    Args:
        folder: Links to folders within it are not followed.
        recursive: Whether to go into the folders within folders.
        unreadable: Called with the error of every folder within that cannot be read.
        others: Called with every picture of a kind that is not read.

    Raises:
        OSError: The folder itself cannot be read.
    """
    found = folder.iterdir()
    if recursive:
        os.scandir(folder).close()
        walk = os.walk(folder, onerror=unreadable)
        found = (Path(place, name) for place, _, names in walk for name in names)
    pictures = []
    for path in found:
        ending = path.suffix.lower()
        is_picture = ending in PICTURE_SUFFIXES or ending in OTHER_SUFFIXES
        if not is_picture or path.name.startswith(".") or not is_file(path):
            continue
        if ending in PICTURE_SUFFIXES:
            pictures.append(path)
        elif others is not None:
            others(path)
    return sorted(pictures)


def endings_of(paths: Iterable[Path]) -> str:
    """The endings of files as messages name them: each once, in lower case, sorted."""
    return ", ".join(sorted({path.suffix.lower() for path in paths}))


def is_file(path: Path) -> bool:
    """Whether a path is a file, or may be meant for one, as a link to nothing is.

    Reading it will tell why it cannot be read.
    """
    try:
        return path.is_file() or (path.is_symlink() and not path.exists())
    except OSError:
        return True
