"""Files to pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from sr_cli.images import colour, exif, headers, metadata, samples
from sr_cli.images.colour import Samples
from sr_cli.images.picture import Floats, Metadata, Picture, PictureError
from sr_cli.images.quiet import quiet

MAX_PIXELS = 200_000_000
"""Most pixels of a picture that is read without being asked to: 800 MB of floats a channel."""


def read(source: Path | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads a picture: upright, in sRGB, with its metadata aside.

    The format is told from the content, not from the name. Of several frames or pages the first is
    read, and a note says so.

    Args:
        source: A file, or a stream at its beginning.
        max_pixels: Larger pictures are refused before their pixels are decoded.

    Raises:
        PictureError: For whatever reason there is no whole picture to be had.
    """
    data = _bytes_of(source)
    suffix = source.suffix.lower() if isinstance(source, Path) else ""
    with quiet(max_pixels, muted=headers.is_loud(data)):
        try:
            return _decoded(data, suffix, max_pixels)
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            limit = headers.too_large(max_pixels)
            raise PictureError(f"the picture is {limit} (--max-pixels)") from error
        except MemoryError as error:
            raise PictureError("there is not enough memory to read the picture") from error
        except Exception as error:
            if str(error) == "unknown pixel mode":  # what Pillow says of rare kinds of TIFF
                raise PictureError("its kind of pixels is not one that can be read") from error
            # Decoders that meet damaged bytes raise almost anything: OSError, SyntaxError,
            # struct.error, KeyError, OverflowError, zlib.error and more.
            raise PictureError(headers.DAMAGED) from error


def _bytes_of(source: Path | BinaryIO) -> bytes:
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.read()
    except FileNotFoundError as error:
        raise PictureError("there is no such file") from error
    except IsADirectoryError as error:
        raise PictureError("this is a folder, not a picture") from error
    except PermissionError as error:
        if isinstance(source, Path) and source.is_dir():  # how Windows says it
            raise PictureError("this is a folder, not a picture") from error
        raise PictureError("the file may not be read: permission denied") from error
    except MemoryError as error:
        raise PictureError("there is not enough memory to read the file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"the file cannot be read: {reason}") from error
    if not data:
        raise PictureError("the file is empty")
    return data


def _decoded(data: bytes, suffix: str, max_pixels: int) -> Picture:
    image = headers.opened(io.BytesIO(data))
    headers.check_header(image, max_pixels, len(data))
    source_format = headers.FORMATS[image.format or ""]
    described = metadata.exif_of_tiff(image) if image.format == "TIFF" else None
    pixels = samples.decoded(image, data)
    block = described if image.format == "TIFF" else metadata.exif_of(image)
    turn = exif.orientation(block) if block is not None else None
    if image.format == "TIFF":
        turn = 1  # Pillow has turned it, as its tags or else XMP say
    elif turn is not None:
        pixels = samples.upright(pixels, turn)
    icc = None if pixels.is_srgb else image.info.get("icc_profile") or None
    converted = colour.to_srgb(pixels.samples, pixels.model, icc)
    sound = metadata.sound_exif(block)
    damaged = block is not None and sound is None
    about = Metadata(
        source_format=source_format,
        color_model=pixels.model,
        is_colourless=pixels.model == "rgb" and colour.is_colourless(pixels.samples),
        bit_depth=16 if pixels.samples.dtype == np.uint16 else 8,
        has_alpha=pixels.alpha is not None,
        icc_profile=converted.icc_profile,
        exif=sound,
        xmp=metadata.xmp(image, turned=turn is not None),
        iptc=metadata.iptc(image),
        dpi=metadata.dpi(image),
        texts=metadata.texts(image),
        notes=(
            *pixels.notes,
            *converted.notes,
            *metadata.colour_notes(image, data),
            *metadata.channel_notes(image),
            *(("its EXIF data are damaged and were left out",) if damaged else ()),
            *_frame_notes(data),
            *_name_notes(source_format, suffix),
        ),
    )
    return Picture(converted.rgb, _seen_alpha(pixels.alpha), about, converted.beyond)


def _seen_alpha(alpha: Samples | None) -> Floats | None:
    """Alpha in [0, 1], or None where it hides nothing."""
    if alpha is None:
        return None
    top = 65535 if alpha.dtype == np.uint16 else 255
    return None if alpha.min() == top else alpha.astype(np.float32) / np.float32(top)


def _frame_notes(data: bytes) -> tuple[str, ...]:
    try:
        frames = int(getattr(headers.opened(io.BytesIO(data)), "n_frames", 1))
    except Exception:  # a later frame is damaged; the first one is whole, and it is what was read
        return ()
    return (f"only the first of {frames} frames was read",) if frames > 1 else ()


_ENDINGS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".gif": "gif",
    ".avif": "avif",
    ".bmp": "bmp",
}


def _name_notes(source_format: str, suffix: str) -> tuple[str, ...]:
    if _ENDINGS.get(suffix, source_format) == source_format:
        return ()
    return (f"its name ends in {suffix} but it is a {source_format} picture",)
