"""Small changes to EXIF that leave every other byte where it is.

EXIF is a TIFF file in miniature: directories of 12-byte entries that point at each other. Camera
makers' notes hold offsets of their own, so a block that is taken apart and built anew breaks them.
Here entries are patched in place, and what needs room is added at the end.
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass

ORIENTATION = 0x0112
SOFTWARE = 0x0131
EXIF_DIRECTORY = 0x8769
COLOR_SPACE = 0xA001
_SIZES = {0x0100: 0, 0x0101: 1, 0xA002: 0, 0xA003: 1}  # tag -> width or height
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_ASCII, _SHORT, _LONG, _RATIONAL = 2, 3, 4, 5
_INCH = 2
_EMPTY = b"II*\0\x08\0\0\0" + b"\0\0" + b"\0\0\0\0"


@dataclass
class _Directory:
    """Entries of one directory: tag -> position of its 12 bytes; `end` is its pointer onward."""

    entries: dict[int, int]
    start: int
    end: int


class _Block:
    """An EXIF block that can be read and patched."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        if data[:4] not in (b"II*\0", b"MM\0*"):
            raise ValueError("not an EXIF block")
        self.order = "<" if data[:2] == b"II" else ">"
        self.first = self.directory(self.number("I", 4))

    def number(self, kind: str, at: int) -> int:
        try:
            return int(struct.unpack_from(self.order + kind, self.data, at)[0])
        except struct.error as error:
            raise ValueError("EXIF ends too early") from error

    def put(self, kind: str, at: int, *values: int) -> None:
        struct.pack_into(self.order + kind, self.data, at, *values)

    def directory(self, start: int) -> _Directory:
        count = self.number("H", start)
        end = start + 2 + 12 * count
        self.number("I", end)  # the pointer onward must be there
        places = range(start + 2, end, 12)
        return _Directory({self.number("H", at): at for at in places}, start, end)

    def value(self, directory: _Directory, tag: int) -> int | None:
        """A whole number that sits in its entry, or None."""
        at = directory.entries.get(tag)
        if at is None:
            return None
        kind = {_SHORT: "H", _LONG: "I"}.get(self.number("H", at + 2))
        return None if kind is None else self.number(kind, at + 8)

    def set_number(self, directory: _Directory, tag: int, value: int) -> None:
        """Overwrites a number if the entry exists; sizes may outgrow the 16 bits they had."""
        at = directory.entries.get(tag)
        if at is None:
            return
        if value < 2**16:
            self.put("HIHH", at + 2, _SHORT, 1, value, 0)
        else:
            self.put("HII", at + 2, _LONG, 1, value)


def orientation(exif: bytes) -> int | None:
    """The way the camera was held, 1 (upright) to 8; None if the block does not say."""
    try:
        block = _Block(exif)
        value = block.value(block.first, ORIENTATION)
    except ValueError:
        return None
    return value if value is not None and 1 <= value <= 8 else None


def upright(exif: bytes) -> bytes:
    """The block with its orientation set to 1.

    Raises:
        ValueError: The block is damaged.
    """
    block = _Block(exif)
    block.set_number(block.first, ORIENTATION, 1)
    return bytes(block.data)


def edited(
    exif: bytes | None,
    *,
    width: int,
    height: int,
    software: str | None = None,
    srgb: bool = False,
    dpi: tuple[float, float] | None = None,
) -> bytes | None:
    """The block for a picture of another size: upright, without a thumbnail.

    Args:
        exif: A TIFF block, or None for a picture without EXIF.
        width: Written where the block names the picture's width.
        height: Likewise.
        software: Put into the Software tag.
        srgb: Say so in the colour space tag, if there is one.
        dpi: Pixels an inch, across and down, for a block that says nothing of them.

    Returns:
        The block, or None if there was none and nothing to say.

    Raises:
        ValueError: The block is damaged.
    """
    if exif is None and software is None and dpi is None:
        return None
    block = _Block(exif or _EMPTY)
    size = (width, height)
    directories = [block.first]
    inner = block.value(block.first, EXIF_DIRECTORY)
    if inner is not None:
        # What a pointer to nowhere should lead to is lost; the rest is worth keeping.
        with contextlib.suppress(ValueError):
            directories.append(block.directory(inner))
    for directory in directories:
        block.set_number(directory, ORIENTATION, 1)
        for tag, axis in _SIZES.items():
            block.set_number(directory, tag, size[axis])
        if srgb:
            block.set_number(directory, COLOR_SPACE, 1)
    _drop_thumbnail(block)
    new: dict[int, tuple[int, int, bytes]] = {}
    if software is not None:
        text = software.encode("ascii", "replace").replace(b"\0", b" ") + b"\0"
        new[SOFTWARE] = _ASCII, len(text), text
    if dpi is not None and X_RESOLUTION not in block.first.entries:
        for tag, value in zip((X_RESOLUTION, Y_RESOLUTION), dpi, strict=True):
            rational = struct.pack(block.order + "II", round(value * 10), 10)
            new[tag] = _RATIONAL, 1, rational
        new[RESOLUTION_UNIT] = _SHORT, 1, struct.pack(block.order + "H", _INCH)
    if new:
        _set(block, new)
    return bytes(block.data)


def _drop_thumbnail(block: _Block) -> None:
    """Blanks the thumbnail, which shows the old picture, and cuts it off where it comes last."""
    second = block.number("I", block.first.end)
    block.put("I", block.first.end, 0)
    if second == 0:
        return
    try:
        directory = block.directory(second)
    except ValueError:
        return
    start = block.value(directory, _THUMBNAIL_OFFSET)
    length = block.value(directory, _THUMBNAIL_LENGTH)
    if start is None or length is None or start + length > len(block.data):
        return
    needed = max(place + 4 for place in (block.first.end, directory.end))
    if start >= needed and start + length >= len(block.data) - 1:
        del block.data[start:]
    elif start >= needed:
        block.data[start : start + length] = bytes(length)


def _set(block: _Block, new: dict[int, tuple[int, int, bytes]]) -> None:
    """Moves the first directory to the end of the block, with other entries.

    Args:
        block: Is changed.
        new: Kind, count and value by tag.
    """
    entries = {tag: bytes(block.data[at : at + 12]) for tag, at in block.first.entries.items()}
    for tag, (kind, count, value) in new.items():
        block.data += b"\0" * (len(block.data) % 2)
        place = value.ljust(4, b"\0")  # it sits in the entry itself
        if len(value) > 4:
            place = struct.pack(block.order + "I", len(block.data))
            block.data += value
        entries[tag] = struct.pack(block.order + "HHI4s", tag, kind, count, place)
    block.data += b"\0" * (len(block.data) % 2)
    block.put("I", 4, len(block.data))
    block.data += struct.pack(block.order + "H", len(entries))
    block.data += b"".join(entry for _, entry in sorted(entries.items())) + bytes(4)
