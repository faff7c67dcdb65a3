"""Pictures, profiles and EXIF made for the tests."""

from __future__ import annotations

import struct

import numpy as np
from PIL import ImageCms

from sr_cli.images import Metadata, Picture

# Patches are wide enough that the blocks of 8x8 around their centres are flat even where chroma was
# stored at half the size.
SIDE = 32

ORIENTATION, WIDTH, HEIGHT, MODEL, LENS, EXIF_DIRECTORY = 274, 40962, 40963, 272, 42036, 34665


def patches(seed: int = 0, *, gray: bool = False, depth: int = 8) -> np.ndarray:
    """(64, 96, 3) in [0, 1]: six flat patches whose colours a file of `depth` bits can hold."""
    top = 2**depth - 1
    rng = np.random.default_rng(seed)
    colours = np.rint(rng.uniform(0.1, 0.9, (2, 3, 1 if gray else 3)) * top) / top
    return np.broadcast_to(enlarged(colours), (2 * SIDE, 3 * SIDE, 3)).astype(np.float32)


def patch_alpha(depth: int = 8) -> np.ndarray:
    """(64, 96): patches from nothing to opaque."""
    top = 2**depth - 1
    values = np.rint(np.array([[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]) * top) / top
    return enlarged(values).astype(np.float32)


def enlarged(values: np.ndarray) -> np.ndarray:
    """A patch of SIDE x SIDE for each value."""
    return np.repeat(np.repeat(values, SIDE, axis=0), SIDE, axis=1)


def centres(pixels: np.ndarray) -> np.ndarray:
    """One pixel of each patch."""
    return pixels[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE]


def picture(
    *, gray: bool = False, depth: int = 8, alpha: bool = False, seed: int = 0, **metadata: object
) -> Picture:
    """A picture of patches."""
    said = Metadata(
        color_model="gray" if gray else "rgb", bit_depth=depth, has_alpha=alpha, **metadata
    )
    covered = patch_alpha(depth) if alpha else None
    return Picture(patches(seed, gray=gray, depth=depth), covered, said)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _profile(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\0" + bytes(79),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + _fixed(0.9642) + _fixed(1.0) + _fixed(0.8249),
        **tags,
    }
    tags = {name: body + bytes(-len(body) % 4) for name, body in tags.items()}
    table, bodies, at = b"", b"", 132 + 12 * len(tags)
    for name, body in tags.items():
        table += struct.pack(">4sII", name, at + len(bodies), len(body))
        bodies += body
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(
        ">I4sI4s4s4s6H4s", 132 + len(table) + len(bodies), bytes(4), 0x02400000, kind, space, pcs,
        2020, 1, 1, 0, 0, 0, b"acsp",
    )  # fmt: skip
    head = head.ljust(68, b"\0") + _fixed(0.9642) + _fixed(1.0) + _fixed(0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + bodies


def gamma_curve(gamma: float) -> bytes:
    """An ICC curve that is a power."""
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def parametric_curve(kind: int, *numbers: float) -> bytes:
    """An ICC curve of one of the functions of ICC.1:2022, table 68: g, a, b, c, d, e, f."""
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + b"".join(map(_fixed, numbers))


SRGB_CURVE = parametric_curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _matrix_profile(columns: list[list[float]], curve: bytes) -> bytes:
    tags = {
        name: b"XYZ " + bytes(4) + b"".join(map(_fixed, column))
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
    }
    return _profile(b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def with_curve(curve: bytes) -> bytes:
    """Colours of sRGB with another curve: an ICC tag's bytes."""
    columns = [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.7141]]
    return _matrix_profile(columns, curve)


def display_p3() -> bytes:
    """Display P3: wider than sRGB, with its curve."""
    columns = [[0.51512, 0.2412, -0.00105], [0.29198, 0.69225, 0.04189], [0.1571, 0.06657, 0.78407]]
    return _matrix_profile(columns, SRGB_CURVE)


def adobe_rgb() -> bytes:
    """Adobe RGB (1998): wider than sRGB, gamma 2.2."""
    columns = [
        [0.60974, 0.31111, 0.01947],
        [0.20528, 0.62567, 0.06087],
        [0.14919, 0.06322, 0.74457],
    ]
    return _matrix_profile(columns, gamma_curve(563 / 256))


def gray_gamma(gamma: float) -> bytes:
    """A gray profile."""
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": gamma_curve(gamma)})


def srgb() -> bytes:
    """The sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _table(inputs: int, outputs: int, grid: int, values: np.ndarray) -> bytes:
    """An ICC table of 8 bits, between curves that change nothing."""
    ramp = bytes(range(256))
    head = b"mft1" + bytes(4) + bytes([inputs, outputs, grid, 0])
    identity = b"".join(_fixed(float(i == j)) for i in range(3) for j in range(3))
    clut = np.rint(np.clip(values, 0, 255)).astype(np.uint8).tobytes()
    return head + identity + ramp * inputs + clut + ramp * outputs


def scanner() -> bytes:
    """A profile of colours that leads from them, as scanners' do, and not back."""
    r, g, b = np.meshgrid(*[np.linspace(0, 1, 9)] * 3, indexing="ij")
    lab = [255 * (r + g + b) / 3, 128 + 60 * (r - g), 128 + 30 * (r + g - 2 * b)]
    return _profile(b"RGB ", b"Lab ", {b"A2B0": _table(3, 3, 9, np.stack(lab, axis=-1))})


def ink() -> bytes:
    """A CMYK profile of tables: lightness falls with the inks, colour follows them."""
    steps = np.linspace(0.0, 1.0, 9)
    c, m, y, k = np.meshgrid(steps, steps, steps, steps, indexing="ij")
    light = (1 - k) * (1 - (c + m + y) / 3)
    lab = [255 * light, 128 + 60 * (m - c) * (1 - k), 128 + 60 * (y - (c + m) / 2) * (1 - k)]
    to_lab = _table(4, 3, 9, np.stack(lab, axis=-1))
    lightness, a, b = np.meshgrid(*[np.linspace(0, 255, 17)] * 3, indexing="ij")
    # Without black: solve the three equations above for c, m and y.
    cover = 3 * (1 - lightness / 255)
    difference, excess = (a - 128) / 60, (b - 128) / 60
    both = (cover - excess) / 1.5
    inks = [(both - difference) / 2, (both + difference) / 2, cover - both, 0 * both]
    from_lab = _table(3, 4, 17, 255 * np.clip(np.stack(inks, axis=-1), 0, 1))
    return _profile(b"CMYK", b"Lab ", {b"A2B0": to_lab, b"B2A0": from_lab})


def exif(
    orientation: int = 1, *, size: tuple[int, int] = (96, 64), thumbnail: bytes = b"", order="<"
) -> bytes:
    """An EXIF block with a camera's name, sizes, a lens and, if given, a thumbnail."""

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        packed = (
            struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        )
        return struct.pack(order + "HHI", tag, kind, count) + packed

    camera, lens = b"Test Camera\0", b"Test Lens 50mm\0\0"
    first = 8
    texts = first + 2 + 3 * 12 + 4
    inner = texts + len(camera)
    inner_texts = inner + 2 + 3 * 12 + 4
    second = inner_texts + len(lens)
    shot = second + 2 + 2 * 12 + 4
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first)
    block += struct.pack(order + "H", 3) + entry(MODEL, 2, len(camera), texts)
    block += entry(ORIENTATION, 3, 1, orientation) + entry(EXIF_DIRECTORY, 4, 1, inner)
    block += struct.pack(order + "I", second if thumbnail else 0) + camera
    block += (
        struct.pack(order + "H", 3) + entry(WIDTH, 3, 1, size[0]) + entry(HEIGHT, 3, 1, size[1])
    )
    block += entry(LENS, 2, len(lens), inner_texts) + struct.pack(order + "I", 0) + lens
    if thumbnail:
        block += struct.pack(order + "H", 2) + entry(513, 4, 1, shot)
        block += entry(514, 4, 1, len(thumbnail)) + struct.pack(order + "I", 0) + thumbnail
    return block


def tags_of(block: bytes | None) -> dict[int, object]:
    """All tags of an EXIF block, those of its inner directory among them."""
    from PIL import Image

    assert block is not None
    read = Image.Exif()
    read.load(block)
    return {**{tag: read[tag] for tag in read if tag != EXIF_DIRECTORY}, **read.get_ifd(34665)}
