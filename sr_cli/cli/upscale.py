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
    from sr_cli.images import Color, Picture
    from sr_cli.inference.engine import Engine
    from sr_cli.zoo.loading import LoadedModel


class ColorName(StrEnum):
    """Colours that can be asked for."""

    KEEP = "keep"
    SRGB = "srgb"


@dataclass(frozen=True)
class _Job:
    """What is the same for every picture of a batch."""

    model: LoadedModel
    engine: Engine
    tile: int | None
    format: str | None
    quality: int | None
    color: ColorName
    max_pixels: int
    skip_existing: bool
    overwrite: bool
    as_json: bool
    piped: bool
    """Whether standard output is a picture, so that everything told goes to standard error."""


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
    device: options.Device = "auto",
    precision: options.Precision = options.PrecisionName.AUTO,
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
    chosen = options.choose_device(device)
    from sr_cli.inference.engine import Engine
    from sr_cli.zoo.loading import load

    loaded = load(model)
    engine = Engine(loaded.network, chosen, options.precision_of(precision))
    job = _Job(
        *(loaded, engine, side, format, quality, color, max_pixels),
        *(skip_existing, overwrite, as_json, piped),
    )
    pairs = _pairs(job, sources, out, f"_x{loaded.scale}" if suffix is None else suffix)
    tally = batch.run(pairs, lambda source, target: _work(job, source, target), as_json=as_json)
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
    own = result_format(source.content, job.model.scale)
    return ending(own, like=source.path.suffix)


def _work(job: _Job, source: Source, target: Path) -> bool:
    """One picture; False if its output is there already."""
    from sr_cli.images import PictureError, is_whole

    if source.problem is not None:
        raise PictureError(source.problem)
    # Devices and pipes exist before and after; folders are `prepare`'s to refuse.
    if target != STANDARD and os.path.isfile(target):  # noqa: PTH113 - see find_sources
        if job.skip_existing:
            if is_whole(target):
                return False
            console.note(f"{console.shown_path(target)} does not open, so it is made again")
        elif not job.overwrite:
            raise PictureError(
                f"{console.shown_path(target)} exists already; --overwrite replaces it, "
                "--skip-existing leaves it"
            )
    _one(job, source, target)
    return True


def _one(job: _Job, source: Source, target: Path) -> None:
    from sr_cli.images import losses, prepare, read

    began = time.perf_counter()
    picture = read(source.content, max_pixels=job.max_pixels)
    format = _format(job, source, target)
    scale = job.model.scale
    if target != STANDARD:
        prepare(target, format=format, width=picture.width * scale, height=picture.height * scale)
    with console.progress(source.path.name, shown=not job.as_json) as bar:
        large, vector, tiles = _enlarged(job, picture, bar)
    _write(job, large, target, format)
    for text in (*picture.metadata.notes, *losses(large, format)):
        console.note(f"{source.path}: {text}")
    seconds = time.perf_counter() - began
    if job.as_json:
        console.print_json(_report(job, source, target, large, vector, tiles, seconds))
    else:
        _print(job, source, target, large, vector, seconds)


def _format(job: _Job, source: Source, target: Path) -> str:
    """What the result is written as."""
    from sr_cli.images import result_format, suffix_format

    if job.format is not None:
        return job.format.lower()
    if target.suffix:
        return suffix_format(target.suffix)
    # Devices, pipes and standard output have no ending to tell it from.
    return result_format(source.content, job.model.scale)


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


def _enlarged(job: _Job, picture: Picture, bar: Any) -> tuple[Picture, list[float], int]:
    from sr_cli.images import bleed, replaced
    from sr_cli.inference.resampling import enlarge_plane

    rgb = picture.rgb if picture.alpha is None else bleed(picture.rgb, picture.alpha)
    result = job.engine.upscale(rgb, job.tile, bar)
    alpha = None if picture.alpha is None else enlarge_plane(picture.alpha, job.model.scale)
    return replaced(picture, result.rgb, alpha), result.vector.tolist(), result.tiles


def _report(
    job: _Job,
    source: Source,
    target: Path,
    large: Picture,
    vector: list[float],
    tiles: int,
    seconds: float,
) -> dict[str, Any]:
    from sr_cli.degradation.explain import to_json

    return {
        "input": str(source.path),
        "output": str(target),
        "model": job.model.name,
        "width": large.width,
        "height": large.height,
        "scale": job.model.scale,
        "seconds": round(seconds, 3),
        "device": str(job.engine.device),
        "backend": "torch",
        "precision": job.engine.precision,
        "tiles": tiles,
        "degradation": to_json(job.model.layout, vector, job.model.estimate),
    }


def _print(
    job: _Job, source: Source, target: Path, large: Picture, vector: list[float], seconds: float
) -> None:
    from sr_cli.degradation.explain import explain

    steps = explain(job.model.layout, vector, job.model.estimate)
    place = console.err if job.piped else console.out
    name = "standard output" if target == STANDARD else console.shown_path(target)
    place.print(degradation_table(f"{source.path}: what had happened to it", steps))
    place.print(f"{name}  {large.width}x{large.height}  {seconds:.1f} s", markup=False)
