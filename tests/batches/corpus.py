"""Thousands of broken pictures, the same every time: cut short, bits flipped, headers that lie."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image

from sr_cli.images import encode
from tests.images import made

SIDES = ((0, 0), (0, 7), (7, 0), (14_000, 14_000), (65_535, 3_000), (2**16 - 1, 2**16 - 1))
"""Sizes that headers claim: none, one side only, just below the limit, and far beyond it."""
LARGE_SIDES = ((2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (2**32 - 1, 2**32 - 1))
"""Further ones, for formats that have 32 bits to claim them."""


def whole_files() -> dict[str, bytes]:
    """Sound files of every format, in its variants; name to content."""
    shades = np.random.default_rng(8).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    photo = Image.fromarray(shades).resize((36, 24), Image.Resampling.BICUBIC)
    said = {"exif": made.exif(6, thumbnail=b"t" * 60), "xmp": b"<x/>", "dpi": (72.0, 72.0)}
    rich = made.picture(alpha=True, icc_profile=made.display_p3(), **said)
    deep = made.picture(depth=16, alpha=True, **said)
    files = {}
    for format in ("png", "jpeg", "webp", "tiff", "avif", "bmp", "pnm"):
        files[f"rich.{format}"] = encode(rich, format=format)
    for format in ("png", "tiff", "pnm"):
        files[f"deep.{format}"] = encode(deep, format=format)
    files["lossy.webp"] = encode(rich, format="webp", quality=60)

    def saved(name: str, image: Image.Image, **options: object) -> None:
        stream = io.BytesIO()
        image.save(stream, name.rpartition(".")[2], **options)
        files[name] = stream.getvalue()

    saved("progressive.jpeg", photo, progressive=True)
    saved("gray.jpeg", photo.convert("L"))
    saved("inks.jpeg", photo.convert("CMYK"))
    saved("palette.png", photo.quantize(16), transparency=3)
    saved("lzw.tiff", photo, compression="tiff_lzw")
    saved("packed.tiff", photo, compression="packbits")
    saved("raw.tiff", photo.convert("CMYK"), icc_profile=made.ink())
    saved("jpeg.tiff", photo, compression="jpeg")
    saved("fax.tiff", photo.convert("1"), compression="group4")
    saved("pages.tiff", photo, save_all=True, append_images=[photo.rotate(90)])
    saved("film.gif", photo, save_all=True, append_images=[photo.rotate(90)])
    saved("film.webp", photo, save_all=True, append_images=[photo.rotate(90)])
    saved("film.png", photo, save_all=True, append_images=[photo.rotate(90)])
    saved("palette.bmp", photo.quantize(16))
    files["plain.ppm"] = b"P3\n3 2\n255\n" + b" ".join(b"%d" % n for n in range(18)) + b"\n"
    files["bits.pbm"] = b"P4\n17 5\n" + bytes(range(15))
    return files


def structural_points(name: str, data: bytes) -> list[int]:
    """Offsets at which a part of the file begins or ends."""
    walkers: dict[bytes, Callable[[bytes], Iterable[int]]] = {
        b"\x89P": _png_points,
        b"\xff\xd8": _jpeg_points,
        b"RI": _riff_points,
        b"II": _tiff_points,
        b"MM": _tiff_points,
        b"GI": _gif_points,
        b"BM": lambda whole: (2, 6, 10, 14, 18, 22, 26, 30, 34, 54, len(whole) - 36),
        b"\0\0": _box_points,
    }
    walk = walkers.get(data[:2], _pnm_points)
    return sorted({point for point in walk(data) if 0 <= point <= len(data)})


def _png_points(data: bytes) -> Iterator[int]:
    at = 8
    while at + 8 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        yield from (at, at + 4, at + 8, at + 8 + length // 2, at + 8 + length)
        at += 12 + length


def _jpeg_points(data: bytes) -> Iterator[int]:
    at = 2
    while at + 4 <= len(data):
        length = struct.unpack_from(">H", data, at + 2)[0]
        yield from (at, at + 2, at + 4, at + 2 + length // 2)
        scan = data[at + 1] == 0xDA
        at += 2 + length
        if scan:
            yield from (at, at + 1)
            while at + 1 < len(data) and (data[at] != 0xFF or data[at + 1] in (0, 0xFF)):
                at += 1
            yield at - 1
    yield at


def _riff_points(data: bytes, at: int = 12) -> Iterator[int]:
    yield from (4, 8)
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield from (at, at + 4, at + 8, at + 8 + length // 2, at + 8 + length)
        if kind == b"ANMF":
            yield from (point for point in _riff_points(data, at + 24) if point < at + 8 + length)
        at += 8 + length + length % 2


def _tiff_points(data: bytes) -> Iterator[int]:
    order = "<" if data[:2] == b"II" else ">"
    yield from (2, 4, 8)
    at = struct.unpack_from(order + "I", data, 4)[0]
    for _ in range(4):
        if not 0 < at < len(data):
            return
        count = struct.unpack_from(order + "H", data, at)[0]
        yield from (at, at + 2)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            yield from (entry, entry + 2, entry + 4, entry + 8)
            value = struct.unpack_from(order + "I", data, entry + 8)[0]
            yield from (value, value + 1)
        at = struct.unpack_from(order + "I", data, at + 2 + 12 * count)[0]


def _gif_points(data: bytes) -> Iterator[int]:
    def table(flags: int) -> int:
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    at = 13 + table(data[10])
    yield from (3, 6, 10, 13, 13 + table(data[10]) // 2, at)
    while at < len(data) and data[at] in (0x21, 0x2C):
        if data[at] == 0x2C:
            after = at + 10 + table(data[at + 9]) + 1
            yield from (at + 1, at + 5, at + 9, after - 1)
        else:
            after = at + 2
        yield after
        while data[after]:
            yield from (after + 1, after + data[after] // 2)
            after += data[after] + 1
        at = after + 1
        yield at


def _box_points(data: bytes, at: int = 0, end: int | None = None) -> Iterator[int]:
    """ISO base media boxes, those within boxes among them."""
    end = len(data) if end is None else end
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        yield from (at, at + 4, at + 8, at + length // 2, at + length)
        inner = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"iinf": 14}.get(kind)
        if inner:
            yield from _box_points(data, at + inner, at + length)
        at += max(length, 8)


def _pnm_points(data: bytes) -> Iterator[int]:
    head = data[:24]
    yield from (at for at in range(1, len(head)) if (head[at] <= 32) != (head[at - 1] <= 32))
    yield from (len(data) // 2, len(data) - 1)


def cut_short(name: str, data: bytes) -> Iterator[bytes]:
    """The file, ended before, at and behind every structural point."""
    points = structural_points(name, data)
    lengths = {point + step for point in points for step in (-1, 0, 1)}
    return (data[:length] for length in sorted(lengths) if 0 <= length < len(data))


def with_flips(name: str, data: bytes, number: int) -> Iterator[bytes]:
    """The file with one to four flipped bits, mostly near its structural points."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    points = structural_points(name, data)
    for trial in range(number):
        broken = bytearray(data)
        for _ in range(1 + trial % 4):
            near = int(random.choice(points)) + int(random.integers(0, 6))
            place = near if trial % 3 else int(random.integers(len(data)))
            broken[min(place, len(data) - 1)] ^= 1 << int(random.integers(8))
        yield bytes(broken)


def claiming(name: str, data: bytes) -> Iterator[bytes]:
    """The file with a header that claims another size."""
    kind = data[:2]
    for width, height in SIDES:
        found = None
        if kind == b"\x89P":
            found = _png_claiming(data, width, height)
        elif kind == b"\xff\xd8":
            found = _jpeg_claiming(data, width, height)
        elif kind == b"GI":
            at = data.index(b"\x2c\0\0\0\0") + 5
            size = struct.pack("<HH", width, height)
            found = data[:6] + size + data[10:at] + size + data[at + 4 :]
        elif kind == b"P6":
            found = b"P6\n%d %d\n255\n" % (width, height) + data[-50:]
        elif kind == b"RI":
            found = _webp_claiming(data, width, height)
        if found is not None:
            yield found
    for width, height in (*SIDES, *LARGE_SIDES):
        if kind == b"\x89P":
            yield _png_claiming(data, width, height)
        elif kind == b"BM":
            yield data[:18] + struct.pack("<II", width, height) + data[26:]
        elif kind == b"II":
            yield _tiff_claiming(data, width, height)
        elif kind == b"\0\0":
            at = data.index(b"ispe") + 8
            yield data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def _png_claiming(data: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def _jpeg_claiming(data: bytes, width: int, height: int) -> bytes:
    at = next(n for n in _jpeg_points(data) if data[n] == 0xFF and data[n + 1] in (0xC0, 0xC2))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def _webp_claiming(data: bytes, width: int, height: int) -> bytes | None:
    """Sizes of the canvas; the pictures on it stay as they are."""
    if data[12:16] != b"VP8X":
        return None
    size = struct.pack("<II", max(width - 1, 0), max(height - 1, 0))
    return data[:24] + size[:3] + size[4:7] + data[30:]


def _tiff_claiming(data: bytes, width: int, height: int) -> bytes:
    broken = bytearray(data)
    at = struct.unpack_from("<I", data, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in (256, 257):
            size = width if tag == 256 else height
            struct.pack_into("<HHII", broken, entry, tag, 4, 1, size)
    return bytes(broken)


def strangers() -> dict[str, bytes]:
    """Files that are no pictures, or not those that they say."""
    random = np.random.default_rng(9)
    found = {
        "empty.png": b"",
        "text.jpg": b"Dear reader,\nthis is no picture.\n",
        "page.webp": b"<!DOCTYPE html><html><body>404</body></html>",
        "drawing.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "archive.tif": b"PK\x03\x04" + bytes(26) + b"a.jpg",
        "paper.jpeg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "script.bmp": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "layers.png": b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3),
        "sound.gif": b"ID3\x04\0\0\0\0\0\0" + bytes(200),
        "program.png": b"\x7fELF\x02\x01\x01" + bytes(57),
        "zeros.png": bytes(5000),
        "ones.jpg": b"\xff" * 5000,
    }
    for number in range(40):
        noise = random.integers(0, 256, int(random.integers(1, 3000))).astype(np.uint8).tobytes()
        found[f"noise{number}.{('png', 'jpg', 'webp', 'tif', 'avif')[number % 5]}"] = noise
    heads = (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"P6\n",
        b"RIFF",
    )
    for number, head in enumerate(heads):
        found[f"head{number}.png"] = head + random.bytes(900)
    return found


def corpus(flips: int) -> dict[str, bytes]:
    """All of them, name to content; no two have the same content.

    Args:
        flips: How many of every whole file have flipped bits.
    """
    files = whole_files()
    found = strangers()
    names = list(files)
    for number, (name, data) in enumerate(files.items()):
        stem, _, ending = name.rpartition(".")
        other = names[(number * 5 + 3) % len(names)].rpartition(".")[2]
        found[f"{stem}-{ending}-misnamed.{other}"] = data
        makers = {"cut": cut_short(name, data), "size": claiming(name, data)}
        makers["flip"] = with_flips(name, data, flips)
        for kind, broken in makers.items():
            found |= {f"{stem}-{kind}{n:03}.{ending}": each for n, each in enumerate(broken)}
    once = {content: name for name, content in reversed(found.items())}
    return {name: content for content, name in once.items()}
