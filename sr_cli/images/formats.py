"""What each file format can hold."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sr_cli.images import exif
from sr_cli.images.discovery import OTHER_SUFFIXES, PICTURE_SUFFIXES
from sr_cli.images.metadata import COMMENT
from sr_cli.images.picture import Picture, PictureError


@dataclass(frozen=True)
class Format:
    """A format that can be written."""

    name: str
    suffixes: tuple[str, ...]
    """Endings of file names; the first is the usual one."""
    largest_side: int
    """Most pixels across or down."""
    alpha: bool = False
    deep: bool = False
    """16 bits a channel."""
    gray: bool = False
    ink: bool = False
    metadata: frozenset[str] = frozenset()
    """Which of icc_profile, exif, xmp, iptc, dpi, texts, and of texts the comment alone."""
    largest_block: int = sys.maxsize
    """Most bytes of exif, xmp or iptc as they are written."""

    def keeps(self, name: str, block: object) -> bool:
        """Whether a block of metadata can be written, be it bytes or, as dpi, something else."""
        return name in self.metadata and not (
            isinstance(block, bytes) and name in _BLOCKS and len(block) > self.largest_block
        )

    def keeps_text(self, name: str, value: str) -> bool:
        """Whether a text field can be written."""
        comment = "comment" in self.metadata and name == COMMENT
        return "texts" in self.metadata or (comment and len(value.encode()) <= _LONGEST_COMMENT)


_LONGEST_COMMENT = 65533
"""Bytes of a JPEG's."""
_BLOCKS = {"exif": "EXIF", "xmp": "XMP", "iptc": "IPTC"}
"""Metadata that are blocks of bytes, with the names that people know."""


_FORMATS = (
    Format(
        "png",
        (".png",),
        2**31 - 1,
        alpha=True,
        deep=True,
        gray=True,
        metadata=frozenset({"icc_profile", "exif", "xmp", "dpi", "texts"}),
    ),
    Format(
        "jpeg",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        65500,  # libjpeg's own limit
        gray=True,
        ink=True,
        metadata=frozenset({"icc_profile", "exif", "xmp", "iptc", "dpi", "comment"}),
        largest_block=65_533 - 64,  # what fits one marker, less the longest header of those used
    ),
    Format(
        "webp",
        (".webp",),
        16383,
        alpha=True,
        metadata=frozenset({"icc_profile", "exif", "xmp"}),
    ),
    Format(
        "tiff",
        (".tif", ".tiff"),
        2**31 - 1,
        alpha=True,
        deep=True,
        gray=True,
        ink=True,
        metadata=frozenset({"icc_profile", "exif", "xmp", "iptc", "dpi"}),
    ),
    Format(
        "avif",
        (".avif",),
        65535,
        alpha=True,
        metadata=frozenset({"icc_profile", "exif", "xmp"}),
    ),
    Format("bmp", (".bmp", ".dib"), 2**31 - 1, gray=True, metadata=frozenset({"dpi"})),
    Format("pnm", (".pnm", ".ppm", ".pgm"), 2**31 - 1, deep=True, gray=True),
)
_ALIASES = {"jpg": "jpeg", "tif": "tiff", "ppm": "pnm", "pgm": "pnm"}
_BY_NAME = {format.name: format for format in _FORMATS}
_BY_NAME |= {alias: _BY_NAME[name] for alias, name in _ALIASES.items()}
_BY_SUFFIX = {suffix: format for format in _FORMATS for suffix in format.suffixes}
_LOSSLESS = frozenset({"png", "tiff", "webp", "bmp", "pnm"})


def known_formats() -> MappingProxyType[str, str]:
    """Names of the formats that can be written, each with its usual file name ending."""
    endings = {name: format.suffixes[0] for name, format in _BY_NAME.items()}
    return MappingProxyType(endings | {"ppm": ".ppm", "pgm": ".pgm"})


def find(name: str | None, suffix: str) -> Format:
    """The format of a name, or else of a file name's ending.

    Raises:
        PictureError: There is none.
    """
    known = ", ".join(sorted(_BY_NAME))
    if name is not None:
        format = _BY_NAME.get(name.lower().removeprefix("."))
        if format is None:
            raise PictureError(f"the format '{name}' cannot be written; choose one of {known}")
        return format
    format = _BY_SUFFIX.get(suffix.lower())
    if format is None:
        wrong = f"the ending '{suffix}'" if suffix else "a name without an ending"
        raise PictureError(f"{wrong} names no format that can be written; choose one of {known}")
    return format


def faithful(own: str | None, *, lossless: bool, alpha: bool, longest: int) -> str:
    """A picture's own format if that keeps every pixel as it is, else "png".

    Args:
        own: The format it came in; may be one that cannot be written.
        lossless: Whether it came in a lossless variant of that.
        alpha: Whether it has transparency.
        longest: The longer side, in pixels.
    """
    if own not in _LOSSLESS or not lossless:
        return "png"
    chosen = _BY_NAME[own]
    return "png" if longest > chosen.largest_side or (alpha and not chosen.alpha) else own


def suffix_format(suffix: str) -> str:
    """The format that a file name's ending stands for.

    Raises:
        PictureError: None that can be written.
    """
    return find(None, suffix).name


def has_ending_of_another(path: Path, name: str) -> bool:
    """Whether a file's name ends as pictures do, but not as those of a format.

    Raises:
        PictureError: No such format.
    """
    ending, format = path.suffix.lower(), find(name, "")
    known = ending in PICTURE_SUFFIXES | OTHER_SUFFIXES
    return known and ending not in format.suffixes and (format.name, ending) != ("pnm", ".pbm")


def ending(name: str, like: str = "") -> str:
    """The file name ending of a format, in lower case: a given one if it is its, else the usual.

    Raises:
        PictureError: No such format.
    """
    like = like.lower()
    return like if like in find(name, "").suffixes else known_formats()[name.lower()]


def losses(picture: Picture, format: str) -> tuple[str, ...]:
    """Sentences on what the picture loses in a format; empty if nothing.

    Raises:
        PictureError: No such format.
    """
    chosen, said = find(format, ""), picture.metadata
    found = []
    if picture.alpha is not None and not chosen.alpha:
        found.append(f"{chosen.name} has no transparency, so the picture is laid on white")
    if said.bit_depth == 16 and not chosen.deep:
        found.append(f"{chosen.name} has no 16-bit channels, so 8 bits are written")
    if said.color_model == "cmyk" and not chosen.ink:
        found.append(f"{chosen.name} has no inks, so the colours are written as sRGB")
    elif said.icc_profile is not None and "icc_profile" not in chosen.metadata:
        found.append(f"{chosen.name} has no colour profiles, so the colours are written as sRGB")
    blocks = {"exif": _written_exif(picture), "xmp": said.xmp, "iptc": said.iptc}
    lost = [name for name, block in blocks.items() if block and not chosen.keeps(name, block)]
    none = [_BLOCKS[name] for name in lost if name not in chosen.metadata]
    if not all(chosen.keeps_text(*text) for text in said.texts):
        only = all(name == COMMENT for name, _ in said.texts)
        none.append("its comment" if only else "text fields")
    if said.dpi is not None and not {"dpi", "exif"} & chosen.metadata:
        none.append("its resolution")
    if none:
        found.append(f"{chosen.name} has no room for {' and '.join(none)}")
    if long := [_BLOCKS[name] for name in lost if name in chosen.metadata]:
        found.append(f"{chosen.name} has no room for so much {' and '.join(long)}")
    return tuple(found)


def _written_exif(picture: Picture) -> bytes | None:
    """The picture's EXIF about as it will be written, which may be much shorter than it was."""
    block = picture.metadata.exif
    if block is None:
        return None
    try:
        return exif.edited(block, width=picture.width, height=picture.height, software="sr-cli")
    except ValueError:  # put together elsewhere; `read` gives none that is damaged
        return block
