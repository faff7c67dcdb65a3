"""Files of every kind end as an upright sRGB picture, or as one sentence."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib

import made
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin, TiffTags

from sr_cli.images import (
    OTHER_SUFFIXES,
    PICTURE_SUFFIXES,
    Metadata,
    Picture,
    PictureError,
    PixelLimitError,
    begins_like_picture,
    encode,
    find_pictures,
    read,
)


@pytest.mark.parametrize(
    ("tags", "is_raw"),
    [
        ({50706: b"\1\4\0\0"}, True),  # DNG's version
        ({254: 1, 330: 8}, True),  # a thumbnail with the picture below it, as in NEF
        ({254: 1}, False),
        ({254: 0, 330: 8}, False),  # a picture with thumbnails below it
    ],
)
def test_the_thumbnail_of_a_cameras_raw_picture_is_not_taken_for_it(
    tags: dict[int, object], is_raw: bool
) -> None:
    said = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        said.tagtype[tag] = TiffTags.BYTE if isinstance(value, bytes) else TiffTags.LONG
        said[tag] = value
    stream = stream_of(Image.new("RGB", (8, 6)), "TIFF", tiffinfo=said)
    if is_raw:
        assert "a camera's raw format" in sentence(stream)
    else:
        assert read(stream).rgb.shape == (6, 8, 3)


def stream_of(image: Image.Image, format: str, **options) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    stream.seek(0)
    return stream


def sentence(source, **options) -> str:
    with pytest.raises(PictureError) as caught:
        read(source, **options)
    text = str(caught.value)
    assert text and "\n" not in text and not text.endswith(".")
    return text


CORNERS = np.array([[10, 60, 110], [160, 210, 250]], dtype=np.uint8)  # no symmetry


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_ends_upright(format, orientation):
    shown = made.enlarged(CORNERS)
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.T,
        6: np.rot90(shown),  # to be shown turned clockwise
        7: shown.T[::-1, ::-1],
        8: np.rot90(shown, -1),
    }[orientation]
    options = (
        {"quality": 100} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    )
    if format == "TIFF":
        options |= {"tiffinfo": {274: orientation}}
    else:
        options |= {"exif": b"Exif\0\0" + made.exif(orientation)}
    picture = read(stream_of(Image.fromarray(np.ascontiguousarray(stored)), format, **options))
    assert picture.rgb.shape == (64, 96, 3)
    assert np.abs(made.centres(picture.rgb)[..., 0] * 255 - CORNERS).max() <= 1
    data = encode(picture, format=format.lower())
    written = Image.open(io.BytesIO(data))
    assert written.size == (96, 64)
    assert written.getexif().get(274, 1) == 1


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_there_is_not_turns_nothing(orientation):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    picture = read(stream_of(image, "PNG", exif=b"Exif\0\0" + made.exif(orientation)))
    assert np.rint(picture.rgb[..., 0] * 255).ravel().tolist() == list(range(24))


def test_deep_pixels_are_turned_too():
    picture = made.picture(depth=16, exif=made.exif())
    data = encode(picture, format="png").replace(
        b"\x12\x01\x03\0\x01\0\0\0\x01", b"\x12\x01\x03\0\x01\0\0\0\x06"
    )
    at = data.index(b"eXIf")
    length = struct.unpack(">I", data[at - 4 : at])[0]
    checked = zlib.crc32(data[at : at + 4 + length])
    end = at + 4 + length
    data = data[:end] + struct.pack(">I", checked) + data[end + 4 :]
    found = read(io.BytesIO(data))
    assert found.rgb.shape == (96, 64, 3)
    assert np.allclose(found.rgb, np.rot90(picture.rgb, -1), atol=1e-6)


PACKETS = [b'<x tiff:Orientation="6"/>', b"<x><tiff:Orientation>6</tiff:Orientation></x>"]


def with_xmp(format: str, packet: bytes, **options) -> io.BytesIO:
    """A picture 6 wide and 4 high."""
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", packet.decode())
    said = {"PNG": {"pnginfo": texts}, "TIFF": {"tiffinfo": {700: packet}}}
    image = Image.new("RGB", (6, 4))
    return stream_of(image, format, **said.get(format, {"xmp": packet}), **options)


@pytest.mark.parametrize("format", ["WEBP", "PNG", "JPEG"])
@pytest.mark.parametrize("packet", PACKETS)
@pytest.mark.parametrize("turn", [1, 6])
def test_xmp_does_not_turn_what_exif_has_turned(format, packet, turn):
    found = read(with_xmp(format, packet, exif=b"Exif\0\0" + made.exif(turn)))
    assert found.rgb.shape == ((6, 4, 3) if turn == 6 else (4, 6, 3))
    assert found.metadata.xmp == packet.replace(b"6", b"1")


@pytest.mark.parametrize("format", ["WEBP", "PNG", "JPEG"])
@pytest.mark.parametrize("packet", PACKETS)
def test_what_xmp_alone_says_is_left_to_those_who_ask_it(format, packet):
    """Some programs turn such a picture and others do not; so they do with the result."""
    found = read(with_xmp(format, packet))
    assert found.rgb.shape == (4, 6, 3) and found.metadata.xmp == packet
    assert read(io.BytesIO(encode(found, format="png"))).metadata.xmp == packet


@pytest.mark.parametrize("packet", PACKETS)
def test_pillow_turns_a_tiff_as_xmp_says(packet):
    found = read(with_xmp("TIFF", packet))
    assert found.rgb.shape == (6, 4, 3) and b"6" not in found.metadata.xmp


def test_palette_with_transparency():
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putpixel((0, 0), 0)
    picture = read(stream_of(image, "PNG", transparency=0))
    assert picture.metadata.color_model == "rgb"
    assert np.allclose(picture.rgb[1, 1] * 255, [200, 100, 50])
    assert picture.alpha[0, 0] == 0.0 and picture.alpha[1, 1] == 1.0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_modes_of_png(mode):
    picture = read(stream_of(Image.new("RGBA", (3, 2), (255,) * 4).convert(mode), "PNG"))
    assert (picture.rgb == 1.0).all() and picture.rgb.dtype == np.float32
    assert picture.metadata.color_model == ("gray" if mode in ("1", "L", "LA") else "rgb")
    assert picture.metadata.bit_depth == 8


def png(
    width: int, height: int, depth: int, colours: int, rows: bytes, *extra: tuple, lace=0
) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, lace)
    chunks = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def test_the_one_transparent_colour_of_a_16_bit_png():
    """Two colours that are the same in 8 bits; only one of them is transparent."""
    row = b"\0" + struct.pack(">6H", 1000, 2000, 3000, 1001, 2000, 3000)
    picture = read(
        io.BytesIO(png(2, 1, 16, 2, row, (b"tRNS", struct.pack(">3H", 1000, 2000, 3000))))
    )
    assert picture.alpha.tolist() == [[0.0, 1.0]]
    assert np.rint(picture.rgb[0, 1] * 65535).tolist() == [1001, 2000, 3000]


def test_the_one_transparent_gray_of_a_16_bit_png():
    row = b"\0" + struct.pack(">2H", 1000, 1001)
    picture = read(io.BytesIO(png(2, 1, 16, 0, row, (b"tRNS", struct.pack(">H", 1000)))))
    assert picture.alpha.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_one_transparent_gray_of_a_png_with_few_bits(depth):
    """Two pixels, the darkest and the next, of which the latter is transparent."""
    row = b"\0" + bytes([1 << (8 - 2 * depth)] if depth < 8 else [0, 1])
    picture = read(io.BytesIO(png(2, 1, depth, 0, row, (b"tRNS", b"\0\1"))))
    assert picture.alpha.tolist() == [[1.0, 0.0]]
    assert picture.rgb[0, :, 0] == pytest.approx([0, 1 / (2**depth - 1)])


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        (b"gAMA", (100000).to_bytes(4, "big"), "its gamma of 1 (gAMA) is not followed"),
        (b"gAMA", (55556).to_bytes(4, "big"), "its gamma of 0.55556 (gAMA) is not followed"),
        (b"gAMA", (45455).to_bytes(4, "big"), None),
        (b"gAMA", (45000).to_bytes(4, "big"), None),
        (b"cICP", bytes((9, 16, 0, 1)), "its colours are not those of sRGB, as it says (cICP)"),
        (b"cICP", bytes((1, 13, 0, 1)), None),
    ],
)
def test_colours_that_a_png_tells_without_a_profile_are_noted(kind, body, told):
    def with_chunk(**options) -> tuple[str, ...]:
        file = io.BytesIO()
        Image.new("RGB", (4, 3)).save(file, "PNG", **options)
        data = file.getvalue()
        sum_of = zlib.crc32(kind + body).to_bytes(4, "big")
        chunk = len(body).to_bytes(4, "big") + kind + body + sum_of
        return read(io.BytesIO(data[:33] + chunk + data[33:])).metadata.notes

    notes = with_chunk()
    assert [note.startswith(str(told)) for note in notes] == ([True] if told else [])
    if kind == b"gAMA":  # a profile outweighs it
        assert with_chunk(icc_profile=made.display_p3()) == ()


def test_interlaced_16_bit_png():
    """Adam7 of 2 x 2 pixels: the first, then its right neighbour, then the second row."""
    pixels = struct.pack(">12H", *range(1, 60_000, 5_000))
    rows = b"\0" + pixels[:6] + b"\0" + pixels[6:12] + b"\0" + pixels[12:]
    picture = read(io.BytesIO(png(2, 2, 16, 2, rows, lace=1)))
    assert np.rint(picture.rgb.ravel() * 65535).tolist() == list(range(1, 60_000, 5_000))


@pytest.mark.parametrize("top", [255, 1023, 65535])
def test_ppm_of_any_depth(top):
    body = np.array([0, top, top // 2], dtype=">u2" if top > 255 else "u1").tobytes()
    picture = read(io.BytesIO(b"P6 1 1 %d\n" % top + body))
    assert np.allclose(picture.rgb[0, 0], [0, 1, (top // 2) / top], atol=1e-5)
    assert picture.metadata.bit_depth == (16 if top > 255 else 8)


def test_a_ppm_brighter_than_its_white_is_damaged():
    body = np.array([0, 1024, 5], dtype=">u2").tobytes()
    assert "damaged" in sentence(io.BytesIO(b"P6 1 1 1023\n" + body))


def test_tiff_of_12_bits():
    levels = [0, 1, 2048, 4095]
    data = int("".join(f"{level:012b}" for level in levels), 2).to_bytes(6, "big")
    said = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 1, 279: 6}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in said.items())
    file = struct.pack("<2sHIH", b"II", 42, 8, len(said)) + entries + bytes(4) + data
    assert len(file) == 122 + 6
    picture = read(io.BytesIO(file))
    expected = [level / 4095 * 65535 for level in levels]
    # The last bits are filled with the first ones, which is exact at black and white.
    assert np.rint(picture.rgb[0, :, 0] * 65535).tolist() == pytest.approx(expected, abs=1)
    assert picture.rgb[0, [0, -1]].tolist() == [[0.0] * 3, [1.0] * 3]


def test_tiff_of_cielab():
    colours = np.random.default_rng(0).integers(40, 216, (6, 8, 3)).astype(np.uint8)
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    lab = ImageCms.profileToProfile(Image.fromarray(colours), *profiles, outputMode="LAB")
    own = ImageCms.ImageCmsProfile(profiles[1]).tobytes()
    picture = read(stream_of(lab, "TIFF", icc_profile=own))
    # A step of L, a or b in 8 bits is up to eight levels of sRGB.
    assert np.abs(picture.rgb * 255 - colours).max() <= 8
    assert picture.metadata.color_model == "rgb"
    assert picture.metadata.icc_profile is None and picture.metadata.notes == ()


def test_deep_channels_in_planes_are_refused_with_a_reason():
    data = bytearray(encode(made.picture(depth=16), format="tiff"))
    at = data.index(struct.pack("<HHI", 284, 3, 1))
    data[at + 8] = 2
    assert "separate planes" in sentence(io.BytesIO(data))


def test_exif_among_the_texts_of_a_png_turns_it_and_is_no_text():
    """As ImageMagick writes it."""
    block = b"Exif\0\0" + made.exif(6)
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    picture = read(stream_of(Image.new("RGB", (6, 4)), "PNG", pnginfo=info))
    assert picture.rgb.shape == (6, 4, 3) and picture.metadata.texts == ()
    assert made.tags_of(picture.metadata.exif)[made.MODEL] == "Test Camera"


def test_colours_of_16_bits_that_were_multiplied_by_alpha_are_as_they_were():
    rng = np.random.default_rng(0)
    colours, alpha = rng.integers(0, 65536, (12, 20, 3)), rng.integers(1, 65536, (12, 20))
    alpha[0], alpha[1] = 65535, 0
    share = alpha[..., None] / 65535
    said = Metadata(bit_depth=16, has_alpha=True)
    rgb = (colours * share / 65535).astype(np.float32)
    rgb[2], share[2] = 1, 9 / 65535  # brighter than white
    multiplied = Picture(rgb, share[..., 0], said)
    data = bytearray(encode(multiplied, format="tiff"))
    at = data.index(struct.pack("<HHI", 338, 3, 1))
    data[at + 8] = 1  # alpha that is multiplied into the colours
    found = read(io.BytesIO(data))
    assert np.array_equal(np.rint(found.alpha * 65535), np.rint(share[..., 0] * 65535))
    assert (np.rint(found.rgb[0] * 65535) == colours[0]).all()
    assert not found.rgb[1].any() and (found.rgb[2] == 1).all()
    # Both files and pictures are rounded to 16 bits, the former before the division.
    apart = np.abs(found.rgb[3:] * 65535 - colours[3:])
    assert (apart <= 0.51 / share[3:] + 0.51).all()


def test_tiff_where_zero_is_white():
    values = np.array([[0, 65535]], dtype=np.uint16)
    data = bytearray(stream_of(Image.fromarray(values), "TIFF").getvalue())
    at = data.index(struct.pack("<HHI", 262, 3, 1))
    data[at + 8] = 0
    assert read(io.BytesIO(data)).rgb[0, :, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("kind", "told"), [(0, True), (2, False)])
def test_a_channel_that_is_nothing_known_is_left_out_with_a_note(kind, told):
    data = bytearray(stream_of(Image.new("RGBA", (4, 3), (10, 20, 30, 40)), "TIFF").getvalue())
    data[data.index(struct.pack("<HHI", 338, 3, 1)) + 8] = kind
    picture = read(io.BytesIO(data))
    notes = [note for note in picture.metadata.notes if "does not say what it is" in note]
    assert bool(notes) == told and (picture.alpha is None) == told


@pytest.mark.parametrize("format", ["GIF", "TIFF", "WEBP", "PNG"])
def test_only_the_first_frame_is_read_and_a_note_says_so(format):
    first, second, third = (Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue"))
    stream = stream_of(first, format, save_all=True, append_images=[second, third])
    picture = read(stream)
    assert np.abs(picture.rgb[4, 4] * 255 - [255, 0, 0]).max() <= 2
    assert "only the first of 3 frames was read" in picture.metadata.notes


def test_one_pixel_is_a_picture():
    for format in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM"):
        assert read(stream_of(Image.new("RGB", (1, 1)), format)).rgb.shape == (1, 1, 3)


def test_content_counts_not_the_ending(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(made.picture(), format="png"))
    picture = read(path)
    assert picture.metadata.source_format == "png"
    assert picture.metadata.notes == ("its name ends in .jpg but it is a png picture",)


def test_missing_empty_text_and_folder(tmp_path):
    assert sentence(tmp_path / "none.png") == "there is no such file"
    assert sentence(tmp_path) == "this is a folder, not a picture"
    (tmp_path / "empty.png").touch()
    assert sentence(tmp_path / "empty.png") == "the file is empty"
    (tmp_path / "text.jpg").write_text("Dear reader,\nthis is no picture.")
    assert sentence(tmp_path / "text.jpg").startswith("this is text, not a picture")
    assert sentence(io.BytesIO(b"\x00\x01\x02")).startswith("this is not a picture")
    assert sentence(io.BytesIO(b"\x89PNG\r\n")).startswith("this is not a picture")
    assert sentence(io.BytesIO("Grüße".encode()[:3])).startswith("this is text, not a picture")


def ftyp(*brands: bytes) -> bytes:
    return (
        struct.pack(">I", 12 + 4 * len(brands))
        + b"ftyp"
        + brands[0]
        + bytes(4)
        + b"".join(brands[1:])
    )


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (ftyp(b"heic", b"mif1", b"heic"), "HEIC"),
        (ftyp(b"heix"), "HEIC"),
        (ftyp(b"mif1", b"mif1", b"heic"), "HEIC"),
        (ftyp(b"msf1", b"hevc"), "HEIC"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\0", "JPEG XL"),
        (b"8BPS\0\1", "PSD"),
        (b"II*\0\x10\0\0\0CR\2\0", "CR2"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg/>', "SVG"),
    ],
)
def test_a_picture_of_a_kind_that_is_not_read_is_named_by_it(head, kind):
    said = f"this is a picture in {kind}, which is not read here; convert it to JPEG or PNG"
    assert sentence(io.BytesIO(head + bytes(100))) == said
    assert begins_like_picture(head)


def test_what_avif_and_films_begin_with_is_no_heic():
    for head in (ftyp(b"mif1", b"avif", b"heic"), ftyp(b"avif", b"mif1"), ftyp(b"isom", b"mp41")):
        assert "HEIC" not in sentence(io.BytesIO(head + bytes(100)))
    assert "this is text" in sentence(io.BytesIO(b"<?xml version='1.0'?><note/>"))
    assert not begins_like_picture(b"8BPS at work.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "permission denied" in sentence(path)


def test_refused_permission_is_a_sentence(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    assert "permission denied" in sentence(tmp_path / "secret.png")


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif", "bmp", "pnm"])
@pytest.mark.parametrize("depth", [8, 16])
def test_half_a_file_is_no_picture(format, depth):
    data = encode(made.picture(depth=depth), format=format)
    sentence(io.BytesIO(data[: len(data) // 2]))


def test_pictures_without_pixels():
    assert "no pixels" in sentence(io.BytesIO(b"P6 0 5 255\n"))
    sentence(io.BytesIO(png(0, 0, 8, 2, b"")))


def test_absurd_sizes_are_refused_before_they_are_decoded():
    text = sentence(io.BytesIO(png(2**31 - 1, 2**31 - 1, 8, 2, b"")))
    assert "200,000,000" in text


def test_a_few_bytes_that_claim_gigabytes_are_refused():
    """A film whose canvas is vast and whose frame is not would decode, into a blank of 2 GB."""
    text = sentence(io.BytesIO(png(14_000, 14_000, 8, 2, b"")))
    assert "14000 x 14000, more than its 65 bytes can hold" in text
    blank = stream_of(Image.new("L", (5000, 5000)), "WEBP", lossless=True)  # the largest blank
    assert read(blank).width == 5000


def test_a_tiff_whose_rows_are_not_all_in_the_file_is_damaged():
    """Pillow alone would leave the others black."""
    data = bytearray(stream_of(Image.new("RGB", (8, 8), "white"), "TIFF").getvalue())
    at = data.index(struct.pack("<HHI", 257, 4, 1))
    struct.pack_into("<I", data, at + 8, 800)
    assert sentence(io.BytesIO(data)) == "the picture is damaged or cut short"


def test_the_limit_is_named_and_by_what_it_is_exceeded():
    data = encode(made.picture(), format="png")
    with pytest.raises(PixelLimitError, match="96 x 64, more than the limit of 1,000") as refused:
        read(io.BytesIO(data), max_pixels=1000)
    assert refused.value.pixels == 6144
    assert read(io.BytesIO(data), max_pixels=6144).width == 96


def test_pillows_own_limit_neither_applies_nor_changes(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for format in ("png", "jpeg", "webp", "tiff", "avif", "bmp", "pnm"):
        data = encode(made.picture(depth=16), format=format)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read(io.BytesIO(data)).width == 96
        with pytest.raises(PictureError):
            read(io.BytesIO(data[: len(data) // 2]))
    assert Image.MAX_IMAGE_PIXELS == 100


def test_damaged_profiles_and_exif_are_left_out():
    image = Image.new("RGB", (4, 4), "red")
    picture = read(
        stream_of(image, "PNG", icc_profile=b"nonsense" * 30, exif=b"Exif\0\0II*\0\xff\xff\0\0")
    )
    assert picture.metadata.icc_profile is None and picture.metadata.exif is None
    assert picture.metadata.notes == (
        "its colour profile is not one for its kind of pixels and was left out",
        "its EXIF data are damaged and were left out",
    )
    assert picture.rgb[0, 0].tolist() == [1.0, 0.0, 0.0]


def test_floating_point_pixels_are_refused_with_a_reason():
    assert "16 bits" in sentence(stream_of(Image.new("F", (2, 2)), "TIFF"))


def test_pictures_of_a_folder_are_found_by_ending(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png", "inner/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [path.name for path in find_pictures(tmp_path, recursive=False)]
    assert names == ["a.jpg", "b.PNG"]
    assert tmp_path / "inner/c.webp" in find_pictures(tmp_path, recursive=True)


def test_pictures_of_other_kinds_are_told_apart_by_ending(tmp_path):
    for name in ("a.jpg", "b.HEIC", "notes.txt", ".c.heic", "inner/d.nef"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jxl").mkdir()
    for recursive, left in ((False, ["b.HEIC"]), (True, ["b.HEIC", "d.nef"])):
        others = []
        found = find_pictures(tmp_path, recursive=recursive, others=others.append)
        assert [path.name for path in found] == ["a.jpg"]
        assert sorted(path.name for path in others) == left
    assert not PICTURE_SUFFIXES & OTHER_SUFFIXES


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_link_to_nothing_is_a_picture_that_is_missing(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "b.png").symlink_to(tmp_path)
    (tmp_path / "c.png").symlink_to(tmp_path / "c.png")
    gone, loop = find_pictures(tmp_path, recursive=False)
    assert sentence(gone) == "there is no such file"
    assert loop.name == "c.png" and sentence(loop).startswith("the file cannot be read: ")


def test_a_file_beyond_memory_is_a_sentence(monkeypatch, tmp_path):
    def full(self):
        raise MemoryError

    monkeypatch.setattr("pathlib.Path.read_bytes", full)
    assert sentence(tmp_path / "a.png") == "there is not enough memory to read the file"
