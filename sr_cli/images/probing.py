"""What can be told of a file without making a picture of it."""

from __future__ import annotations

import math
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from sr_cli.images import formats, headers
from sr_cli.images.quiet import quiet

_HEAD = 4096
_EDGE = 65536
_MADE_HERE = re.compile(rb"sr-cli \d+\.\d")
_PNM = re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d")


def result_format(source: Path | BinaryIO, scale: float) -> str:
    """The format for a file's enlarged version.

    Its own, where that keeps every pixel and has room for the larger picture; else "png". So it is
    for files that cannot be read, about which `read` will say more.

    Args:
        source: A file, or a stream, which is left at its beginning.
        scale: How many times larger the result is.
    """
    try:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
            head = stream.read(_HEAD)
            stream.seek(0)
            with quiet(sys.maxsize, muted=headers.is_loud(head)):
                image = headers.opened(stream)
                own = headers.FORMATS[image.format or ""]
                found = formats.faithful(
                    own,
                    lossless=headers.is_lossless(own, head, image),
                    alpha=image.has_transparency_data,
                    longest=math.ceil(scale * max(image.size)),
                )
            stream.seek(0)
            return found
    except Exception:  # as many kinds as there are decoders; see `reading.read`
        return "png"


def is_whole(path: Path) -> bool:
    """Whether a picture can be decoded to its last row, however large it is.

    Only one that claims more than its bytes can hold is taken for broken unseen, see `read`.
    """
    try:
        with path.open("rb") as stream, quiet(sys.maxsize):
            image = headers.opened(stream)
            headers.check_header(image, sys.maxsize, path.stat().st_size)
            image.load()
    except Exception:  # as many kinds as there are decoders; see `reading.read`
        return False
    return True


def size(source: Path | BinaryIO) -> tuple[int, int] | None:
    """Width and height as a file's header tells them, before any turning; None if it does not.

    Args:
        source: A file, or a stream.
    """
    try:
        opened = source.open("rb") if isinstance(source, Path) else nullcontext(source)
        with opened as stream, quiet(sys.maxsize):
            return headers.opened(stream).size
    except Exception:  # as many kinds as there are decoders; see `reading.read`
        return None


def is_made_here(path: Path) -> bool:
    """Whether a file says that this program has made it, which EXIF does near either end."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_EDGE)
            stream.seek(max(len(head), path.stat().st_size - _EDGE))
            return any(_MADE_HERE.search(part) is not None for part in (head, stream.read()))
    except OSError:
        return False


def begins_like_picture(data: bytes) -> bool:
    """Whether bytes are a picture, sound or damaged, rather than text that happens to start so."""
    if headers.other_kind(data[:_HEAD]):
        return True
    Image.init()
    known = (Image.OPEN[name][1] for name in headers.FORMATS if name in Image.OPEN)
    if not any(accept is not None and accept(data[:16]) is True for accept in known):
        return False
    return not is_text(data[:64]) or _PNM.match(data) is not None


def is_text(data: bytes) -> bool:
    """Whether bytes could be names, one a line or each ended by a zero byte."""
    return b"\0\0" not in data and all(byte >= 32 or byte in b"\0\t\n\r" for byte in data)
