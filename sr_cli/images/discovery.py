"""Finding pictures on disk."""

from __future__ import annotations

from pathlib import Path

PICTURE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib"),
        *(".gif", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
"""File name endings, in lower case, that are taken for pictures in a folder."""


def find_pictures(folder: Path, *, recursive: bool) -> list[Path]:
    """The pictures of a folder by their endings, sorted; hidden files are left out."""
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )
