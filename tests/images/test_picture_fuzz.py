"""Damaged files end as a picture or as one sentence, never as another error."""

from __future__ import annotations

import io

import made
import numpy as np
import pytest
from PIL import Image

from sr_cli.images import Picture, PictureError, encode, read


def whole_files() -> dict[str, bytes]:
    said = {"exif": made.exif(6, thumbnail=b"t" * 60), "xmp": b"<x/>", "dpi": (72.0, 72.0)}
    files = {}
    for format in ("png", "jpeg", "webp", "tiff", "avif", "bmp", "pnm"):
        picture = made.picture(alpha=True, icc_profile=made.display_p3(), **said)
        files[format] = encode(picture, format=format)
    for format in ("png", "tiff", "pnm"):
        files[f"{format} 16"] = encode(made.picture(depth=16, alpha=True, **said), format=format)
    gif, inks = io.BytesIO(), io.BytesIO()
    frames = [Image.new("P", (20, 20), colour) for colour in (1, 2)]
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (20, 20), (9, 80, 70, 6)).save(inks, "TIFF", icc_profile=made.ink())
    return files | {"gif": gif.getvalue(), "cmyk": inks.getvalue()}


FILES = whole_files()


def tried(data: bytes) -> bool:
    """Reads, and writes what could be read; whether there was a picture."""
    try:
        picture = read(io.BytesIO(data), max_pixels=1_000_000)
    except PictureError as error:
        assert str(error)
        return False
    assert isinstance(picture, Picture)
    assert picture.rgb.dtype == np.float32 and picture.rgb.shape[2] == 3
    assert np.isfinite(picture.rgb).all()
    assert picture.rgb.min() >= 0.0 and picture.rgb.max() <= 1.0
    assert picture.alpha is None or picture.alpha.shape == picture.rgb.shape[:2]
    if picture.width * picture.height < 10_000:
        try:
            read(io.BytesIO(encode(picture, format="tiff", software="sr-cli")))
            encode(picture, format="jpeg", software="sr-cli")
            encode(picture, format="avif")
        except PictureError as error:
            pytest.fail(f"what was read could not be written: {error}")
    return True


@pytest.mark.parametrize("name", FILES)
def test_truncations(name):
    data = FILES[name]
    assert tried(data)
    for length in np.linspace(1, len(data) - 1, 12).astype(int):
        tried(data[:length])


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits(name):
    data, rng = FILES[name], np.random.default_rng(sum(name.encode()))
    for trial in range(24):
        broken = bytearray(data)
        # Headers, where a bit means most, get every other flip.
        reach = min(len(data), 400) if trial % 2 else len(data)
        for place in rng.integers(0, reach, 1 + trial % 4):
            broken[place] ^= 1 << int(rng.integers(8))
        tried(bytes(broken))
