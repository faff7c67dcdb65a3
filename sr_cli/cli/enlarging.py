"""One picture of a batch: read, enlarged, written, told."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_cli import __version__
from sr_cli.cli import batch, console
from sr_cli.cli.inputs import STANDARD, Source
from sr_cli.cli.rendering import print_degradation
from sr_cli.degradation.summary import summary
from sr_cli.inference import GROWING_FROM
from sr_cli.zoo.mixture import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sr_cli.cli.report import Report, Shown
    from sr_cli.degradation.explain import Step
    from sr_cli.images import Color, Picture
    from sr_cli.inference.engine import Floats, Growing, Result
    from sr_cli.opening import OpenModel


class ColorName(StrEnum):
    """Colours that can be asked for."""

    KEEP = "keep"
    SRGB = "srgb"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is the same for every picture of a batch."""

    model: OpenModel
    tile: int | None
    orientations: int
    outscale: float
    format: str | None
    quality: int | None
    color: ColorName
    max_pixels: int
    skip_existing: bool
    overwrite: bool
    as_json: bool
    report: Report | None
    alone: bool
    """Whether no other device works beside this one, so that the bar is its own."""
    piped: bool
    """Whether standard output is a picture, so that everything told goes to standard error."""
    brief: bool
    """Whether a line a picture is enough."""


@dataclass(frozen=True)
class Taken:
    """A picture that has been read."""

    source: Source
    target: Path
    picture: Picture
    format: str
    replaces: bool
    """Whether a file that is there when the picture is done may be replaced."""
    seconds: float


@dataclass(kw_only=True)
class Made:
    """A picture that has been enlarged."""

    source: Source
    target: Path
    picture: Picture | None
    """None as soon as it has been written."""
    width: int
    height: int
    format: str
    replaces: bool
    """As of `Taken`."""
    vector: list[float] | None
    tiles: int
    notes: list[str]
    detail: tuple[bytes, bytes] | None = None
    """A part of the picture interpolated, and the same part enlarged; for a report."""
    seconds: float = 0.0


def ending_of(job: Job, source: Source) -> str:
    """The file name ending of a result that is not named in full."""
    from sr_cli.images import ending, result_format

    if job.format is not None:
        return ending(job.format)
    own = result_format(source.content, job.outscale)
    return ending(own, like=source.path.suffix)


def work_of(job: Job, tally: batch.Tally) -> batch.Work[Taken, Made]:
    """What is done with every picture; the tally says how many there are."""
    return batch.Work(
        take=lambda source, target: _take(job, source, target),
        make=lambda taken, meanwhile: _make(job, tally, taken, meanwhile),
        put=lambda made: _put(job, made),
        tell=lambda made: _tell(job, made),
        is_large=lambda made: made.width * made.height > GROWING_FROM,
    )


def _take(job: Job, source: Source, target: Path) -> Taken | None:
    """Read a picture; None if its output is there already."""
    from sr_cli.images import PictureError, is_whole, prepare

    if source.problem is not None:
        raise PictureError(source.problem)
    replaces = job.overwrite
    # Devices and pipes exist before and after; folders are `prepare`'s to refuse.
    if target != STANDARD and os.path.isfile(target):  # noqa: PTH113 - see find_sources
        if job.skip_existing:
            if is_whole(target):
                _check_same(job, source, target)
                return None
            console.note(f"{console.shown_path(target)} does not open, so it is made again")
            replaces = True
        elif not job.overwrite:
            raise PictureError(
                f"{console.shown_path(target)} exists already; --overwrite replaces it, "
                "--skip-existing leaves it"
            )
    began = time.perf_counter()
    picture = _read(job, source)
    format = _format(job, source, target)
    if target != STANDARD:
        width, height = (_scaled(job, side) for side in (picture.width, picture.height))
        prepare(target, format=format, width=width, height=height)
    return Taken(source, target, picture, format, replaces, time.perf_counter() - began)


def _check_same(job: Job, source: Source, target: Path) -> None:
    """Make sure that a result which is there can be this picture's.

    Raises:
        PictureError: It has another size.
    """
    from sr_cli.images import PictureError, size

    small, large = size(source.content), size(target)
    if small and large:
        wanted = sorted(_scaled(job, side) for side in small)  # pictures may lie on their side
        if sorted(large) != wanted:
            raise PictureError(
                f"{console.shown_path(target)} is there, but is not this picture enlarged "
                f"x{job.outscale:g}; --overwrite replaces it, another --suffix or -o keeps both"
            )


@contextmanager
def _left_if_another_made_it(job: Job, source: Source, target: Path) -> Iterator[None]:
    """With --skip-existing, what another run has written meanwhile is there as well."""
    from sr_cli.images import AppearedMeanwhileError, is_whole

    try:
        yield
    except AppearedMeanwhileError:
        if not (job.skip_existing and is_whole(target)):
            raise
        _check_same(job, source, target)
        raise batch.LeftError from None


def _read(job: Job, source: Source) -> Picture:
    from sr_cli.images import PictureError, PixelLimitError, read

    try:
        return read(source.content, max_pixels=job.max_pixels)
    except PixelLimitError as error:
        wish = f"if that is meant, raise it with --max-pixels {error.pixels}"
        raise PictureError(f"{error}; {wish}") from None


def _make(job: Job, tally: batch.Tally, taken: Taken, meanwhile: Callable[[], None]) -> Made:
    began = time.perf_counter()
    shown = job.alone and not job.as_json
    name = console.numbered(taken.source.path.name, tally.begun, tally.total)
    with console.progress(name, shown=shown) as bar:

        def progress(done: float, total: float) -> None:
            bar(done, total)
            meanwhile()

        with _left_if_another_made_it(job, taken.source, taken.target):
            made = (_grown if _may_grow(job, taken) else _enlarged)(job, taken, progress)
    made.seconds = taken.seconds + time.perf_counter() - began
    return made


def _may_grow(job: Job, taken: Taken) -> bool:
    """Whether a picture is so large that it is better written as it is made, and can be."""
    from sr_cli.images import takes_rows

    picture, plain = taken.picture, job.orientations == 1 and job.outscale == job.model.scale
    return (
        picture.width * picture.height * job.outscale**2 > GROWING_FROM
        and plain
        and taken.target != STANDARD
        and job.model.engine.is_seamless
        and takes_rows(picture, taken.format)
    )


def _put(job: Job, made: Made) -> None:
    if made.picture is None:
        return
    began = time.perf_counter()
    with _left_if_another_made_it(job, made.source, made.target):
        _write(job, made, made.picture)
    made.picture = None
    made.seconds += time.perf_counter() - began


def _tell(job: Job, made: Made) -> None:
    if job.report is not None:
        job.report.shown.append(_shown(job, made))
    for text in made.notes:
        console.note(f"{made.source.path}: {text}")
    if job.as_json:
        console.print_json(_report(job, made))
    else:
        _print(job, made)


def _scaled(job: Job, side: int) -> int:
    from sr_cli.inference.resampling import scaled

    return scaled(side, job.outscale)


def _format(job: Job, source: Source, target: Path) -> str:
    """What the result is written as."""
    from sr_cli.images import result_format, suffix_format

    if job.format is not None:
        return job.format.lower()
    if target.suffix:
        return suffix_format(target.suffix)
    # Devices, pipes and standard output have no ending to tell it from.
    return result_format(source.content, job.outscale)


def _software(job: Job) -> str:
    return f"sr-cli {__version__} {short(job.model.name)}"


def _color(job: Job) -> Color:
    return "srgb" if job.color is ColorName.SRGB else "keep"


def _write(job: Job, made: Made, large: Picture) -> None:
    from sr_cli.images import encode, write

    software, color, format = _software(job), _color(job), made.format
    if made.target == STANDARD:
        data = encode(large, format=format, quality=job.quality, color=color, software=software)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write(
            large,
            made.target,
            format=format,
            quality=job.quality,
            color=color,
            software=software,
            keep=not made.replaces,
        )


def _enlarged(job: Job, taken: Taken, progress: Callable[[float, float], None]) -> Made:
    """The whole picture in memory, to be written."""
    from sr_cli.images import losses, replaced, visible_rgb
    from sr_cli.inference.resampling import enlarge_plane, resize

    picture, engine, scale = taken.picture, job.model.engine, job.model.scale
    result = engine.upscale(visible_rgb(picture), job.tile, progress, orientations=job.orientations)
    alpha = None if picture.alpha is None else enlarge_plane(picture.alpha, scale)
    pixels = _without_new_colours(picture, result.rgb)
    if job.outscale != scale:
        size = _scaled(job, picture.width), _scaled(job, picture.height)
        pixels = resize(pixels, size)
        alpha = None if alpha is None else resize(alpha[..., None], size)[..., 0]
    large = replaced(picture, pixels, alpha)
    notes = [*picture.metadata.notes, *losses(large, taken.format), *result.notes]
    if result.seams == "blended":
        notes.append("its tiles overlap and are blended: this network cannot be cut without seams")
    shown = _Detail(picture, job.outscale, (large.width, large.height)) if job.report else None
    if shown:
        shown.see(0, large.rgb, large.alpha)
    return _made(taken, (large.width, large.height), result, notes, shown, large)


class _Detail:
    """The part of a picture that the report shows, taken from the result's rows as they come."""

    def __init__(self, picture: Picture, scale: float, result: tuple[int, int]) -> None:
        from sr_cli.images.preview import busiest, enlarged_detail

        def enlarged(first: int, last: int, side: int) -> tuple[int, int]:
            """At least a pixel, where ``--outscale`` makes a picture small."""
            begin = min(round(first * scale), side - 1)
            return begin, max(round(last * scale), begin + 1)

        place = busiest(picture.rgb, picture.alpha)
        width, height = result
        self.there = (*enlarged(*place[:2], height), *enlarged(*place[2:], width))
        top, bottom, left, right = self.there
        size = right - left, bottom - top
        self.before = enlarged_detail(picture.rgb, picture.alpha, place, size)
        self.strips: list[Floats] = []

    def see(self, first: int, rgb: Floats, alpha: Floats | None) -> None:
        """Some rows of the result, the first of which is ``first``, below those seen before."""
        from sr_cli.images.preview import seen

        top, bottom, left, right = self.there
        if first < bottom and first + len(rgb) > top:
            part = slice(max(top - first, 0), bottom - first), slice(left, right)
            self.strips.append(seen(rgb, alpha, part).copy())

    def before_and_after(self) -> tuple[bytes, bytes]:
        """Two JPEGs of one size."""
        import numpy as np

        from sr_cli.images.preview import detail

        return self.before, detail(np.concatenate(self.strips))


def _made(
    taken: Taken,
    size: tuple[int, int],
    result: Result | Growing,
    notes: list[str],
    shown: _Detail | None,
    picture: Picture | None = None,
) -> Made:
    """What there is to tell of a picture; of one that is written already, without it."""
    width, height = size
    return Made(
        source=taken.source,
        target=taken.target,
        picture=picture,
        width=width,
        height=height,
        format=taken.format,
        replaces=taken.replaces,
        vector=_listed(result.vector),
        tiles=result.tiles,
        notes=notes,
        detail=shown.before_and_after() if shown else None,
    )


def _grown(job: Job, taken: Taken, progress: Callable[[float, float], None]) -> Made:
    """A large picture, written as its rows are made."""
    from sr_cli.images import losses, visible_rgb, write_rows
    from sr_cli.inference.resampling import enlarge_rows

    picture, scale = taken.picture, job.model.scale
    growing = job.model.engine.grow(visible_rgb(picture), job.tile, progress)
    width, height = picture.width * scale, picture.height * scale
    shown = _Detail(picture, scale, (width, height)) if job.report else None

    def rows() -> Iterator[tuple[Floats, Floats | None]]:
        top = 0
        for band in growing:
            bottom = top + len(band)
            rgb = _without_new_colours(picture, band)
            alpha = picture.alpha
            if alpha is not None:
                alpha = enlarge_rows(alpha, scale, top, bottom)
            if shown:
                shown.see(top, rgb, alpha)
            yield rgb, alpha
            top = bottom
            del band, rgb, alpha  # before the next ones are made

    write_rows(
        picture,
        rows(),
        (width, height),
        taken.target,
        format=taken.format,
        color=_color(job),
        software=_software(job),
        keep=not taken.replaces,
    )
    notes = [*picture.metadata.notes, *losses(picture, taken.format), *growing.notes]
    return _made(taken, (width, height), growing, notes, shown)


def _without_new_colours(picture: Picture, rgb: Floats) -> Floats:
    """The enlarged pixels, gray where the picture had no colour: networks add a trace of it."""
    from sr_cli.images.colour import gray_of

    return gray_of(rgb) if picture.metadata.is_colourless else rgb


def _listed(vector: Floats | None) -> list[float] | None:
    return None if vector is None else vector.tolist()


def _report(job: Job, made: Made) -> dict[str, Any]:
    from sr_cli.degradation.answer import to_json

    engine = job.model.engine
    report: dict[str, Any] = {
        "input": str(made.source.path),
        "output": str(made.target),
        "model": job.model.name,
        "width": made.width,
        "height": made.height,
        "scale": _number(job.outscale),
        "seconds": round(made.seconds, 3),
        "device": engine.device,
        "backend": engine.backend.name,
        "precision": engine.precision,
        "tiles": made.tiles,
        "degradation": None,
    }
    if made.vector is not None:
        report["degradation"] = to_json(job.model.layout, made.vector, job.model.estimate)
    return report


def _number(value: float) -> float:
    return int(value) if value == int(value) else value


def _steps(job: Job, made: Made) -> Sequence[Step]:
    from sr_cli.degradation.explain import explain

    if made.vector is None or job.model.layout is None:
        return ()
    return explain(job.model.layout, made.vector, job.model.estimate)


def _shown(job: Job, made: Made) -> Shown:
    from sr_cli.cli.report import Shown

    before, after = made.detail or (None, None)
    engine = job.model.engine
    turned = ", mean of all flips and turns" if job.orientations > 1 else ""
    facts = (
        f"{made.width} x {made.height} pixels (x{job.outscale:g}{turned}), {made.seconds:.1f} s in "
        f"{engine.precision} on {engine.device}"
    )
    return Shown(
        *(str(made.source.path), str(made.target), facts, _steps(job, made), made.notes),
        *(before, after),
    )


def _print(job: Job, made: Made) -> None:
    place = console.err if job.piped else console.out
    steps = _steps(job, made)
    if steps and not job.brief:
        print_degradation(place, f"{made.source.path}: what had happened to it", steps)
    name = "standard output" if made.target == STANDARD else console.shown_path(made.target)
    line = f"{name}  {made.width}x{made.height}  {made.seconds:.1f} s"
    said = summary(steps) if job.brief else None
    place.print(f"{line}  {said}" if said else line)
