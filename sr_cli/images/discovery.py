"""Finding pictures on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

PICTURE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib"),
        *(".gif", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
"""File name endings, in lower case, that are taken for pictures in a folder."""


Unreadable = Callable[[OSError], None]


def find_pictures(
    folder: Path, *, recursive: bool, unreadable: Unreadable | None = None
) -> list[Path]:
    """The pictures of a folder by their endings, sorted; hidden files are left out.

    Args:
        folder: Links to folders within it are not followed.
        recursive: Whether to go into the folders within folders.
        unreadable: Called with the error of every folder within that cannot be read.

    Raises:
        OSError: The folder itself cannot be read.
    """
    found = folder.iterdir()
    if recursive:
        os.scandir(folder).close()
        walk = os.walk(folder, onerror=unreadable)
        found = (Path(place, name) for place, _, names in walk for name in names)
    return sorted(
        path
        for path in found
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not path.name.startswith(".")
        and is_file(path)
    )


def is_file(path: Path) -> bool:
    """Whether a path is a file, or nobody may know: reading it will tell why."""
    try:
        return path.is_file()
    except OSError:
        return True
