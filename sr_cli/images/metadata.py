"""What a file says of its picture beside the pixels: EXIF, XMP, IPTC, text fields, resolution."""

from __future__ import annotations

import math
import re
from typing import Any

from PIL import Image, ImageFile, TiffImagePlugin

from sr_cli.images import exif

_X_RESOLUTION = 282
_EXTRA_SAMPLES = 338
_SAID = ("Software", "XML:com.adobe.xmp")
_TIFF_TAGS = (
    *(269, 270, 271, 272, 285, 286, 287, 297, 305, 306, 315, 316),
    *(18246, 18249, 33432, 34665, 34853, *range(40091, 40096)),
)
"""Tags of a TIFF file that describe the picture, such as the page of which document it is, not the
way its pixels are laid out."""
COMMENT = "Comment"
"""PNG's name for the text that a JPEG or GIF holds without one."""
_COMMENT_OF = ("JPEG", "GIF")
_GAMMA = 1 / 2.2
"""What PNG calls the gamma of sRGB, and of most pictures besides."""
_SRGB_CODES = b"\x01\x0d\x00\x01"
"""PNG's cICP for sRGB: its primaries, its curve, no matrix, all levels (ITU-T H.273)."""


def exif_of(image: ImageFile.ImageFile) -> bytes | None:
    """The EXIF block of any picture but a TIFF, as the file has it."""
    block: Any = image.info.get("exif")
    if not block and "Raw profile type exif" in image.info:  # how ImageMagick put it into PNG
        block = image.getexif().tobytes()
    return bytes(block).removeprefix(b"Exif\0\0") if isinstance(block, bytes) and block else None


def exif_of_tiff(image: ImageFile.ImageFile) -> bytes | None:
    """The descriptive tags of a TIFF file as a block of their own; before its pixels are read."""
    tags, kept = image.getexif(), Image.Exif()
    for tag in _TIFF_TAGS:
        if tag in tags:
            kept[tag] = tags.get_ifd(tag) if tag in (34665, 34853) else tags[tag]
    try:
        return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) else None
    except Exception:  # Pillow reads tags that it cannot write; they are not worth the picture
        return None


def sound_exif(block: bytes | None) -> bytes | None:
    """The block with its orientation applied, or None if it is damaged."""
    if block is None:
        return None
    try:
        return exif.upright(block)
    except ValueError:
        return None


def xmp(image: ImageFile.ImageFile, *, turned: bool) -> bytes | None:
    """The packet.

    Args:
        image: Whose it is.
        turned: Whether the pixels are upright, so that it must no longer turn them.  Orientation
            that XMP alone tells is followed by some programs and not by others: pixels and packet
            stay as they are, and the result is shown in every program as the picture was.
    """
    packet: Any = image.info.get("xmp")
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes) or not packet:
        return None
    return _XMP_ORIENTATION.sub(rb"\g<1>1", packet) if turned else packet


_XMP_ORIENTATION = re.compile(
    rb"""(tiff:Orientation\s*=\s*["']|<tiff:Orientation>\s*)[1-8](?=\s*["'<])"""
)


def iptc(image: ImageFile.ImageFile) -> bytes | None:
    """The records, from JPEG's Photoshop segment or TIFF's tag."""
    tags: Any = getattr(image, "tag_v2", {})
    resources: Any = image.info.get("photoshop")
    found = resources.get(0x0404) if isinstance(resources, dict) else tags.get(33723)
    return found if isinstance(found, bytes) and found else None


def texts(image: ImageFile.ImageFile) -> tuple[tuple[str, str], ...]:
    """A PNG's text fields, but for those that say what is said elsewhere, or a comment."""
    if image.format in _COMMENT_OF:
        comment: Any = image.info.get("comment")
        return ((COMMENT, _decoded(comment)),) if isinstance(comment, bytes) and comment else ()
    if image.format != "PNG":
        return ()
    fields = (
        (str(name), value)
        for name, value in image.info.items()
        if isinstance(value, str) and name not in _SAID
    )
    return tuple((name, value) for name, value in fields if not name.startswith("Raw profile"))


def _decoded(comment: bytes) -> str:
    """A comment, whose encoding no file tells."""
    comment = comment.strip(b"\0").replace(b"\0", b" ")
    try:
        return comment.decode("utf-8")
    except UnicodeDecodeError:
        return comment.decode("latin-1")


def colour_notes(image: ImageFile.ImageFile, data: bytes) -> tuple[str, ...]:
    """What a PNG says of its colours in other ways than a profile, which is not followed."""
    if image.format != "PNG":
        return ()
    codes = _chunk(data, b"cICP")
    if codes is not None and codes != _SRGB_CODES:
        return ("its colours are not those of sRGB, as it says (cICP), but are taken for them",)
    gamma: Any = image.info.get("gamma")
    told = "srgb" in image.info or image.info.get("icc_profile")
    if not told and isinstance(gamma, float) and gamma > 0 and abs(gamma / _GAMMA - 1) > 0.05:
        return (f"its gamma of {gamma:g} (gAMA) is not followed: its colours are taken for sRGB",)
    return ()


def channel_notes(image: ImageFile.ImageFile) -> tuple[str, ...]:
    """What of a TIFF is neither colour nor transparency, as far as it says."""
    extra: Any = getattr(image, "tag_v2", {}).get(_EXTRA_SAMPLES, ())
    if isinstance(extra, tuple) and 0 in extra and not image.has_transparency_data:
        return ("it has a channel of which it does not say what it is; that was left out",)
    return ()


def _chunk(data: bytes, wanted: bytes) -> bytes | None:
    """The first chunk of a kind before a PNG's pixels."""
    at = 8
    while (kind := data[at + 4 : at + 8]) and kind != b"IDAT":
        length = int.from_bytes(data[at : at + 4], "big")
        if kind == wanted:
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return None


def dpi(image: ImageFile.ImageFile) -> tuple[float, float] | None:
    """Pixels an inch, across and down; None where the file does not say it or talks nonsense."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _X_RESOLUTION not in image.tag_v2:
        return None  # Pillow says 1 then
    try:
        # Formats that count in metres give 299.9994 for 300.
        across, down = (round(float(value), 1) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    sane = all(math.isfinite(value) and 0.0 < value < 1e5 for value in (across, down))
    return (across, down) if sane else None
