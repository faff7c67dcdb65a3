"""Pictures to files."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from sr_cli.images import colour, exif, formats, raw_files
from sr_cli.images.colour import Samples
from sr_cli.images.formats import Format
from sr_cli.images.picture import (
    AppearedMeanwhileError,
    ColorModel,
    DiskFullError,
    Floats,
    Picture,
    PictureError,
    replaced,
)
from sr_cli.images.quiet import quiet
from sr_cli.images.raw_files import Rows
from sr_cli.images.transparency import on_white
from sr_cli.temporary import APPEARED, AppearedError, followed, is_device, replacing

Color = Literal["keep", "srgb"]
"""Whether colours go back into the picture's own profile or stay sRGB."""

_JPEG_QUALITY, _AVIF_QUALITY = 95, 90


def write(
    picture: Picture,
    path: Path,
    *,
    format: str | None = None,
    quality: int | None = None,
    color: Color = "keep",
    software: str | None = None,
    keep: bool = False,
) -> None:
    """Writes a picture to a file that is either whole or not there.

    What the format cannot hold is left out; `losses` tells what. Transparency is laid on white.

    Args:
        picture: Pixels and metadata.
        path: An existing file is replaced (but see `keep`). A device or pipe is written to as it
            is.
        format: A name out of `known_formats()`; by default told from the path's ending.
        quality: 1 to 100. JPEG's default is 95 (90 and more do not subsample colours), AVIF's 90;
            WebP is lossless unless a quality is given; the others have none and ignore it.
        color: "keep" puts colours back into the picture's own profile, or its inks, where the
            format can hold them; "srgb" leaves them in sRGB and embeds a profile that says so.
        software: Name of the program, for the Software tag.
        keep: Whether a file that is there when the picture is done stays, and is an error.

    Raises:
        AppearedMeanwhileError: There is one, and it was to be kept.
        DiskFullError: There is no room for it.
        PictureError: It cannot be written; nothing is left behind.
    """
    chosen = formats.find(format, path.suffix)
    with _os_errors(path), replacing(path, keep=keep) as stream:
        _encode(stream, picture, chosen, quality, color, software)


def takes_rows(picture: Picture, format: str) -> bool:
    """Whether `write_rows` can write an enlarged version of a picture in a format."""
    # What sRGB could not hold is resized as a whole.
    return format in ("png", "tiff", "pnm") and picture.beyond is None


def write_rows(
    picture: Picture,
    rows: Iterable[tuple[Floats, Floats | None]],
    size: tuple[int, int],
    path: Path,
    *,
    format: str,
    color: Color = "keep",
    software: str | None = None,
    keep: bool = False,
) -> None:
    """Writes a picture as its rows are made, so that it is never in memory as a whole.

    Args:
        picture: Whose metadata go into the file; one for which `takes_rows` holds.
        rows: From top to bottom, (h, W, 3) of sRGB and (h, W) of alpha or None.
        size: Width and height of them all.
        path: As for `write`; the following too.
        format: "png", "tiff" or "pnm".
        color: Whether colours go back into the picture's own profile.
        software: Name of the program.
        keep: As for `write`.

    Raises:
        AppearedMeanwhileError: As for `write`.
        DiskFullError: There is no room for it.
        PictureError: It cannot be written; nothing is left behind.
    """
    chosen = formats.find(format, path.suffix)
    _check_sides(chosen, *size)

    def prepared(band: tuple[Floats, Floats | None]) -> _Prepared:
        return _prepared(replaced(picture, *band), chosen, color, software, size)

    ahead = iter(rows)
    first = prepared(next(ahead))
    # Not a loop, whose variable would hold on to floats while the next ones are made.
    bands = itertools.chain([first.samples], map(attrgetter("samples"), map(prepared, ahead)))
    deep, channels = first.samples.dtype == np.uint16, first.samples.shape[2]
    made = Rows(size[1], size[0], channels, deep, bands)
    with _os_errors(path), replacing(path, keep=keep) as stream:
        if chosen.name == "pnm":
            raw_files.write_pnm(stream, made)
        elif chosen.name == "tiff":
            _write_tiff(stream, first, made)
        else:
            raw_files.write_png(stream, made, _options(first, chosen, None))


def encode(
    picture: Picture,
    *,
    format: str,
    quality: int | None = None,
    color: Color = "keep",
    software: str | None = None,
) -> bytes:
    """The bytes of the file that `write` would write, for instance for standard output.

    Raises:
        PictureError: The format cannot hold the picture.
    """
    stream = io.BytesIO()
    _encode(stream, picture, formats.find(format, ""), quality, color, software)
    return stream.getvalue()


def prepare(path: Path, *, format: str | None = None, width: int, height: int) -> None:
    """Makes the folder of a file, and tells before long work what would make `write` fail.

    Args:
        path: The file to be.
        format: As `write` will be told.
        width: Of the picture to be.
        height: Likewise.

    Raises:
        PictureError: It could not be written.
    """
    _check_sides(formats.find(format, path.suffix), width, height)
    with _os_errors(path):
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # notices names that are too long
        named, path = path, followed(path)
    with _os_errors(path):
        if path == named:  # a link to a folder that is missing leads to a disk that is
            path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.stat()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path if is_device(path) else path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check_sides(chosen: Format, width: int, height: int) -> None:
    if max(width, height) > chosen.largest_side:
        raise PictureError(
            f"{chosen.name} holds at most {chosen.largest_side} pixels a side, and the picture "
            f"is {width} x {height}; choose png or tiff"
        )


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """Says in a sentence why the system refused."""
    try:
        yield
    except AppearedError as error:
        raise AppearedMeanwhileError(APPEARED) from error
    except FileNotFoundError as error:
        raise PictureError(f"the folder {path.parent} does not exist") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise PictureError(f"{path.parent} is not a folder") from error
    except IsADirectoryError as error:
        raise PictureError("this is a folder, so no file can be written there") from error
    except PermissionError as error:
        raise PictureError(f"the folder {path.parent} may not be written to") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError("there is no space left to write the picture") from error
        if error.errno == errno.ENAMETOOLONG:
            raise PictureError(
                "the name of its result is too long for the file system; give a shorter one with -o"
            ) from error
        reason = error.strerror or str(error)
        raise PictureError(f"the picture cannot be written: {reason}") from error


@dataclass(frozen=True)
class _Prepared:
    """What goes into the file."""

    samples: Samples
    """(H, W, C) with alpha as the last channel, if any."""
    model: ColorModel
    alpha: bool
    icc_profile: bytes | None
    exif: bytes | None
    xmp: bytes | None
    iptc: bytes | None
    dpi: tuple[float, float] | None
    texts: tuple[tuple[str, str], ...]
    software: str | None


def _encode(
    stream: BinaryIO,
    picture: Picture,
    chosen: Format,
    quality: int | None,
    color: Color,
    software: str | None,
) -> None:
    if quality is not None and not 1 <= quality <= 100:
        raise PictureError(f"the quality must be 1 to 100, not {quality}")
    _check_sides(chosen, picture.width, picture.height)
    prepared = _prepared(picture, chosen, color, software)
    deep = prepared.samples.dtype == np.uint16
    if chosen.name == "pnm":
        raw_files.write_pnm(stream, Rows.of(prepared.samples))
    elif chosen.name == "tiff":
        _write_tiff(stream, prepared, Rows.of(prepared.samples))
    elif chosen.name == "png" and deep:
        raw_files.write_png(stream, Rows.of(prepared.samples), _options(prepared, chosen, quality))
    else:
        _through_pillow(stream, prepared, chosen, quality)


def _prepared(
    picture: Picture,
    chosen: Format,
    color: Color,
    software: str | None,
    size: tuple[int, int] | None = None,
) -> _Prepared:
    """What goes into the file.

    Args:
        picture: All of it, or some rows.
        chosen: The format.
        color: See `write`.
        software: See `write`.
        size: Width and height of all of it, if these are some rows.
    """
    said = picture.metadata
    rgb, alpha = picture.rgb, _alpha_channel(picture) if chosen.alpha else None
    if not chosen.alpha:
        rgb = on_white(rgb, picture.alpha)
    depth = 16 if said.bit_depth == 16 and chosen.deep else 8
    model = said.color_model
    # Few programs, and not Pillow, read TIFF with 16-bit gray and transparency.
    rare = chosen.name == "tiff" and depth == 16 and alpha is not None
    if model == "gray" and (rare or not chosen.gray):
        model, rgb = "rgb", colour.gray_of(rgb)
    samples, model, icc = _in_own_colours(picture, rgb, model, chosen, color, depth)
    if alpha is not None and model != "cmyk":
        samples = np.concatenate([samples, colour.quantised(alpha[..., None], depth)], axis=2)
    kept = {
        name: getattr(said, name) if chosen.keeps(name, getattr(said, name)) else None
        for name in _FIELDS
    }
    block = _new_exif(
        said.exif,
        size or (picture.width, picture.height),
        software,
        srgb=color == "srgb",
        dpi=said.dpi if "dpi" not in chosen.metadata else None,
    )
    return _Prepared(
        samples,
        model,
        alpha is not None and model != "cmyk",
        icc,
        block if chosen.keeps("exif", block) else None,
        kept["xmp"],
        kept["iptc"],
        kept["dpi"],
        tuple(text for text in said.texts if chosen.keeps_text(*text)),
        software,
    )


_FIELDS = ("xmp", "iptc", "dpi")


def _in_own_colours(
    picture: Picture, rgb: Floats, model: ColorModel, chosen: Format, color: Color, depth: int
) -> tuple[Samples, ColorModel, bytes | None]:
    """Samples, what they are, and the profile to embed."""
    own = picture.metadata.icc_profile
    fits = colour.fits(own, model) and (model != "cmyk" or chosen.ink)
    if color == "keep" and fits and (own is None or "icc_profile" in chosen.metadata):
        try:
            return colour.from_srgb(rgb, model, own, depth, picture.beyond), model, own
        except ImageCms.PyCMSError:
            pass  # a profile that works one way only, as scanners have: sRGB it is
    # Pixels that never had a profile need none, and one for colours does not belong on gray.
    says_so = color == "srgb" or own is not None or model == "cmyk"
    model = "rgb" if model == "cmyk" else model
    embeds = says_so and model == "rgb" and "icc_profile" in chosen.metadata
    samples = colour.from_srgb(rgb, model, None, depth)
    return samples, model, colour.srgb_profile() if embeds else None


def _alpha_channel(picture: Picture) -> Floats | None:
    if picture.alpha is not None:
        return picture.alpha
    opaque = np.ones(picture.rgb.shape[:2], dtype=np.float32)
    return opaque if picture.metadata.has_alpha else None


def _new_exif(
    block: bytes | None,
    size: tuple[int, int],
    software: str | None,
    *,
    srgb: bool,
    dpi: tuple[float, float] | None,
) -> bytes | None:
    try:
        return exif.edited(
            block,
            width=size[0],
            height=size[1],
            software=software,
            srgb=srgb,
            dpi=dpi,
        )
    except ValueError:  # a block that was put together elsewhere and is no EXIF
        return None


_PHOTOSHOP = 0x0404


def _write_tiff(stream: BinaryIO, prepared: _Prepared, rows: Rows) -> None:
    blocks = {34675: prepared.icc_profile, 700: prepared.xmp, 33723: prepared.iptc}
    raw_files.write_tiff(
        stream,
        rows,
        ink=prepared.model == "cmyk",
        alpha=prepared.alpha,
        exif=prepared.exif,
        dpi=prepared.dpi,
        blocks={tag: block for tag, block in blocks.items() if block is not None},
    )


def _through_pillow(
    stream: BinaryIO, prepared: _Prepared, chosen: Format, quality: int | None
) -> None:
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[prepared.samples.shape[2]]
    mode = "CMYK" if prepared.model == "cmyk" else mode
    samples = prepared.samples[..., 0] if mode == "L" else prepared.samples
    height, width = samples.shape[:2]
    # Not `fromarray`, which wants to know the mode by itself; no copy where Pillow needs none.
    held = np.ascontiguousarray(samples)
    image = Image.frombuffer(mode, (width, height), held, "raw", mode, 0, 1)
    if chosen.name == "avif" and mode == "RGB":
        # From three channels libavif goes to YCbCr by short arithmetic, which shifts red and blue
        # by most of a level. From four it does not, and it leaves out an opaque fourth.
        image = image.convert("RGBA")
    try:
        image.save(stream, chosen.name.upper(), **_options(prepared, chosen, quality))
    except OSError as error:
        if error.errno is not None:  # the system's, such as a full disk
            raise
        raise PictureError(f"the picture cannot be written as {chosen.name}: {error}") from error
    except (ValueError, RuntimeError, KeyError) as error:
        raise PictureError(f"the picture cannot be written as {chosen.name}: {error}") from error
    except MemoryError as error:
        raise PictureError("there is not enough memory to write the picture") from error


def _options(prepared: _Prepared, chosen: Format, quality: int | None) -> dict[str, Any]:
    """What Pillow's writer of the format is told."""
    found: dict[str, Any] = {
        "icc_profile": prepared.icc_profile,
        "exif": None if prepared.exif is None else b"Exif\0\0" + prepared.exif,
        "xmp": prepared.xmp,
        "dpi": prepared.dpi,
    }
    if chosen.name == "png":
        found["pnginfo"] = _png_texts(prepared)
        found["compress_level"] = raw_files.PNG_LEVEL
        del found["xmp"]
    elif chosen.name == "jpeg":
        found |= _jpeg_options(prepared, quality)
    elif chosen.name == "webp":
        found |= {"lossless": True} if quality is None else {"quality": quality, "method": 4}
        found["exact"] = True  # keep the colours under transparent pixels
    elif chosen.name == "avif":
        found |= {"quality": quality or _AVIF_QUALITY, "subsampling": "4:4:4"}
        found["exif"] = _rebuilt(prepared.exif)
    return {name: value for name, value in found.items() if value is not None}


def _rebuilt(block: bytes | None) -> bytes | None:
    """The block as Pillow would put it together, or None if it cannot.

    Its AVIF writer takes EXIF apart, and would fail over a damaged block.
    """
    if block is None:
        return None
    with quiet(muted=False):
        try:
            tags = Image.Exif()
            tags.load(block)
            return tags.tobytes()
        except Exception:  # damaged blocks lead to errors of any kind
            return None


def _png_texts(prepared: _Prepared) -> PngImagePlugin.PngInfo:
    texts = PngImagePlugin.PngInfo()
    if prepared.software is not None:
        texts.add_text("Software", prepared.software)
    for key, value in prepared.texts:
        texts.add_text(key, value)  # as iTXt if it has to be
    if prepared.xmp is not None:
        packet = prepared.xmp.decode("utf-8", "replace")
        texts.add_itxt("XML:com.adobe.xmp", packet)
    return texts


def _jpeg_options(prepared: _Prepared, quality: int | None) -> dict[str, Any]:
    quality = _JPEG_QUALITY if quality is None else quality
    options: dict[str, Any] = {"quality": quality, "optimize": True}
    if prepared.model != "gray":
        options["subsampling"] = "4:4:4" if quality >= 90 else "4:2:0"
    if prepared.iptc is not None:
        options["extra"] = _photoshop_segment(prepared.iptc)
    if prepared.texts:  # the comment alone: see `Format.keeps_text`
        options["comment"] = prepared.texts[0][1].encode()
    return options


def _photoshop_segment(iptc: bytes) -> bytes:
    """The JPEG segment in which IPTC lies: one Photoshop resource without a name."""
    body = b"8BIM" + _PHOTOSHOP.to_bytes(2, "big") + b"\0\0" + len(iptc).to_bytes(4, "big") + iptc
    body = b"Photoshop 3.0\0" + body + b"\0" * (len(iptc) % 2)
    return b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body
