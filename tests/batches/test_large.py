"""Large results are written row by row, and are what they would be if written whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_cli.images import Metadata, Picture, PictureError, read, write, write_rows
from sr_cli.inference.resampling import enlarge_plane, enlarge_rows
from tests.batches.conftest import Upscale, draw
from tests.images import made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sr_cli.cli.enlarging.GROWING_FROM", 0)


def rows_of(picture: Picture, height: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for top in range(0, picture.height, height):
        alpha = picture.alpha
        part = None if alpha is None else alpha[top : top + height]
        yield picture.rgb[top : top + height], part


@pytest.mark.parametrize("format", ["png", "tiff", "pnm"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_rows_make_the_file_that_the_whole_makes(
    here: Path, format: str, depth: int, gray: bool, alpha: bool
) -> None:
    picture = made.picture(gray=gray, depth=depth, alpha=alpha)
    write(picture, here / "whole", format=format, software="x")
    size = picture.width, picture.height
    for height in (1, 5, 32):
        write_rows(
            picture, rows_of(picture, height), size, here / "rows", format=format, software="x"
        )
        whole, rows = read(here / "whole"), read(here / "rows")
        assert np.array_equal(whole.rgb, rows.rgb)
        assert (whole.alpha is None) == (rows.alpha is None)
        assert whole.alpha is None or np.array_equal(whole.alpha, rows.alpha)
        assert whole.metadata == rows.metadata
        with Image.open(here / "rows") as image:
            assert image.size == size


def test_many_rows_are_joined_to_strips_of_one_height(here: Path) -> None:
    rgb = np.random.default_rng(0).random((1500, 700, 3)).astype(np.float32)
    picture = Picture(rgb, None, Metadata())
    for format in ("tiff", "png"):
        write_rows(picture, rows_of(picture, 211), (700, 1500), here / "rows", format=format)
        assert np.abs(read(here / "rows").rgb - rgb).max() < 0.51 / 255


def test_a_large_picture_is_the_same(
    upscale: Upscale, here: Path, everything_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(3).integers(0, 256, (45, 31, 4)).astype(np.uint8)
    Image.fromarray(values, "RGBA").save(here / "a.png")
    draw(here / "b.tif", size=(40, 51))
    grown = upscale(".", "-o", "grown", "--tile", 16, "--precision", "fp32")
    monkeypatch.setattr("sr_cli.cli.enlarging.GROWING_FROM", 1 << 60)
    whole = upscale(".", "-o", "whole", "--tile", 16, "--precision", "fp32")
    assert grown.status == whole.status == 0, grown.err
    for name in ("a_x4.png", "b_x4.tif"):
        with Image.open(here / "grown" / name) as one, Image.open(here / "whole" / name) as other:
            assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("options", [("--outscale", 2.5), ("--tta",), ("--format", "jpg")])
def test_a_large_picture_gets_what_was_asked_for(
    upscale: Upscale,
    here: Path,
    everything_is_large: None,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
) -> None:
    draw(here / "a.png", size=(40, 30))
    how = ("--precision", "fp32", *options)
    assert upscale("a.png", "-o", "large/", *how).status == 0
    monkeypatch.setattr("sr_cli.cli.enlarging.GROWING_FROM", 1 << 60)
    assert upscale("a.png", "-o", "small/", *how).status == 0
    (large,), (small,) = (list((here / folder).iterdir()) for folder in ("large", "small"))
    assert large.name == small.name and large.read_bytes() == small.read_bytes()


def test_a_full_disk_in_the_midst_of_a_large_picture(
    upscale: Upscale, here: Path, everything_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(here / "a.png", size=(60, 80))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sr_cli.images.raw_files._put_chunk", full)
    outcome = upscale("a.png")
    assert outcome.status == 1
    assert "no space left" in outcome.err and len(outcome.err.splitlines()) == 1
    assert [path.name for path in here.iterdir()] == ["a.png"]


def test_an_interrupt_in_the_midst_of_a_large_picture(
    upscale: Upscale, here: Path, everything_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(here / "a.png", size=(60, 80))
    calls = []

    def interrupted(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise SystemExit(130)

    monkeypatch.setattr("sr_cli.images.raw_files._magnitude", interrupted)
    assert upscale("a.png").status == 130
    assert [path.name for path in here.iterdir()] == ["a.png"]


@pytest.mark.parametrize("bands", [(0, 7, 40, 80), (0, 80), (0, 1, 2, 79, 80)])
def test_rows_of_a_plane_are_those_of_the_whole(bands: tuple[int, ...]) -> None:
    plane = np.random.default_rng(1).random((20, 9)).astype(np.float32)
    parts = [enlarge_rows(plane, 4, top, bottom) for top, bottom in pairwise(bands)]
    assert np.abs(np.concatenate(parts) - enlarge_plane(plane, 4)).max() < 1e-6


def test_sides_too_large_for_the_format_are_refused_at_once(here: Path) -> None:
    picture = made.picture()
    with pytest.raises(PictureError, match="at most"):
        write_rows(picture, rows_of(picture, 8), (2**31, 32), here / "rows", format="png")
    assert not list(here.iterdir())
