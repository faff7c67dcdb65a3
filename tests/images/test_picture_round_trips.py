"""What is written and read again is the same picture, as far as its format can hold it."""

from __future__ import annotations

import io

import made
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from sr_cli.images import Metadata, Picture, encode, losses, read, replaced

LOSSLESS, LOSSY = ("png", "webp", "tiff", "bmp", "pnm"), ("jpeg", "avif")
ALPHA, DEEP, GRAY = {"png", "webp", "tiff", "avif"}, {"png", "tiff", "pnm"}, {"webp", "avif"}
EVERY = pytest.mark.parametrize("format", LOSSLESS + LOSSY)


def again(picture: Picture, format: str, **options) -> Picture:
    return read(io.BytesIO(encode(picture, format=format, **options)))


def test_text_fields_of_a_png_stay_in_a_png_and_are_told_elsewhere():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "A caf\u00e9")
    info.add_itxt("Comment", "\u65e5\u672c", lang="ja")
    info.add_text("Software", "another program")
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "PNG", pnginfo=info)
    picture = read(io.BytesIO(file.getvalue()))
    texts = (("Title", "A caf\u00e9"), ("Comment", "\u65e5\u672c"))
    assert picture.metadata.texts == texts and losses(picture, "png") == ()
    assert losses(picture, "jpeg") == ("jpeg has no room for text fields",)
    written = encode(picture, format="png", software="sr-cli")
    assert read(io.BytesIO(written)).metadata.texts == texts
    assert Image.open(io.BytesIO(written)).text["Software"] == "sr-cli"
    assert read(io.BytesIO(encode(picture, format="webp"))).metadata.texts == ()


@pytest.mark.parametrize("source", ["JPEG", "GIF"])
def test_a_comment_is_kept_where_there_is_room(source):
    file = io.BytesIO()
    Image.new("L", (8, 6)).save(file, source, comment="Zürich".encode())
    picture = read(io.BytesIO(file.getvalue()))
    assert picture.metadata.texts == (("Comment", "Z\u00fcrich"),)
    for format in ("png", "jpeg"):
        assert losses(picture, format) == ()
        assert again(picture, format).metadata.texts == picture.metadata.texts
    assert losses(picture, "tiff") == ("tiff has no room for its comment",)
    assert again(picture, "tiff").metadata.texts == ()


def test_comments_of_any_encoding_and_length():
    file = io.BytesIO()
    Image.new("L", (8, 6)).save(file, "JPEG", comment=b"caf\xe9\0")
    assert read(io.BytesIO(file.getvalue())).metadata.texts == (("Comment", "caf\u00e9"),)
    rgb = np.zeros((6, 8, 3), np.float32)
    for length in (65533, 65534):  # what fits one marker
        picture = Picture(rgb, metadata=Metadata(texts=(("Comment", "x" * length),)))
        found = again(picture, "jpeg").metadata.texts
        assert bool(found) == (length == 65533) == (losses(picture, "jpeg") == ())


@EVERY
def test_the_resolution_is_in_the_file_or_told(format):
    for exif in (None, made.exif()):
        picture = Picture(
            np.zeros((6, 8, 3), np.float32), metadata=Metadata(dpi=(300.0, 72.0), exif=exif)
        )
        image = Image.open(io.BytesIO(encode(picture, format=format, software="sr-cli")))
        if format == "pnm":
            assert "pnm has no room for " in losses(picture, format)[0]
            assert losses(picture, format)[0].endswith("its resolution")
            continue
        said = image.info.get("dpi") or tuple(image.getexif()[tag] for tag in (282, 283))
        assert [float(value) for value in said] == pytest.approx([300, 72], abs=0.02)
        assert not any("resolution" in loss for loss in losses(picture, format))
        if format in ("webp", "avif"):
            assert image.getexif()[296] == 2 and image.getexif()[305] == "sr-cli"


def test_the_resolution_that_exif_tells_already_is_left():
    tags = Image.Exif()
    tags[282] = tags[283] = 100.0
    tags[296] = 3
    block = tags.tobytes().removeprefix(b"Exif\0\0")
    picture = Picture(
        np.zeros((6, 8, 3), np.float32), metadata=Metadata(dpi=(254.0, 254.0), exif=block)
    )
    found = Image.open(io.BytesIO(encode(picture, format="webp"))).getexif()
    assert (found[282], found[296]) == (100, 3)


def test_what_a_tiff_says_of_its_document_is_kept():
    said = {269: "Land register", 285: "Recto", 286: 1.5, 287: 2.5, 297: (3, 12), 18246: 4}
    file = io.BytesIO()
    Image.new("L", (8, 6)).save(file, "TIFF", tiffinfo=said, dpi=(300, 300))
    picture = read(io.BytesIO(file.getvalue()))
    for format in ("tiff", "jpeg", "png"):
        tags = Image.open(io.BytesIO(encode(picture, format=format))).getexif()
        assert {tag: tags.get(tag) for tag in said} == said


def test_a_tiff_that_says_no_resolution_has_none():
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "TIFF")
    assert read(io.BytesIO(file.getvalue())).metadata.dpi is None
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "TIFF", dpi=(72, 72))
    assert read(io.BytesIO(file.getvalue())).metadata.dpi == (72.0, 72.0)


@EVERY
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_flat_colours_and_alpha_come_back(format, gray, depth, alpha):
    picture = made.picture(gray=gray, depth=depth, alpha=alpha)
    found = again(picture, format)
    kept_alpha, kept_depth = alpha and format in ALPHA, depth if format in DEEP else 8
    expected = picture.rgb
    if alpha and not kept_alpha:
        expected = picture.rgb * picture.alpha[..., None] + 1 - picture.alpha[..., None]
    # Exact but for rounding to the format's depth; YCbCr in whole numbers gets a level more.
    rounding = 0.51 / (2**kept_depth - 1)
    step = rounding if format in LOSSLESS else rounding + 1 / 255
    assert np.abs(made.centres(found.rgb) - made.centres(expected)).max() <= step
    assert found.metadata.bit_depth == kept_depth
    assert found.metadata.has_alpha == kept_alpha
    if kept_alpha:
        assert np.abs(made.centres(found.alpha) - made.centres(picture.alpha)).max() <= 0.51 / (
            2**kept_depth - 1
        )
    rare = format == "tiff" and depth == 16 and alpha
    as_gray = gray and format not in GRAY and not rare
    assert found.metadata.color_model == ("gray" if as_gray else "rgb")
    assert not gray or (found.rgb[..., 0] == found.rgb[..., 2]).all()


@pytest.mark.parametrize(("format", "quality"), [("jpeg", 95), ("avif", 90)])
def test_any_flat_colour_comes_back_within_the_rounding_of_ycbcr(format, quality):
    rng = np.random.default_rng(3)
    levels = np.concatenate([rng.integers(0, 256, (30, 32, 3)), rng.choice([0, 255], (2, 32, 3))])
    picture = Picture(made.enlarged(levels / 255).astype(np.float32), None, Metadata())
    found = made.centres(again(picture, format, quality=quality).rgb) * 255
    difference = np.abs(found - levels).max(axis=2)
    # Pillow's decoder of AVIF has six bits for its coefficients, which costs some strong blues
    # another level.
    assert (difference <= 1.01).mean() >= (1 if format == "jpeg" else 0.95)
    assert difference.max() <= 2.01
    assert np.abs((found - levels).mean(axis=(0, 1))).max() < 0.1  # no cast


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("alpha", [False, True])
def test_noise_of_16_bits_comes_back_to_the_last_bit(format, alpha):
    rng = np.random.default_rng(1)
    rgb = (rng.integers(0, 65536, (37, 53, 3)) / 65535).astype(np.float32)
    cover = (rng.integers(0, 65536, (37, 53)) / 65535).astype(np.float32) if alpha else None
    found = again(Picture(rgb, cover, Metadata(bit_depth=16, has_alpha=alpha)), format)
    assert (np.rint(found.rgb * 65535) == np.rint(rgb * 65535)).all()
    assert cover is None or (found.alpha == cover).all()


def test_rows_of_several_bands_are_joined_in_order():
    """Writers work on bands of about a million samples; this picture has three of them."""
    # Bytes around zero, the same in each row but for a step: best told from the row above, so
    # that the first row of a band shows whether the last one of the band before was remembered.
    high, low = np.random.default_rng(6).integers(-40, 41, (2, 1, 700, 3)) % 256
    values = (high * 256 + low + np.arange(1200)[:, None, None] % 3) % 65536
    picture = Picture((values / 65535).astype(np.float32), None, Metadata(bit_depth=16))
    for format in ("png", "tiff", "pnm"):
        assert (np.rint(again(picture, format).rgb * 65535) == values).all(), format


@EVERY
def test_metadata_come_back(format):
    picture = made.picture(
        exif=made.exif(), xmp=b"<x:xmpmeta/>", iptc=b"\x1c\x02\x05\0\x02hi", dpi=(300.0, 150.0)
    )
    found = again(picture, format, software="sr-cli 1").metadata
    if format not in ("bmp", "pnm"):
        tags = made.tags_of(found.exif)
        assert tags.pop(305) == "sr-cli 1"
        assert tags.pop(made.ORIENTATION, 1) == 1
        expected = made.tags_of(picture.metadata.exif)
        del expected[made.ORIENTATION]
        if format in ("webp", "avif"):  # which have no other place for the resolution
            expected |= {282: 300, 283: 150, 296: 2}
        assert tags == expected
        assert found.xmp == picture.metadata.xmp
    if format in ("jpeg", "tiff"):
        assert found.iptc == picture.metadata.iptc
    if format in ("jpeg", "tiff", "png", "bmp"):
        assert found.dpi == picture.metadata.dpi


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif"])
def test_profile_comes_back_byte_for_byte(format):
    for profile in (made.display_p3(), made.srgb(), made.adobe_rgb()):
        assert again(made.picture(icc_profile=profile), format).metadata.icc_profile == profile


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif"])
def test_exif_speaks_of_the_new_picture(format, order):
    thumbnail = b"\xff\xd8 the old picture \xff\xd9" * 20
    picture = made.picture(exif=made.exif(1, size=(96, 64), thumbnail=thumbnail, order=order))
    large = replaced(picture, np.zeros((128, 192, 3), np.float32))
    data = encode(large, format=format)
    tags = made.tags_of(read(io.BytesIO(data)).metadata.exif)
    assert (tags[made.WIDTH], tags[made.HEIGHT]) == (192, 128)
    assert tags[made.MODEL] == "Test Camera"
    assert b"the old picture" not in data


def test_a_thumbnail_in_the_midst_of_exif_is_blanked():
    from sr_cli.images import exif

    thumbnail, note = b"\xff\xd8 the old picture \xff\xd9" * 20, b"a maker's note"
    block = made.exif(thumbnail=thumbnail) + note
    edited = exif.edited(block, width=192, height=128)
    assert b"the old picture" not in edited
    assert edited[-len(note) :] == note and len(edited) == len(block)


def test_exif_sizes_beyond_16_bits_are_widened():
    from sr_cli.images import exif

    block = exif.edited(made.exif(), width=70_000, height=80_000)
    tags = made.tags_of(block)
    assert (tags[made.WIDTH], tags[made.HEIGHT]) == (70_000, 80_000)


def test_sizes_in_the_first_directory_of_exif_are_the_new_ones_too():
    from sr_cli.images import exif

    block = Image.Exif()
    block[256], block[257] = 96, 64
    large = exif.edited(block.tobytes().removeprefix(b"Exif\0\0"), width=192, height=128)
    tags = made.tags_of(large)
    assert (tags[256], tags[257]) == (192, 128)


@pytest.mark.parametrize("software", ["x", "abc", "abcd", "sr-cli 0.1.0"])
def test_software_is_named_where_there_was_no_exif(software):
    for format in ("png", "jpeg", "webp", "tiff", "avif"):
        block = again(made.picture(), format, software=software).metadata.exif
        assert made.tags_of(block)[305] == software


def saved(
    pixels: np.ndarray, profile: bytes, mode: str = "RGB", format: str = "TIFF"
) -> io.BytesIO:
    stream = io.BytesIO()
    Image.fromarray(pixels, mode).save(stream, format, icc_profile=profile)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("profile", [made.display_p3(), made.adobe_rgb()])
def test_all_colours_of_a_wide_profile_come_back(profile):
    """Also those that sRGB does not have: pure Display P3 red, green, cyan."""
    steps = np.array([0, 1, 40, 128, 200, 255], dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(12, 18, 3)
    picture = read(saved(colours, profile))
    assert picture.rgb.min() >= 0.0 and picture.rgb.max() <= 1.0
    back = Image.open(io.BytesIO(encode(picture, format="png")))
    assert back.info["icc_profile"] == profile
    assert np.abs(np.asarray(back).astype(int) - colours).max() <= 1


def test_colours_of_a_wide_profile_are_converted_as_littlecms_does():
    """In the gamut of both, and away from black, where 8-bit tables are coarse."""
    rng = np.random.default_rng(2)
    colours = rng.integers(90, 170, (8, 8, 3)).astype(np.uint8)
    for profile in (made.display_p3(), made.adobe_rgb()):
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        theirs = ImageCms.profileToProfile(Image.fromarray(colours), own, target, outputMode="RGB")
        ours = read(saved(colours, profile)).rgb * 255
        assert np.abs(ours - np.asarray(theirs)).max() <= 1.0
        assert np.abs(ours - colours).max() > 3.0  # there was something to convert


def test_enlarged_wide_colours_stay_wide():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    small = read(saved(red, made.display_p3()))
    large = replaced(small, np.repeat(np.repeat(small.rgb, 4, axis=0), 4, axis=1))
    back = np.asarray(Image.open(io.BytesIO(encode(large, format="png"))))
    assert back.shape == (32, 32, 3)
    assert np.abs(back.astype(int) - red[0, 0]).max() <= 1


def test_srgb_is_kept_bit_for_bit_under_its_own_profile():
    colours = np.random.default_rng(3).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    picture = read(saved(colours, made.srgb()))
    assert (np.rint(picture.rgb * 255) == colours).all()


def test_colours_asked_for_in_srgb_say_so():
    picture = read(saved(np.full((4, 4, 3), 120, np.uint8), made.display_p3()))
    found = again(picture, "png", color="srgb")
    assert ImageCms.getProfileDescription(
        ImageCms.ImageCmsProfile(io.BytesIO(found.metadata.icc_profile))
    ).startswith("sRGB")
    assert np.abs(found.rgb - picture.rgb).max() <= 0.51 / 255


def test_a_profile_that_works_one_way_only_gives_way_to_srgb():
    colours = np.random.default_rng(4).integers(90, 170, (8, 8, 3)).astype(np.uint8)
    picture = read(saved(colours, made.scanner()))
    assert np.abs(picture.rgb * 255 - colours).max() > 3  # there was something to convert
    found = again(picture, "png")
    assert ImageCms.getProfileDescription(
        ImageCms.ImageCmsProfile(io.BytesIO(found.metadata.icc_profile))
    ).startswith("sRGB")
    assert np.abs(found.rgb - picture.rgb).max() <= 0.51 / 255


def test_formats_without_profiles_get_srgb():
    picture = read(saved(np.full((4, 4, 3), (200, 60, 60), np.uint8), made.display_p3()))
    for format in ("bmp", "pnm"):
        assert np.abs(again(picture, format).rgb - picture.rgb).max() <= 0.51 / 255


def test_the_same_picture_gives_the_same_bytes():
    picture = made.picture(icc_profile=made.display_p3())
    assert encode(picture, format="png", color="srgb") == encode(
        picture, format="png", color="srgb"
    )


def test_gray_profile_is_converted_and_comes_back():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = read(saved(ramp, made.gray_gamma(1.8), "L"))
    expected = 255 * (128 / 255) ** 1.8 / 255  # light of the middle step
    middle = picture.rgb[8, 0, 0]
    assert abs(((middle + 0.055) / 1.055) ** 2.4 - expected) < 1e-3
    back = Image.open(io.BytesIO(encode(picture, format="png")))
    assert back.mode == "L" and back.info["icc_profile"] == made.gray_gamma(1.8)
    assert np.abs(np.asarray(back).astype(int) - ramp).max() <= 1


def test_gray_profile_does_not_end_up_beside_colours():
    picture = read(saved(np.full((4, 4), 100, np.uint8), made.gray_gamma(1.8), "L"))
    found = again(picture, "webp")
    assert found.metadata.icc_profile[16:20] == b"RGB "
    assert np.abs(found.rgb - picture.rgb).max() <= 0.51 / 255


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
@pytest.mark.parametrize("profile", [None, made.ink()])
def test_inks_come_back_as_inks_of_the_same_colours(format, profile):
    colours = [(20, 60, 90, 0), (80, 20, 40, 0), (30, 30, 30, 0), (10, 90, 50, 0)]
    inks = np.repeat(np.repeat(np.array(colours, np.uint8).reshape(2, 2, 4), 8, axis=0), 8, axis=1)
    options = {} if profile is None else {"icc_profile": profile}
    stream = io.BytesIO()
    Image.fromarray(inks, "CMYK").save(stream, format, quality=100, **options)
    picture = read(stream_at_start(stream))
    assert picture.metadata.color_model == "cmyk"
    found = again(picture, format.lower(), quality=100)
    assert found.metadata.color_model == "cmyk"
    assert found.metadata.icc_profile == profile
    # Two JPEGs, or two passes through 8-bit tables, are worth some levels.
    assert np.abs(found.rgb - picture.rgb)[4::8, 4::8].max() <= 5 / 255


def stream_at_start(stream: io.BytesIO) -> io.BytesIO:
    stream.seek(0)
    return stream


def test_inks_become_srgb_where_the_format_has_none():
    inks = np.full((8, 8, 4), (20, 60, 90, 10), np.uint8)
    picture = read(saved(inks, made.ink(), "CMYK"))
    found = again(picture, "png")
    assert found.metadata.color_model == "rgb"
    assert found.metadata.icc_profile is not None
    assert np.abs(found.rgb - picture.rgb).max() <= 0.51 / 255


def test_opaque_alpha_costs_nothing_and_is_written_back():
    stream = io.BytesIO()
    Image.new("RGBA", (5, 4), (1, 2, 3, 255)).save(stream, "PNG")
    picture = read(stream_at_start(stream))
    assert picture.alpha is None
    assert Image.open(io.BytesIO(encode(picture, format="png"))).mode == "RGBA"


@pytest.mark.parametrize(
    ("tag", "value"),
    [(322, 32), (266, 2), (338, 1), (339, 3), (330, 8), (347, b"x"), (700, b"x"), (33723, b"x")],
)
def test_what_exif_says_of_another_files_pixels_does_not_spoil_a_tiff(tag, value):
    block = Image.Exif()
    block[271] = "Maker"
    for one in (tag, 323) if tag == 322 else (tag,):
        block[one] = value
    stream = io.BytesIO()
    Image.new("RGB", (96, 64), (90, 120, 30)).save(stream, "JPEG", exif=block)
    picture = read(io.BytesIO(stream.getvalue()))
    found = again(picture, "tiff")
    assert np.array_equal(found.rgb, picture.rgb)
    assert found.metadata.xmp is None and found.metadata.iptc is None
    kept = Image.Exif()
    kept.load(found.metadata.exif)
    assert kept[271] == "Maker"
