"""Writers for what Pillow cannot write: 16 bits a channel, and pictures that come row by row."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, TiffTags

from sr_cli.images.colour import Samples
from sr_cli.images.picture import PictureError
from sr_cli.images.quiet import quiet

_BAND = 2**20  # samples compressed at a time
PNG_LEVEL = 4  # of 8-bit PNGs: half the time of zlib's usual 6, for files 1 % larger
_PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type
# Tags that say how a TIFF file's samples lie, and blocks that are written by themselves.  An EXIF
# block from elsewhere may hold them, and would make the file unreadable.
_TIFF_OWN = frozenset(
    {254, 255, 266, 320, 322, 323, 324, 325, 330, 332, 338, 339, 347}
    | {512, 513, 514, 515, 517, 518, 519, 520, 521}
    | {700, 33723, 34377, 34675}
)
_TIFF_LIMIT = 2**32 - 2**20  # offsets have 32 bits; leave room for the metadata


@dataclass(frozen=True)
class Rows:
    """The samples of a picture, some rows at a time."""

    height: int
    width: int
    channels: int
    deep: bool
    """Whether samples have 16 bits."""
    bands: Iterable[Samples]
    """(h, W, C) each, from top to bottom."""

    @classmethod
    def of(cls, samples: Samples) -> Rows:
        """Those of a whole picture, (H, W, C) uint8 or uint16."""
        height, width, channels = samples.shape
        return cls(height, width, channels, samples.dtype == np.uint16, _row_bands(samples))

    @property
    def few(self) -> Iterator[Samples]:
        """The same in bands of about a million samples at most."""
        return (part for band in self.bands for part in _row_bands(band))


def write_png(stream: BinaryIO, rows: Rows, options: dict[str, Any]) -> None:
    """Writes a PNG.

    Args:
        stream: Where to.
        rows: Of 1, 2 (gray and alpha), 3 or 4 channels.
        options: Metadata, as Pillow's PNG writer takes them.
    """
    # Pillow writes the metadata of a stand-in, whose header and pixels are then exchanged.
    model = io.BytesIO()
    Image.new("RGB", (1, 1)).save(model, "PNG", **options)
    stream.write(b"\x89PNG\r\n\x1a\n")
    for kind, body in _chunks(model.getvalue()):
        if kind == b"IHDR":
            kinds = (16 if rows.deep else 8), _PNG_COLOURS[rows.channels], 0, 0, 0
            body = struct.pack(">IIBBBBB", rows.width, rows.height, *kinds)
        if kind == b"IDAT":
            for part in _png_pixels(rows):
                _put_chunk(stream, kind, part)
        else:
            _put_chunk(stream, kind, body)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        yield kind, png[at + 8 : at + 8 + length]
        at += 12 + length


def _put_chunk(stream: BinaryIO, kind: bytes, body: bytes) -> None:
    stream.write(struct.pack(">I", len(body)) + kind + body)
    stream.write(struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))))


def _png_pixels(picture: Rows) -> Iterator[bytes]:
    """Compressed rows, each under the filter "Up" or "Sub" (PNG 9.2), whichever is smaller."""
    packer = zlib.compressobj(6 if picture.deep else PNG_LEVEL)
    step = picture.channels * (2 if picture.deep else 1)
    above = np.zeros((1, picture.width * step), dtype=np.uint8)
    for band in picture.few:
        big_endian = np.ascontiguousarray(band, dtype=">u2" if picture.deep else np.uint8)
        rows = big_endian.view(np.uint8).reshape(len(band), -1)
        sub = rows.copy()
        sub[:, step:] -= rows[:, :-step]
        up = rows - np.concatenate([above, rows[:-1]])
        above = rows[-1:]
        # The usual guess: the filter whose differences are smaller, as signed numbers.
        better = _magnitude(up) < _magnitude(sub)
        filters = np.where(better, 2, 1).astype(np.uint8)[:, None]
        chosen = np.where(better[:, None], up, sub)
        part = packer.compress(np.concatenate([filters, chosen], axis=1).tobytes())
        if part:
            yield part
    yield packer.flush()


def _magnitude(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    sizes: NDArray[np.int64] = np.abs(rows.view(np.int8).astype(np.int16)).sum(
        axis=1, dtype=np.int64
    )
    return sizes


def _row_bands(samples: Samples) -> Iterator[Samples]:
    height, width, channels = samples.shape
    rows = max(1, _BAND // (width * channels))
    return (samples[top : top + rows] for top in range(0, height, rows))


def write_pnm(stream: BinaryIO, rows: Rows) -> None:
    """Writes a PGM or PPM.

    Args:
        stream: Where to.
        rows: Of 1 or 3 channels.
    """
    magic, top = ("P5" if rows.channels == 1 else "P6"), (65535 if rows.deep else 255)
    stream.write(f"{magic}\n{rows.width} {rows.height}\n{top}\n".encode())
    for band in rows.few:
        stream.write(band.astype(">u2" if rows.deep else np.uint8).tobytes())


def write_tiff(
    stream: BinaryIO,
    picture: Rows,
    *,
    ink: bool,
    alpha: bool,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    blocks: dict[int, bytes] | None = None,
) -> None:
    """Writes a TIFF, compressed without loss (deflate over horizontal differences).

    The directory comes last, so that strips are written as they are made.

    Args:
        stream: Where to; must be seekable and at its beginning.
        picture: Of 1 to 5 channels.
        ink: Whether the first four channels are CMYK.
        alpha: Whether the last channel is transparency.
        exif: Tags to merge in.
        dpi: Resolution.
        blocks: Further tags that hold bytes: colour profile, XMP, IPTC.

    Raises:
        PictureError: The file would exceed 4 GB.
    """
    rows = max(1, _BAND // (picture.width * picture.channels))
    stream.write(bytes(8))  # the header, which names the directory's place
    places: list[int] = []
    sizes: list[int] = []
    for strip in _tiff_strips(picture, rows):
        places.append(stream.tell())
        sizes.append(stream.write(strip))
        if stream.tell() > _TIFF_LIMIT:
            raise PictureError("a TIFF file cannot be larger than 4 GB; choose png")
    stream.write(bytes(stream.tell() % 2))  # directories begin at even places
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    with quiet(muted=False):
        _merge_exif(tags, exif)
    colours = picture.channels - alpha
    numbers: dict[int, int | tuple[int, ...]] = {
        256: picture.width,
        257: picture.height,
        258: (16 if picture.deep else 8,) * picture.channels,
        259: 8,  # deflate
        262: 5 if ink else 2 if colours == 3 else 1,
        274: 1,
        277: picture.channels,
        278: rows,
        279: tuple(sizes),
        284: 1,
        317: 2,  # horizontal differences
    }
    if alpha:
        numbers[338] = 2  # transparency that is not multiplied into the colours
    for tag, value in numbers.items():
        tags[tag] = value
    for tag, block in (blocks or {}).items():
        tags.tagtype[tag] = TiffTags.BYTE if tag == 700 else TiffTags.UNDEFINED
        tags[tag] = block
    if dpi is not None:
        tags[282], tags[283], tags[296] = *dpi, 2
    tags.tagtype[273] = tags.tagtype[279] = TiffTags.LONG
    tags[273] = (0,) * len(places)
    start = stream.tell()
    stream.write(_placed(tags.tobytes(start), start, places))
    stream.seek(0)
    stream.write(struct.pack("<2sHI", b"II", 42, start))
    stream.seek(0, io.SEEK_END)


def _placed(directory: bytes, start: int, places: list[int]) -> bytes:
    """A directory with the places of strips, which Pillow would move behind it.

    Args:
        directory: Has an entry for as many strips.
        start: Where it will be in the file.
        places: Of the strips.
    """
    (count,) = struct.unpack_from("<H", directory)
    entries = range(2, 2 + 12 * count, 12)
    at = 8 + next(at for at in entries if struct.unpack_from("<H", directory, at) == (273,))
    if len(places) > 1:  # one is in the entry itself
        at = struct.unpack_from("<I", directory, at)[0] - start
    packed = struct.pack(f"<{len(places)}I", *places)
    return directory[:at] + packed + directory[at + len(packed) :]


def _tiff_strips(picture: Rows, rows: int) -> Iterator[bytes]:
    """Compressed strips of so many rows each."""
    for band in _of_height(picture.bands, rows):
        differences = band.copy()
        differences[:, 1:] -= band[:, :-1]
        little = differences.astype(differences.dtype.newbyteorder("<"))
        yield zlib.compress(little.tobytes(), 6)


def _of_height(bands: Iterable[Samples], rows: int) -> Iterator[Samples]:
    """The same rows in bands of one height, but for the last."""
    held: list[Samples] = []
    for band in bands:
        held.append(band)
        while sum(map(len, held)) >= rows:
            joined = np.concatenate(held) if len(held) > 1 else held[0]
            yield joined[:rows]
            held = [joined[rows:]] if len(joined) > rows else []
    if held:
        yield np.concatenate(held)


def _merge_exif(tags: TiffImagePlugin.ImageFileDirectory_v2, exif: bytes | None) -> None:
    if exif is None:
        return
    block = Image.Exif()
    block.load(exif)
    inner = {34665, 34853}
    for tag in list(block):
        try:
            value = block.get_ifd(tag) if tag in inner else block[tag]
        except Exception:  # as many kinds as there are ways to damage a directory
            continue
        if tag in _TIFF_OWN or not _is_writable(tag, value):
            continue
        if tag in inner:
            tags.tagtype[tag] = TiffTags.LONG
        tags[tag] = value


def _is_writable(tag: int, value: Any) -> bool:
    """Whether Pillow can write a tag; it reads some, in damaged blocks, that it cannot."""
    alone = Image.Exif()
    alone[tag] = value
    try:
        return bool(alone.tobytes())
    except Exception:  # whatever the conversion to the tag's type happens to meet
        return False
