"""The table of `docs/formats.md`, made of round trips: what goes in and what comes out.

With SR_CLI_WRITE_DOCS set the table is written; else the one that is there must be the same.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import made
import numpy as np
import pytest
from PIL import Image

from sr_cli.images import (
    Metadata,
    Picture,
    colour,
    encode,
    losses,
    read,
    replaced,
    result_format,
)

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
NAMES = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "tiff": "TIFF", "avif": "AVIF",
         "bmp": "BMP", "pnm": "PNM", "gif": "GIF"}  # fmt: skip

Maker = Callable[[], bytes]


def by_pillow(mode: str, format: str, **options: object) -> Maker:
    """Patches saved as Pillow does; metadata where it takes them."""

    def make() -> bytes:
        rgb = Image.fromarray(np.rint(made.patches() * 255).astype(np.uint8))
        alpha = Image.fromarray(np.rint(made.patch_alpha() * 255).astype(np.uint8))
        if mode in ("LA", "RGBA"):
            image = rgb.convert(mode)
            image.putalpha(alpha)
        elif mode == "P":
            image = rgb.quantize(6)
        elif mode == "1":
            image = rgb.convert("L").point(lambda v: 255 * (v > 128), "1")
        else:
            image = rgb.convert(mode)
        stream = io.BytesIO()
        image.save(stream, format, **options)
        return stream.getvalue()

    return make


def by_us(format: str, **options: object) -> Maker:
    """Patches with 16 bits a channel, which Pillow cannot write; `made` picks the kind."""
    return lambda: encode(made.picture(depth=16, **options), format=format)


SAID = {"icc_profile": made.display_p3(), "exif": b"Exif\0\0" + made.exif()}
GRAY = {"icc_profile": made.gray_gamma(1.8), "exif": b"Exif\0\0" + made.exif()}
SAID_16 = {"icc_profile": made.display_p3(), "exif": made.exif()}
GRAY_16 = {"icc_profile": made.gray_gamma(1.8), "exif": made.exif()}
TIFF = {"icc_profile": made.display_p3(), "tiffinfo": {272: "Test Camera"}}
TIFF_GRAY = {"icc_profile": made.gray_gamma(1.8), "tiffinfo": {272: "Test Camera"}}

CASES: tuple[tuple[str, str, int, Maker], ...] = (
    ("png", "1 bit", 1, by_pillow("1", "PNG")),
    ("png", "gray", 8, by_pillow("L", "PNG", **GRAY)),
    ("png", "gray + alpha", 8, by_pillow("LA", "PNG", **GRAY)),
    ("png", "palette", 8, by_pillow("P", "PNG", **SAID)),
    ("png", "palette + tRNS", 8, by_pillow("P", "PNG", transparency=0, **SAID)),
    ("png", "RGB", 8, by_pillow("RGB", "PNG", **SAID)),
    ("png", "RGBA", 8, by_pillow("RGBA", "PNG", **SAID)),
    ("png", "gray", 16, by_us("png", gray=True, **GRAY_16)),
    ("png", "gray + alpha", 16, by_us("png", gray=True, alpha=True, **GRAY_16)),
    ("png", "RGB", 16, by_us("png", **SAID_16)),
    ("png", "RGBA", 16, by_us("png", alpha=True, **SAID_16)),
    ("jpeg", "gray", 8, by_pillow("L", "JPEG", quality=95, **GRAY)),
    ("jpeg", "RGB", 8, by_pillow("RGB", "JPEG", quality=95, **SAID)),
    ("jpeg", "CMYK", 8, by_pillow("CMYK", "JPEG", quality=95, exif=SAID["exif"])),
    ("webp", "RGB, lossless", 8, by_pillow("RGB", "WEBP", lossless=True, **SAID)),
    ("webp", "RGBA, lossless", 8, by_pillow("RGBA", "WEBP", lossless=True, exact=True, **SAID)),
    ("webp", "RGB, lossy", 8, by_pillow("RGB", "WEBP", quality=90, **SAID)),
    ("tiff", "1 bit", 1, by_pillow("1", "TIFF")),
    ("tiff", "gray", 8, by_pillow("L", "TIFF", **TIFF_GRAY)),
    ("tiff", "gray + alpha", 8, by_pillow("LA", "TIFF", **TIFF_GRAY)),
    ("tiff", "palette", 8, by_pillow("P", "TIFF", **TIFF)),
    ("tiff", "RGB", 8, by_pillow("RGB", "TIFF", **TIFF)),
    ("tiff", "RGBA", 8, by_pillow("RGBA", "TIFF", **TIFF)),
    ("tiff", "CMYK", 8, by_pillow("CMYK", "TIFF", tiffinfo={272: "Test Camera"})),
    ("tiff", "gray", 16, by_us("tiff", gray=True, **GRAY_16)),
    ("tiff", "RGB", 16, by_us("tiff", **SAID_16)),
    ("tiff", "RGBA", 16, by_us("tiff", alpha=True, **SAID_16)),
    ("avif", "RGB", 8, by_pillow("RGB", "AVIF", quality=90, subsampling="4:4:4", **SAID)),
    ("avif", "RGBA", 8, by_pillow("RGBA", "AVIF", quality=90, subsampling="4:4:4", **SAID)),
    ("bmp", "1 bit", 1, by_pillow("1", "BMP")),
    ("bmp", "gray", 8, by_pillow("L", "BMP")),
    ("bmp", "palette", 8, by_pillow("P", "BMP")),
    ("bmp", "RGB", 8, by_pillow("RGB", "BMP")),
    ("gif", "palette", 8, by_pillow("P", "GIF")),
    ("gif", "palette + transparency", 8, by_pillow("P", "GIF", transparency=0)),
    ("pnm", "1 bit (PBM)", 1, by_pillow("1", "PPM")),
    ("pnm", "gray (PGM)", 8, by_pillow("L", "PPM")),
    ("pnm", "RGB (PPM)", 8, by_pillow("RGB", "PPM")),
    ("pnm", "gray (PGM)", 16, by_us("pnm", gray=True)),
    ("pnm", "RGB (PPM)", 16, by_us("pnm")),
)


@dataclass(frozen=True)
class Trip:
    """A picture and what it is after it was written in a format and read again."""

    before: Picture
    after: Picture
    format: str

    @property
    def colours(self) -> float:
        """Largest difference of flat patches, in levels of 8 bits; hidden ones do not count.

        In the numbers of the file, since a step of those can be several in sRGB.
        """
        seen = np.ones((2, 3), bool)
        expected = self.before
        if self.before.alpha is not None:
            seen = made.centres(self.before.alpha) > 0
            if self.after.alpha is None:
                cover = self.before.alpha[..., None]
                expected = replaced(self.before, self.before.rgb * cover + 1 - cover)
        wanted = self._numbers(expected)
        if self.after.metadata.bit_depth == 8:
            wanted = np.rint(wanted)  # no file of 8 bits can do better
        difference = np.abs(self._numbers(self.after) - wanted)
        return float(made.centres(difference)[seen].max())

    def _numbers(self, picture: Picture) -> np.ndarray:
        """Colours in the profile of the file that went in, in levels of 0 to 255."""
        said = self.before.metadata
        if said.color_model == "cmyk":
            return picture.rgb * 255
        numbers = colour.from_srgb(
            picture.rgb, said.color_model, said.icc_profile, 16, picture.beyond
        )
        return numbers / 257

    @property
    def alpha(self) -> str:
        if self.before.alpha is None:
            return "-"
        if self.after.alpha is None:
            return "on white"
        exact = (made.centres(self.before.alpha) == made.centres(self.after.alpha)).all()
        return "exact" if exact else "changed"

    def block(self, field: str) -> str:
        before, after = (getattr(p.metadata, field) for p in (self.before, self.after))
        if before is None:
            return "-"
        if after is None:
            return "dropped"
        if field == "exif":
            own = (made.ORIENTATION, made.WIDTH, made.HEIGHT, 305)
            before, after = (
                {tag: value for tag, value in made.tags_of(block).items() if tag not in own}
                for block in (before, after)
            )
            before = {tag: value for tag, value in before.items() if tag in after or tag != 34665}
        return "same" if before == after else "changed"


def travel(picture: Picture, format: str) -> Trip:
    data = encode(picture, format=format, software="sr-cli")
    return Trip(picture, read(io.BytesIO(data)), format)


def kind(picture: Picture) -> str:
    said = picture.metadata
    colours = {"gray": "gray", "rgb": "RGB", "cmyk": "CMYK"}[said.color_model]
    alpha = {"gray": " + alpha", "RGB": "A"}.get(colours, "") if said.has_alpha else ""
    return f"{colours}{alpha} {said.bit_depth}"


def level(value: float) -> str:
    """A difference as the table gives it: what rounding leaves is 0, others the next level."""
    return "0" if value < 0.51 else f"≤ {math.ceil(value - 0.01)}"


def same_format_rows() -> Iterator[tuple[str, ...]]:
    for name, mode, depth, make in CASES:
        picture = read(io.BytesIO(make()))
        default = result_format(io.BytesIO(make()), 1)
        own = name if name != "gif" else "png"
        trip = travel(picture, own)
        yield (
            NAMES[name],
            mode,
            str(depth),
            kind(picture),
            f"{NAMES[own]} {kind(trip.after)}",
            level(trip.colours),
            trip.alpha,
            trip.block("icc_profile"),
            trip.block("exif"),
            NAMES[default],
        )


def other_format_rows() -> Iterator[tuple[str, ...]]:
    kinds = {
        "gray 8": made.picture(gray=True),
        "gray 16": made.picture(gray=True, depth=16),
        "RGB 8": made.picture(**SAID_16),
        "RGB 16": made.picture(depth=16, **SAID_16),
        "RGBA 8": made.picture(alpha=True, **SAID_16),
        "RGBA 16": made.picture(alpha=True, depth=16, **SAID_16),
        "CMYK 8": Picture(made.patches(), None, Metadata(color_model="cmyk", icc_profile=made.ink(),
                                                         exif=made.exif())),
    }  # fmt: skip
    for format in ("png", "tiff", "webp", "jpeg", "avif", "bmp", "pnm"):
        for name, picture in kinds.items():
            trip = travel(picture, format)
            found = losses(picture, format)
            told = "; ".join(text.removeprefix(f"{format} ") for text in found) or "nothing"
            # Inks are compared in sRGB after two passes through 8-bit tables of a made profile.
            levels = "-" if name.startswith("CMYK") else level(trip.colours)
            yield (NAMES[format], name, kind(trip.after), levels, trip.alpha, told)


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page() -> str:
    same = table(
        ("File", "Pixels", "Bits", "Read as", "Written as", "Colours", "Alpha", "ICC", "EXIF",
         "Default"),
        same_format_rows(),
    )  # fmt: skip
    other = table(
        ("Format", "Picture", "Comes out as", "Colours", "Alpha", "Lost, as the program says"),
        other_format_rows(),
    )
    return f"""# Picture formats: what goes in and what comes out

Made by `SR_CLI_WRITE_DOCS=1 pytest tests/images/test_formats_table.py` from round trips; the tests
fail if this page is not what they find. The "network" of these trips changes nothing, so that all
differences are those of reading and writing.

- *Bits* and the numbers behind *Read as* are bits a channel.
- *Colours* is the largest difference of flat patches after the trip, in levels of 0 to 255 of the
  file's own numbers (of sRGB for inks), the worst of three channels, from the
  nearest that the bits of the result can hold. 0 means up to half a level, which is
  rounding. JPEG is written at quality 95 and AVIF at 90, the defaults;
  WebP is lossless unless `--quality` is given, which means nothing to the others.
- *Alpha* is compared on flat areas. *ICC* is compared byte for byte. *EXIF* is compared field for
  field, but for orientation, size and software. A dash means that there was none to compare.

## Back into the same format

*Default* is the format of the result where neither `--format` nor the name of OUT says one: the
file's own if that is lossless and has room for the larger picture, else PNG. GIF cannot be written,
so its row shows PNG.

{same}

JPEG and AVIF hold luma and chroma in whole numbers of 8 bits, the rounding of which is worth a
level. That holds for any flat colour in JPEG; in AVIF one colour in a hundred, strong blues and
yellows, is two levels off when Pillow reads it, whose decoder works with six bits there.

Of several pages or frames the first is read, and a note says so. 16-bit CMYK is read with 8 bits.
Lab TIFF is converted to sRGB. Pixels of 32 bits or with fractions are refused with a sentence, and
so is 16-bit TIFF with gray and transparency, or with a white of 0 and the higher byte first.

Colours are what an embedded profile says, else sRGB. What a PNG says of them without one (gAMA of
another curve, cICP) is not followed, and a note says so.

The resolution is kept in every format but PNM; in WebP and AVIF as a part of EXIF, unless that says
another. The comment of a JPEG or GIF is kept in JPEG and PNG, text fields in PNG. Of a TIFF's own
tags those that describe the picture or its document are kept as EXIF is: descriptions, names of
document and page, page number and position, camera, dates, author, copyright, rating, place.

HEIC, JPEG 2000, JPEG XL, camera raws, PSD, SVG and the like are not read. In folders they are left
out by their endings, and a note says how many; convert them to JPEG or PNG first.

## Into another format

With `--format` or a name of OUT that says so. Transparency is laid on white where a format has
none. Colours stay in the own profile of the picture where the format can embed one; `--color srgb`
leaves them in sRGB, and says so in the file. A name that ends as another format than `--format`
does is misuse.

{other}

Gray with alpha is written as RGBA to 16-bit TIFF, since few programs read the other.

## Limits

Pictures of more than 200,000,000 pixels are refused before they are decoded;
`upscale --max-pixels` moves that. So is a picture of more than 25,000,000 pixels whose file has
less than a byte for 5,000 of them: some formats let a few damaged bytes claim gigabytes. There is
no limit on results but those of the formats: {", ".join(limits())}.

16-bit PNG and TIFF and PNM are written by code of our own, since Pillow has no 16-bit colours; they
are read through Pillow all the same.
"""


def limits() -> list[str]:
    from sr_cli.images import formats

    found = {name: formats.find(name, "").largest_side for name in NAMES if name != "gif"}
    return [f"{NAMES[n]} {side:,} pixels a side" for n, side in found.items() if side < 2**31 - 1]


def test_the_page_is_what_the_round_trips_find() -> None:
    found = page()
    if os.environ.get("SR_CLI_WRITE_DOCS"):
        PAGE.write_text(found, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == found


@pytest.mark.parametrize(("name", "mode", "depth", "make"), CASES)
def test_flat_patches_come_back(name: str, mode: str, depth: int, make: Maker) -> None:
    picture = read(io.BytesIO(make()))
    trip = travel(picture, name if name != "gif" else "png")
    # Half a level is what rounding into a profile leaves; YCbCr in whole numbers, a level.
    assert trip.colours <= (1.01 if name in ("jpeg", "avif") else 0.51)
    assert trip.alpha in ("-", "exact")
    assert trip.block("icc_profile") in ("-", "same")
    assert trip.block("exif") in ("-", "same")
