"""`sr-cli upscale`: enlarge pictures and say what was wrong with them."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sr_cli import __version__
from sr_cli.cli import batch, console, options
from sr_cli.cli.inputs import STANDARD, Source, find_sources, leave_out_results, plan_outputs
from sr_cli.cli.rendering import degradation_table
from sr_cli.zoo.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from sr_cli.images import Color, Picture
    from sr_cli.inference.engine import Result
    from sr_cli.inference.opening import OpenModel


LARGE = 32_000_000
"""Pixels of a result that is written before the next picture is made: it takes 0.5 GB."""


class ColorName(StrEnum):
    """Colours that can be asked for."""

    KEEP = "keep"
    SRGB = "srgb"


@dataclass(frozen=True)
class _Job:
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
    alone: bool
    """Whether no other device works beside this one, so that the bar is its own."""
    piped: bool
    """Whether standard output is a picture, so that everything told goes to standard error."""


@dataclass(frozen=True)
class _Taken:
    """A picture that has been read."""

    source: Source
    target: Path
    picture: Picture
    format: str
    seconds: float


@dataclass
class _Made:
    """A picture that has been enlarged."""

    source: Source
    target: Path
    picture: Picture | None
    """Let go when it has been written."""
    width: int
    height: int
    format: str
    vector: list[float] | None
    tiles: int
    notes: list[str]
    seconds: float


def upscale(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, folders or patterns; - for a picture, or a list of names, on standard "
            "input."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="A file for one picture, else a folder (made if missing); - for standard output.",
        ),
    ] = None,
    model: options.Model = DEFAULT_MODEL,
    format: Annotated[
        str | None,
        typer.Option(
            help="png, jpg, webp, tiff, ...; else told from OUT; else the picture's own if that "
            "is lossless, or png."
        ),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Of formats that lose something.")
    ] = None,
    color: Annotated[
        ColorName, typer.Option(help="Keep the picture's colour profile, or convert to sRGB.")
    ] = ColorName.KEEP,
    tile: Annotated[
        str, typer.Option(help="auto, a side in input pixels, or 0 for the whole picture.")
    ] = "auto",
    outscale: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=16,
            help="Enlargement if not the model's own; the rest is done by Lanczos interpolation.",
        ),
    ] = None,
    tta: Annotated[
        bool,
        typer.Option(
            "--tta", help="Average over all flips and turns: a little better, eight times slower."
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; cuda:0,cuda:1 share a batch.")
    ] = "auto",
    precision: options.Precision = options.PrecisionName.AUTO,
    backend: options.Backend = options.BackendName.AUTO,
    recursive: Annotated[
        bool, typer.Option(help="Go into folders within folders; OUT gets the same folders.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", help="Leave pictures whose output is there and opens: resume."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing outputs.")
    ] = False,
    suffix: Annotated[
        str | None, typer.Option(help="Put behind the name instead of _x4 (or the model's scale).")
    ] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse larger inputs.")] = 200_000_000,
    as_json: options.Json = False,
) -> None:
    """Enlarge pictures. Without -o the result lies beside its input as NAME_x4.png.

    Lossless pictures of other kinds keep theirs: scan.tif becomes scan_x4.tif.
    Together, a.jpg and a.png become a_jpg_x4.png and a_png_x4.png.
    Results that lie among the inputs are not enlarged again.
    Tiles are seamless: the result does not depend on --tile.

    - as input is a picture on standard input, and its result goes to standard
    output if there is no -o; or it is a list of names, one a line.

    Example: sr-cli upscale photo.jpg holidays/ -o large/

    Example: find . -name "*.jpg" | sr-cli upscale - -o large/ --skip-existing
    """
    side = options.tile_side(tile)
    if skip_existing and overwrite:
        raise typer.BadParameter("--skip-existing and --overwrite contradict each other")
    if suffix == "" and out is None:
        raise typer.BadParameter("an empty --suffix needs -o, since results are new files")
    _check_format(format)
    sources = find_sources(inputs, recursive=recursive)
    piped = out == STANDARD or (out is None and any(source.data for source in sources))
    if piped:
        _check_standard_output(sources, out, as_json=as_json)
    from sr_cli.inference.opening import open_model

    devices = device.split(",")
    opened = [open_model(model, one, precision.value, backend.value) for one in devices]
    factor = outscale or opened[0].scale
    jobs = [
        _Job(
            *(one, side, 8 if tta else 1, factor, format, quality, color, max_pixels),
            *(skip_existing, overwrite, as_json, len(opened) == 1, piped),
        )
        for one in opened
    ]
    name = f"_x{factor:g}" if suffix is None else suffix
    pairs = _pairs(jobs[0], sources, out, name)
    tally = batch.run(pairs, [_work(job) for job in jobs], as_json=as_json)
    if tally.failures:
        raise typer.Exit(1)


def _check_format(format: str | None) -> None:
    from sr_cli.images import known_formats

    if format is not None and format.lower() not in known_formats():
        raise typer.BadParameter(f"'{format}' is not one of {', '.join(known_formats())}")


def _check_standard_output(sources: list[Source], out: Path | None, *, as_json: bool) -> None:
    """Standard output has room for one picture, and then for nothing else."""
    if out == STANDARD and len(sources) > 1:
        raise typer.BadParameter(f"-o - takes one picture, and there are {len(sources)}")
    if as_json:
        raise typer.BadParameter(
            "standard output cannot hold both a picture and --json; name a file with -o"
        )
    if sys.stdout.isatty():
        raise typer.BadParameter(
            "the picture would go to the terminal; name a file with -o, or redirect the output"
        )


def _pairs(
    job: _Job, sources: list[Source], out: Path | None, suffix: str
) -> list[tuple[Source, Path]]:
    """Pictures and where their results go, with the way there cleared of what killed runs left."""
    from sr_cli.images import sweep

    kept, results = leave_out_results(sources, out, suffix)
    if results:
        console.note(
            f"{len(results)} left out as results of other pictures here, "
            f"such as {console.shown_path(results[0].path)}"
        )
    targets = plan_outputs(kept, out, suffix, lambda source: _ending(job, source))
    for folder in {target.parent for target in targets}:
        sweep(folder)
    return list(zip(kept, targets, strict=True))


def _ending(job: _Job, source: Source) -> str:
    """The file name ending of a result that is not named in full."""
    from sr_cli.images import ending, result_format

    if job.format is not None:
        return ending(job.format)
    own = result_format(source.content, job.outscale)
    return ending(own, like=source.path.suffix)


def _work(job: _Job) -> batch.Work[_Taken, _Made]:
    return batch.Work(
        take=lambda source, target: _take(job, source, target),
        make=lambda taken, meanwhile: _make(job, taken, meanwhile),
        put=lambda made: _put(job, made),
        tell=lambda made: _tell(job, made),
        is_large=lambda made: made.width * made.height > LARGE,
    )


def _take(job: _Job, source: Source, target: Path) -> _Taken | None:
    """Read a picture; None if its output is there already."""
    from sr_cli.images import PictureError, is_whole, prepare, read

    if source.problem is not None:
        raise PictureError(source.problem)
    # Devices and pipes exist before and after; folders are `prepare`'s to refuse.
    if target != STANDARD and os.path.isfile(target):  # noqa: PTH113 - see find_sources
        if job.skip_existing:
            if is_whole(target):
                return None
            console.note(f"{console.shown_path(target)} does not open, so it is made again")
        elif not job.overwrite:
            raise PictureError(
                f"{console.shown_path(target)} exists already; --overwrite replaces it, "
                "--skip-existing leaves it"
            )
    began = time.perf_counter()
    picture = read(source.content, max_pixels=job.max_pixels)
    format = _format(job, source, target)
    if target != STANDARD:
        width, height = (_scaled(job, side) for side in (picture.width, picture.height))
        prepare(target, format=format, width=width, height=height)
    return _Taken(source, target, picture, format, time.perf_counter() - began)


def _make(job: _Job, taken: _Taken, meanwhile: Callable[[], None]) -> _Made:
    from sr_cli.images import losses

    began = time.perf_counter()
    shown = job.alone and not job.as_json
    with console.progress(taken.source.path.name, shown=shown) as bar:

        def progress(done: float, total: float) -> None:
            bar(done, total)
            meanwhile()

        large, result = _enlarged(job, taken.picture, progress)
    notes = [*taken.picture.metadata.notes, *losses(large, taken.format), *result.notes]
    return _Made(
        taken.source,
        taken.target,
        large,
        large.width,
        large.height,
        taken.format,
        None if result.vector is None else result.vector.tolist(),
        result.tiles,
        notes,
        taken.seconds + time.perf_counter() - began,
    )


def _put(job: _Job, made: _Made) -> None:
    began = time.perf_counter()
    assert made.picture is not None
    _write(job, made.picture, made.target, made.format)
    made.picture = None
    made.seconds += time.perf_counter() - began


def _tell(job: _Job, made: _Made) -> None:
    for text in made.notes:
        console.note(f"{made.source.path}: {text}")
    if job.as_json:
        console.print_json(_report(job, made))
    else:
        _print(job, made)


def _scaled(job: _Job, side: int) -> int:
    return max(1, round(side * job.outscale))


def _format(job: _Job, source: Source, target: Path) -> str:
    """What the result is written as."""
    from sr_cli.images import result_format, suffix_format

    if job.format is not None:
        return job.format.lower()
    if target.suffix:
        return suffix_format(target.suffix)
    # Devices, pipes and standard output have no ending to tell it from.
    return result_format(source.content, job.outscale)


def _write(job: _Job, large: Picture, target: Path, format: str) -> None:
    from sr_cli.images import encode, write

    # Only its last part: a picture need not tell where its maker keeps the weights.
    software = f"sr-cli {__version__} {Path(job.model.name).name}"
    color: Color = "srgb" if job.color is ColorName.SRGB else "keep"
    if target == STANDARD:
        data = encode(large, format=format, quality=job.quality, color=color, software=software)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write(large, target, format=format, quality=job.quality, color=color, software=software)


def _enlarged(
    job: _Job, picture: Picture, progress: Callable[[float, float], None]
) -> tuple[Picture, Result]:
    from sr_cli.images import bleed, replaced
    from sr_cli.inference.resampling import enlarge_plane, resize

    rgb = picture.rgb if picture.alpha is None else bleed(picture.rgb, picture.alpha)
    engine, scale = job.model.engine, job.model.scale
    result = engine.upscale(rgb, job.tile, progress, orientations=job.orientations)
    alpha = None if picture.alpha is None else enlarge_plane(picture.alpha, scale)
    large = result.rgb
    if job.outscale != scale:
        size = _scaled(job, picture.width), _scaled(job, picture.height)
        large = resize(large, size)
        alpha = None if alpha is None else resize(alpha[..., None], size)[..., 0]
    return replaced(picture, large, alpha), result


def _report(job: _Job, made: _Made) -> dict[str, Any]:
    from sr_cli.degradation.explain import to_json

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


def _print(job: _Job, made: _Made) -> None:
    from sr_cli.degradation.explain import explain

    place = console.err if job.piped else console.out
    if made.vector is not None and job.model.layout is not None:
        steps = explain(job.model.layout, made.vector, job.model.estimate)
        place.print(degradation_table(f"{made.source.path}: what had happened to it", steps))
    name = "standard output" if made.target == STANDARD else console.shown_path(made.target)
    place.print(f"{name}  {made.width}x{made.height}  {made.seconds:.1f} s", markup=False)
