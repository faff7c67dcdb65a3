"""Pictures in and out, faithfully."""

from sr_cli.images.discovery import (
    OTHER_SUFFIXES,
    PICTURE_SUFFIXES,
    endings_of,
    find_pictures,
)
from sr_cli.images.formats import (
    ending,
    has_ending_of_another,
    known_formats,
    losses,
    suffix_format,
)
from sr_cli.images.picture import (
    AppearedMeanwhileError,
    DiskFullError,
    Metadata,
    Picture,
    PictureError,
    PixelLimitError,
    replaced,
)
from sr_cli.images.probing import (
    begins_like_picture,
    is_made_here,
    is_text,
    is_whole,
    result_format,
    size,
)
from sr_cli.images.reading import MAX_PIXELS, read
from sr_cli.images.transparency import bleed, visible_rgb
from sr_cli.images.writing import Color, encode, prepare, takes_rows, write, write_rows

__all__ = [
    "MAX_PIXELS",
    "OTHER_SUFFIXES",
    "PICTURE_SUFFIXES",
    "AppearedMeanwhileError",
    "Color",
    "DiskFullError",
    "Metadata",
    "Picture",
    "PictureError",
    "PixelLimitError",
    "begins_like_picture",
    "bleed",
    "encode",
    "ending",
    "endings_of",
    "find_pictures",
    "has_ending_of_another",
    "is_made_here",
    "is_text",
    "is_whole",
    "known_formats",
    "losses",
    "prepare",
    "read",
    "replaced",
    "result_format",
    "size",
    "suffix_format",
    "takes_rows",
    "visible_rgb",
    "write",
    "write_rows",
]
