"""A picture in memory: its pixels, and everything else that its file said."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
"""Float pixels."""

ColorModel = Literal["gray", "rgb", "cmyk"]
"""What the samples of a file mean."""


class PictureError(Exception):
    """A picture that cannot be read or written.

    The message is one plain sentence, without capital and full stop, to be printed after the name
    of the file: ``photo.jpg: the file is empty``.
    """


class DiskFullError(PictureError):
    """There is no room to write a picture; the next one will not fit either."""


class AppearedMeanwhileError(PictureError):
    """A file has come to be where a picture was to be written; it was left as it is."""


class PixelLimitError(PictureError):
    """A picture of more pixels than are wanted."""

    def __init__(self, message: str, pixels: int) -> None:
        super().__init__(message)
        self.pixels = pixels
        """How many it has."""


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels, kept so that it can be written again."""

    source_format: str | None = None
    """Name of the format it was read from, one of `known_formats()` or "gif"; None if made here."""
    color_model: ColorModel = "rgb"
    """What the samples of the file were: gray, red-green-blue or ink."""
    is_colourless: bool = False
    """Whether every pixel is gray, though there are channels for colours, as of many scans."""
    bit_depth: Literal[8, 16] = 8
    """Bits a channel; files of fewer count as 8, of 10 and 12 as 16 where they are read so."""
    has_alpha: bool = False
    """Whether the file had a transparency channel, be it opaque throughout."""
    icc_profile: bytes | None = None
    """The embedded colour profile."""
    exif: bytes | None = None
    """EXIF as a TIFF block, without the "Exif" prefix; its orientation is already 1."""
    xmp: bytes | None = None
    """The XMP packet; its orientation is already 1, unless EXIF told none."""
    iptc: bytes | None = None
    """The IPTC-NAA record."""
    dpi: tuple[float, float] | None = None
    """Pixels an inch, across and down."""
    texts: tuple[tuple[str, str], ...] = ()
    """Names and contents of a PNG's text fields, such as a title; a JPEG's or GIF's comment."""
    notes: tuple[str, ...] = ()
    """Sentences on what was left out or guessed while reading."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as a network wants them, with the metadata of their file."""

    rgb: Floats
    """(H, W, 3) in [0, 1], sRGB; three equal channels if gray."""
    alpha: Floats | None = None
    """(H, W) in [0, 1], not multiplied into `rgb`; None where every pixel is opaque."""
    metadata: Metadata = Metadata()
    """What else the file held."""
    beyond: Floats | None = None
    """(h, w, 3): what sRGB could not hold of the colours of a wider profile, to be added again when
    they go back into it; resized to `rgb` when written. None where all colours fit."""

    @property
    def width(self) -> int:
        """Pixels across."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Pixels down."""
        return int(self.rgb.shape[0])


def replaced(picture: Picture, rgb: Floats, alpha: Floats | None = None) -> Picture:
    """The picture with other pixels, of any size, and its metadata.

    Args:
        picture: Where the metadata come from.
        rgb: (H, W, 3), sRGB; values outside [0, 1] are cut when written.
        alpha: (H, W) in [0, 1], or None for opaque.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"rgb must have the shape (H, W, 3), not {rgb.shape}")
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ValueError(f"alpha {alpha.shape} does not fit rgb {rgb.shape}")
    return dataclasses.replace(
        picture,
        rgb=np.asarray(rgb, dtype=np.float32),
        alpha=None if alpha is None else np.asarray(alpha, dtype=np.float32),
    )
