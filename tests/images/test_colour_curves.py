"""Every kind of ICC curve gives the colours that LittleCMS gives."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from sr_cli.images.colour import from_srgb, to_srgb
from tests.images import made

TABLE = np.linspace(0, 1, 64) ** 1.6
CURVES = {
    "straight": b"curv" + bytes(4) + struct.pack(">I", 0),
    "gamma": made.gamma_curve(1.8),
    "table": b"curv" + bytes(4) + struct.pack(">I64H", 64, *np.rint(TABLE * 65535).astype(int)),
    "function 0": made.parametric_curve(0, 1.8),
    "function 1": made.parametric_curve(1, 2.0, 1.1, -0.1),
    "function 2": made.parametric_curve(2, 2.0, 0.95, -0.05, 0.19),
    "function 3": made.SRGB_CURVE,
    "function 4": made.parametric_curve(4, 2.2, 0.9, 0.05, 0.05, 0.1, 0.11, 0.118),
}


@pytest.mark.parametrize("name", CURVES)
def test_colours_are_those_of_little_cms(name: str) -> None:
    icc = made.with_curve(CURVES[name])
    samples = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    samples[0, :, :] = np.linspace(0, 255, 48).astype(np.uint8)[:, None]
    own = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    there = ImageCms.profileToProfile(
        Image.fromarray(samples),
        own,
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        "RGB",
    )
    assert there is not None
    found = to_srgb(samples, "rgb", icc)
    assert not found.notes and found.icc_profile == icc
    difference = np.abs(np.rint(found.rgb * 255) - np.asarray(there, dtype=float))
    assert difference.max() <= 1
    again = from_srgb(found.rgb, "rgb", icc, 8, found.beyond)
    rising = samples > 25  # the flat foot of functions 1 and 2 has no inverse
    assert np.abs(again.astype(int) - samples)[rising].max() <= 1
