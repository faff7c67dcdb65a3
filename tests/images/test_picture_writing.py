"""A file that is written is whole, or it is not there."""

from __future__ import annotations

import io
import os
import stat
import struct

import made
import numpy as np
import pytest
from PIL import Image

from sr_cli.images import (
    Metadata,
    Picture,
    PictureError,
    encode,
    known_formats,
    losses,
    read,
    replaced,
    result_format,
    write,
    write_rows,
)
from sr_cli.images.formats import faithful


def test_the_ending_names_the_format(tmp_path):
    for name, ending in known_formats().items():
        path = tmp_path / f"{name}{ending.upper()}"
        write(made.picture(), path)
        assert read(path).metadata.source_format == ("pnm" if ending[2:] in ("gm", "pm") else {
            ".jpg": "jpeg", ".tif": "tiff", ".pnm": "pnm"
        }.get(ending, ending[1:])), name  # fmt: skip


def test_the_argument_outweighs_the_ending(tmp_path):
    write(made.picture(), tmp_path / "a.png", format="jpg")
    assert (tmp_path / "a.png").read_bytes()[:2] == b"\xff\xd8"


@pytest.mark.parametrize(("name", "format"), [("a.gif", None), ("a", None), ("a.png", "xyz")])
def test_unknown_formats_are_refused_with_the_known_ones(tmp_path, name, format):
    with pytest.raises(PictureError, match="choose one of avif, bmp, jpeg"):
        write(made.picture(), tmp_path / name, format=format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_failure_leaves_nothing_behind_and_the_old_file_alone(tmp_path, monkeypatch, error, name):
    path = tmp_path / name
    path.write_text("old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)  # the last step before the file takes its place
    with pytest.raises((PictureError, KeyboardInterrupt)) as caught:
        write(made.picture(depth=16), path)
    if isinstance(error, OSError):
        assert str(caught.value) == "there is no space left to write the picture"
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert path.read_text() == "old"


def test_failure_of_an_encoder_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(PictureError, match="cannot be written as webp"):
        write(made.picture(), tmp_path / "a.webp")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_permissions_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        write(made.picture(), tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    write(made.picture(), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink() and (tmp_path / "target.png").is_file()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write(made.picture(), pipe, format="png")
    assert os.read(reader, 4) == b"\x89PNG"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_places_that_cannot_be_written_to(tmp_path, monkeypatch):
    with pytest.raises(PictureError, match="does not exist"):
        write(made.picture(), tmp_path / "none" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PictureError, match="this is a folder"):
        write(made.picture(), tmp_path / "folder.png")
    (tmp_path / "file").touch()
    with pytest.raises(PictureError, match="is not a folder"):
        write(made.picture(), tmp_path / "file" / "a.png")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(PictureError, match="may not be written to"):
        write(made.picture(), tmp_path / "a.png")


def test_pictures_too_large_for_a_format():
    wide = Picture(np.zeros((1, 16384, 3), np.float32))
    with pytest.raises(PictureError, match="webp holds at most 16383 pixels a side"):
        encode(wide, format="webp")
    assert read(io.BytesIO(encode(wide, format="png"))).width == 16384


@pytest.mark.parametrize(("format", "side"), [("jpeg", 65500), ("webp", 16383)])
def test_a_picture_as_large_as_its_format_takes(format, side):
    tall = Picture(np.zeros((side, 1, 3), np.float32))
    assert read(io.BytesIO(encode(tall, format=format))).height == side


def test_the_default_format_has_room_for_the_picture():
    def default(side):
        return faithful("webp", lossless=True, alpha=False, longest=side)

    assert (default(16383), default(16384)) == ("webp", "png")


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_qualities_out_of_range(quality):
    with pytest.raises(PictureError, match="1 to 100"):
        encode(made.picture(), format="jpeg", quality=quality)


def test_lower_quality_makes_smaller_files():
    noise = Picture(np.random.default_rng(0).random((64, 64, 3), dtype=np.float32))
    for format in ("jpeg", "webp", "avif"):
        assert len(encode(noise, format=format, quality=20)) < len(encode(noise, format=format))


def test_values_out_of_range_are_cut():
    rgb = np.array([[[-0.5, 0.5, 1.5]]], np.float32)
    found = read(io.BytesIO(encode(Picture(rgb), format="png")))
    assert np.rint(found.rgb * 255).tolist() == [[[0, 128, 255]]]


def test_blocks_too_long_for_jpeg_are_left_out():
    picture = made.picture(xmp=b"x" * 70_000, iptc=b"i" * 70_000, exif=made.exif() + b"e" * 70_000)
    found = read(io.BytesIO(encode(picture, format="jpeg"))).metadata
    assert (found.xmp, found.iptc, found.exif) == (None, None, None)
    assert losses(picture, "jpeg") == ("jpeg has no room for so much EXIF and XMP and IPTC",)
    assert losses(picture, "tiff") == ()


def test_exif_that_is_long_for_its_thumbnail_fits_without_it():
    picture = made.picture(exif=made.exif(thumbnail=b"t" * 65_500))
    assert len(picture.metadata.exif) > 65_533
    assert losses(picture, "jpeg") == ()
    found = read(io.BytesIO(encode(picture, format="jpeg", software="sr-cli"))).metadata
    assert made.tags_of(found.exif)[made.MODEL] == made.tags_of(picture.metadata.exif)[made.MODEL]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif"])
def test_exif_of_which_a_part_is_lost_is_kept_as_far_as_it_goes(format):
    block = bytearray(made.exif())
    order = "<" if block[:2] == b"II" else ">"
    at = block.index(struct.pack(order + "HHI", made.EXIF_DIRECTORY, 4, 1))
    block[at + 8 : at + 12] = b"\xff\xff\xff\x00" if order == "<" else b"\0\xff\xff\xff"
    picture = made.picture(exif=bytes(block))
    found = read(io.BytesIO(encode(picture, format=format, software="sr-cli"))).metadata
    assert made.tags_of(found.exif)[made.MODEL] == made.tags_of(made.exif())[made.MODEL]
    assert made.tags_of(found.exif)[305] == "sr-cli"


@pytest.mark.parametrize("format", ["png", "tiff", "bmp", "pnm", "webp", "jpeg", "avif"])
def test_default_is_the_pictures_own_format_if_that_loses_nothing(format):
    data = encode(made.picture(), format=format)
    lossless = format not in ("jpeg", "avif")
    assert result_format(io.BytesIO(data), 1) == (format if lossless else "png")


def test_default_for_lossy_webp_and_for_what_is_no_picture_is_png():
    data = encode(made.picture(), format="webp", quality=80)
    assert result_format(io.BytesIO(data), 1) == "png"
    assert result_format(io.BytesIO(b"nothing"), 1) == "png"


def test_losses_are_told():
    deep = made.picture(depth=16, alpha=True, exif=b"x", icc_profile=b"y")
    assert losses(deep, "png") == ()
    assert losses(deep, "jpg") == (
        "jpeg has no transparency, so the picture is laid on white",
        "jpeg has no 16-bit channels, so 8 bits are written",
    )
    assert "bmp has no room for EXIF" in losses(deep, "bmp")
    inked = Picture(deep.rgb, None, Metadata(color_model="cmyk"))
    assert losses(inked, "webp") == ("webp has no inks, so the colours are written as sRGB",)


def test_replaced_pixels_keep_the_metadata():
    picture = made.picture(alpha=True, icc_profile=made.display_p3())
    large = replaced(picture, np.ones((64, 96, 3), np.float64), np.ones((64, 96)))
    assert large.metadata == picture.metadata
    assert large.rgb.dtype == np.float32 and (large.width, large.height) == (96, 64)
    with pytest.raises(ValueError, match="does not fit"):
        replaced(picture, np.ones((64, 96, 3), np.float32), np.ones((32, 48), np.float32))
    with pytest.raises(ValueError, match="shape"):
        replaced(picture, np.ones((64, 96), np.float32))


@pytest.mark.parametrize("format", ["png", "tiff", "pnm"])
def test_rows_are_in_the_file_before_the_next_ones_are_made(format, tmp_path):
    """So that no result, however large, is in memory as a whole."""
    rng = np.random.default_rng(0)
    sizes = []

    def bands():
        for _ in range(6):
            (partial,) = tmp_path.glob(".sr-cli-*") if sizes else [None]
            sizes.append(partial.stat().st_size if partial else 0)
            yield rng.random((400, 1000, 3), dtype=np.float32), None

    write_rows(made.picture(), bands(), (1000, 2400), tmp_path / f"a.{format}", format=format)
    # Some may still be with the compressor and in the stream's buffer.
    assert all(size > 1_000_000 * number for number, size in enumerate(sizes[2:]))
    assert sizes[-1] > 3_000_000


def test_a_tiff_beyond_its_limit_ends_when_it_is_reached(monkeypatch, tmp_path):
    monkeypatch.setattr("sr_cli.images.raw_files._TIFF_LIMIT", 2_000_000)
    asked = []

    def bands():
        for number in range(6):
            asked.append(number)
            yield np.random.default_rng(0).random((400, 1000, 3), dtype=np.float32), None

    with pytest.raises(PictureError, match="cannot be larger than 4 GB"):
        write_rows(made.picture(), bands(), (1000, 2400), tmp_path / "a.tif", format="tiff")
    assert len(asked) < 6 and not list(tmp_path.iterdir())
