"""Colours of a file to sRGB and back.

Most profiles of photographs (sRGB, Display P3, Adobe RGB, ProPhoto, gray gammas) are three curves
and a matrix. Those are computed here in floating point, since Pillow's colour management works in
8 bits, which is too coarse for 16-bit files and cuts off what sRGB cannot hold. All others, ink
profiles above all, go through Pillow.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sr_cli.images.picture import ColorModel, Floats

Doubles = NDArray[np.float64]
Samples = NDArray[np.unsignedinteger[Any]]
"""Whole numbers as they stand in a file, uint8 or uint16."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Rec. 601 weights, those of JPEG and of Pillow."""

# sRGB's primaries, adapted to the D50 white of ICC profiles (IEC 61966-2-1, Bradford).
_SRGB_TO_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_CURVE_POINTS = 16385  # dense enough that interpolation errs by less than a 16-bit step
_WHITE = 1e-3  # how far a profile's white may lie off and still be white
_BAND = 2**20  # pixels a pass: bounds the memory that intermediate arrays take


@dataclass(frozen=True)
class _Profile:
    """A profile of curves and, for colours, a matrix."""

    curves: Doubles
    """(C, points): light for device values 0 to 1."""
    to_srgb: Doubles | None
    """(3, 3): linear device colours to linear sRGB; None for gray."""

    @property
    def is_srgb(self) -> bool:
        """Whether a conversion would change no 8-bit value."""
        steps = np.linspace(0.0, 1.0, _CURVE_POINTS)
        same_curve = np.abs(_encode(self.curves) - steps).max() < 0.5 / 255
        return bool(same_curve) and (
            self.to_srgb is None or bool(np.abs(self.to_srgb - np.eye(3)).max() < 2e-3)
        )


def _encode(light: NDArray[Any]) -> NDArray[Any]:
    """Linear light to sRGB values; negative light mirrors."""
    size = np.abs(light)
    steep = 1.055 * np.power(np.maximum(size, 0.0031308), 1 / 2.4) - 0.055
    values: NDArray[Any] = np.copysign(np.where(size <= 0.0031308, 12.92 * size, steep), light)
    return values


def _decode(values: NDArray[Any]) -> NDArray[Any]:
    """SRGB values to linear light; negative values mirror."""
    size = np.abs(values)
    steep = np.power((np.maximum(size, 0.04045) + 0.055) / 1.055, 2.4)
    light: NDArray[Any] = np.copysign(np.where(size <= 0.04045, size / 12.92, steep), values)
    return light


def _curve(data: bytes) -> Doubles:
    """An ICC curve ("curv" or "para", ICC.1:2022 10.6 and 10.18) at evenly spaced points."""
    x = np.linspace(0.0, 1.0, _CURVE_POINTS)
    kind, count = data[:4], struct.unpack_from(">I", data, 8)[0]
    if kind == b"curv":
        if count == 0:
            return x
        table = np.array(struct.unpack_from(f">{count}H", data, 12), dtype=np.float64)
        if count == 1:
            return np.asarray(x ** (table[0] / 256.0), dtype=np.float64)
        return np.interp(x, np.linspace(0.0, 1.0, count), table / 65535.0)
    if kind != b"para":
        raise ValueError("unknown curve")
    function = struct.unpack_from(">H", data, 8)[0]
    numbers = (1, 3, 4, 5, 7)[function]
    g, *rest = (n / 65536.0 for n in struct.unpack_from(f">{numbers}i", data, 12))
    a, b, c, d, e, f = (*rest, *(0.0,) * (6 - len(rest))) if rest else (1.0, *(0.0,) * 5)
    if function in (1, 2):
        # below -b/a these are constant: zero for type 1, c for type 2
        c, d, e, f = 0.0, -b / a, c, c
    power = np.power(np.maximum(a * x + b, 0.0), g) + e
    curve: Doubles = np.clip(np.where(x >= d, power, c * x + f), 0.0, 1.0)
    return curve


def _tags(icc: bytes) -> dict[bytes, bytes]:
    count = min(struct.unpack_from(">I", icc, 128)[0], 100)
    found = (struct.unpack_from(">4sII", icc, 132 + 12 * n) for n in range(count))
    return {name: icc[start : start + length] for name, start, length in found}


@functools.lru_cache(maxsize=8)
def _profile(icc: bytes) -> _Profile | None:
    """The curves and the matrix of a profile, or None if it is of another kind or damaged."""
    try:
        tags = _tags(icc)
        if icc[16:20] == b"GRAY" and b"kTRC" in tags:
            return _usable(_Profile(_curve(tags[b"kTRC"])[None], None))
        if icc[16:24] != b"RGB XYZ ":
            return None
        curves = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
        columns = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        matrix = np.linalg.inv(_SRGB_TO_XYZ) @ (np.array(columns).T / 65536.0)
        np.linalg.inv(matrix)  # must have one, to go back
        return _usable(_Profile(curves, matrix))
    except (struct.error, KeyError, IndexError, ValueError, ArithmeticError):
        return None


def _usable(profile: _Profile) -> _Profile | None:
    """The profile if its curves can be inverted."""
    rising = (np.diff(profile.curves) >= 0.0).all() and (np.ptp(profile.curves, axis=1) > 0.5).all()
    return profile if rising else None


def _space(icc: bytes) -> str:
    """The colour space a profile speaks of: "GRAY", "RGB ", "CMYK" and others."""
    return icc[16:20].decode("ascii", "replace")


_SPACES: dict[ColorModel, str] = {"gray": "GRAY", "rgb": "RGB ", "cmyk": "CMYK"}


def fits(icc: bytes | None, model: ColorModel) -> bool:
    """Whether a profile can stand beside such pixels; no profile always can.

    Gray with the sRGB profile is common, strictly wrong, and means gray with sRGB's curve.
    """
    if icc is None or _space(icc) == _SPACES[model]:
        return True
    profile = _profile(icc) if model == "gray" else None
    return profile is not None and profile.is_srgb


def luma(rgb: Floats) -> Floats:
    """(H, W, 3) to gray, (H, W, 1)."""
    return np.asarray((rgb @ _LUMA)[..., None], dtype=np.float32)


def is_colourless(pixels: NDArray[Any]) -> bool:
    """Whether the channels of (H, W, 3) are the same everywhere."""
    if not pixels.size:
        return False
    rows = _bands(*pixels.shape[:2])
    return all(bool((pixels[band, :, 1:] == pixels[band, :, :1]).all()) for band in rows)


def gray_of(rgb: Floats) -> Floats:
    """(H, W, 3) to the gray of its luma, in three equal channels."""
    return _three(luma(rgb))


def srgb_profile() -> bytes:
    """The sRGB profile, the same bytes every time."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # the date it was made
    made[84:100] = bytes(16)  # a checksum over the date too; zero means none
    return bytes(made)


def _bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _BAND // width)
    return (slice(top, top + rows) for top in range(0, height, rows))


def _unit(samples: Samples) -> Floats:
    """Samples to [0, 1]."""
    values = samples.astype(np.float32)
    values /= np.float32(65535 if samples.dtype == np.uint16 else 255)  # in place: no second copy
    return values


@dataclass(frozen=True)
class Converted:
    """Colours in sRGB."""

    rgb: Floats
    """(H, W, 3) in [0, 1]."""
    beyond: Floats | None = None
    """See `Picture.beyond`."""
    icc_profile: bytes | None = None
    """The profile, unless it was of no use."""
    notes: tuple[str, ...] = ()


def to_srgb(samples: Samples, model: ColorModel, icc: bytes | None) -> Converted:
    """Converts the samples of a file.

    Args:
        samples: (H, W, C) with 1 channel for gray, 3 for rgb and 4 (ink, 0 is none) for cmyk.
        model: What the channels are.
        icc: The embedded profile; without one, colours are taken for sRGB.
    """
    if icc is not None and not fits(icc, model):
        note = "its colour profile is not one for its kind of pixels and was left out"
        return _noted(to_srgb(samples, model, None), note)
    if model == "cmyk":
        return _from_ink(samples, icc)
    if icc is None:
        return Converted(_three(_unit(samples)))
    profile = _profile(icc)
    if profile is None:
        return _through_pillow(samples, model, icc)
    if profile.is_srgb:
        return Converted(_three(_unit(samples)), icc_profile=icc)
    return _through_matrix(samples, profile, icc)


def _noted(converted: Converted, note: str) -> Converted:
    """The same with a further note."""
    return Converted(
        converted.rgb, converted.beyond, converted.icc_profile, (*converted.notes, note)
    )


def _three(values: Floats) -> Floats:
    return values if values.shape[2] == 3 else np.repeat(values, 3, axis=2)


def _through_matrix(samples: Samples, profile: _Profile, icc: bytes) -> Converted:
    height, width = samples.shape[:2]
    top = 65535 if samples.dtype == np.uint16 else 255
    steps = np.linspace(0.0, 1.0, top + 1)
    points = np.linspace(0.0, 1.0, _CURVE_POINTS)
    tables = [np.interp(steps, points, curve).astype(np.float32) for curve in profile.curves]
    rgb = np.empty((height, width, 3), dtype=np.float32)
    beyond = np.zeros_like(rgb) if profile.to_srgb is not None else None
    for rows in _bands(height, width):
        light = np.stack([table[samples[rows, :, c]] for c, table in enumerate(tables)], axis=2)
        if profile.to_srgb is not None:
            light = light @ profile.to_srgb.T.astype(np.float32)
        encoded = _encode(light)
        rgb[rows] = np.clip(encoded, 0.0, 1.0)
        if beyond is not None:
            beyond[rows] = encoded - rgb[rows]
    if beyond is not None and np.abs(beyond).max() < 0.5 / 255:
        beyond = None  # rounding, not colour
    return Converted(rgb, beyond, icc)


def _eight(samples: Samples) -> NDArray[np.uint8]:
    if samples.dtype == np.uint8:
        return np.asarray(samples, dtype=np.uint8)
    return ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _transform(pixels: NDArray[np.uint8], mode: str, icc: bytes, *, back: bool) -> Image.Image:
    """8-bit pixels through Pillow's colour management, from the profile or back into it.

    Raises:
        ImageCms.PyCMSError: The profile cannot be used.
    """
    own = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    srgb = ImageCms.createProfile("sRGB")
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, _of(pixels))
    source, target = (srgb, own) if back else (own, srgb)
    done = ImageCms.profileToProfile(
        image, source, target, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode=mode
    )
    assert done is not None
    return done


def _of(pixels: NDArray[np.uint8]) -> str:
    return {1: "L", 3: "RGB", 4: "CMYK"}[pixels.shape[2]]


def _through_pillow(samples: Samples, model: ColorModel, icc: bytes) -> Converted:
    try:
        image = _transform(_eight(samples), "RGB", icc, back=False)
    except (ImageCms.PyCMSError, OSError, ValueError):
        note = "its colour profile is damaged and was left out"
        return _noted(to_srgb(samples, model, None), note)
    notes: tuple[str, ...] = ()
    if samples.dtype == np.uint16:
        notes = ("its colours went through a profile of 8-bit tables",)
    return Converted(_unit(np.asarray(image)), None, icc, notes)


def _from_ink(samples: Samples, icc: bytes | None) -> Converted:
    if icc is not None:
        return _through_pillow(samples, "cmyk", icc)
    rgb = np.empty((*samples.shape[:2], 3), dtype=np.float32)
    for rows in _bands(*rgb.shape[:2]):
        ink = _unit(samples[rows])
        rgb[rows] = (1.0 - ink[..., :3]) * (1.0 - ink[..., 3:])
    return Converted(rgb, notes=("its inks have no profile, so its colours are approximate",))


def _quantised(values: NDArray[Any], depth: int) -> Samples:
    top = 2**depth - 1
    whole: NDArray[Any] = np.rint(np.clip(values, 0.0, 1.0) * top)
    samples: Samples = whole.astype(np.uint16 if depth == 16 else np.uint8)
    return samples


def quantised(values: Floats, depth: int) -> Samples:
    """Values in [0, 1] to whole numbers of `depth` bits, a few rows at a time."""
    kind = np.uint16 if depth == 16 else np.uint8
    whole: Samples = np.empty(values.shape, dtype=kind)
    for rows in _bands(*values.shape[:2]):
        whole[rows] = _quantised(values[rows], depth)
    return whole


def from_srgb(
    rgb: Floats, model: ColorModel, icc: bytes | None, depth: int, beyond: Floats | None = None
) -> Samples:
    """Converts sRGB into the samples of a file; the inverse of `to_srgb`.

    Args:
        rgb: (H, W, 3).
        model: What the file holds.
        icc: The profile to go into, of that model; None for sRGB.
        depth: Bits a channel, 8 or 16; inks have 8.
        beyond: See `Picture.beyond`.

    Returns:
        (H, W, C).

    Raises:
        ImageCms.PyCMSError: The profile works one way only.
    """
    profile = None if icc is None else _profile(icc)
    if model == "cmyk" or (icc is not None and profile is None):
        return _back_through_pillow(rgb, model, icc, depth)
    if profile is not None and profile.is_srgb:
        profile = None
    height, width = rgb.shape[:2]
    if beyond is not None and profile is not None:
        beyond = _resized(beyond, width, height)
    kind = np.uint16 if depth == 16 else np.uint8
    samples: Samples = np.empty((height, width, 1 if model == "gray" else 3), dtype=kind)
    for rows in _bands(height, width):
        values: NDArray[Any] = np.clip(rgb[rows], 0.0, 1.0)
        if model == "gray":
            values = luma(values)
        if profile is not None:
            values = values if beyond is None else values + beyond[rows]
            values = _into_profile(values, profile)
        samples[rows] = _quantised(values, depth)
    return samples


def _into_profile(values: NDArray[Any], profile: _Profile) -> NDArray[Any]:
    light = _decode(values.astype(np.float64))
    if profile.to_srgb is not None:
        own = light @ np.linalg.inv(profile.to_srgb).T
        if np.allclose(profile.to_srgb.sum(1), 1, atol=_WHITE):
            # What is rounded in a profile's numbers would tint every other gray by a level.
            own = np.where((light == light[..., :1]).all(2, keepdims=True), light, own)
        light = own
    points = np.linspace(0.0, 1.0, _CURVE_POINTS)
    curves = zip(np.moveaxis(light, 2, 0), profile.curves, strict=True)
    return np.stack([np.interp(channel, curve, points) for channel, curve in curves], axis=2)


def _resized(channels: Floats, width: int, height: int) -> Floats:
    if channels.shape[:2] == (height, width):
        return channels
    return np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(channels[..., c])).resize(
                    (width, height), Image.Resampling.BICUBIC
                )
            )
            for c in range(3)
        ],
        axis=2,
    )


def _back_through_pillow(rgb: Floats, model: ColorModel, icc: bytes | None, depth: int) -> Samples:
    if icc is None:  # inks without a profile
        return _naive_ink(rgb)
    mode = {"gray": "L", "rgb": "RGB", "cmyk": "CMYK"}[model]
    image = _transform(np.asarray(quantised(rgb, 8), dtype=np.uint8), mode, icc, back=True)
    done: Samples = np.asarray(image).reshape(*rgb.shape[:2], -1)
    return done.astype(np.uint16) * np.uint16(257) if depth == 16 else done


def _naive_ink(rgb: Floats) -> Samples:
    """The inks whose naive colours are those of `rgb`, with as much black as they can share."""
    inks = np.empty((*rgb.shape[:2], 4), dtype=np.uint8)
    for rows in _bands(*rgb.shape[:2]):
        colours = np.clip(rgb[rows], 0.0, 1.0)
        light = colours.max(axis=2, keepdims=True)
        shares = colours / np.maximum(light, 1e-6)
        ink = np.concatenate([1.0 - np.where(light > 0.0, shares, 1.0), 1.0 - light], axis=2)
        inks[rows] = _quantised(ink, 8)
    return inks
