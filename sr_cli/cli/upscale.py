"""`sr-cli upscale`: enlarge pictures and say what was wrong with them."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sr_cli.cli import batch, console, options, side_outputs
from sr_cli.cli.enlarging import ColorName, Job, ending_of, work_of
from sr_cli.cli.inputs import (
    PIPES,
    STANDARD,
    Source,
    find_sources,
    is_one_file,
    leave_out_results,
    output_path,
    plan_outputs,
)
from sr_cli.zoo.manifest import DEFAULT_MODEL, SHARP_MODEL

if TYPE_CHECKING:
    from sr_cli.cli.report import Report


def upscale(
    inputs: Annotated[
        list[str],
        typer.Argument(help=options.INPUTS),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="<path>",
            help="A file if it ends as a picture's name and there is one picture, else a folder "
            "(made if missing); - for standard output.",
        ),
    ] = None,
    model: options.Model = DEFAULT_MODEL,
    sharpness: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help=f"0 is {DEFAULT_MODEL}, faithful; 1 is {SHARP_MODEL}, sharp; between them lies "
            "any measure.",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="png, jpg, webp, tiff, ...; else told from OUT; else the picture's own if that "
            "is lossless, or png."
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="JPEG 95 and AVIF 90 if not given; WebP is lossless without."
        ),
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
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Write a page that shows every picture before and after."
        ),
    ] = None,
    brief: options.Brief = False,
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
    if sharpness is not None:
        model = _between(model, sharpness)
    folder = out is not None and out.endswith(("/", os.sep))
    if skip_existing and overwrite:
        raise typer.BadParameter("--skip-existing and --overwrite contradict each other")
    if suffix == "" and out is None:
        raise typer.BadParameter("an empty --suffix needs -o, since results are new files")
    if suffix and set(suffix) & set("/\\\0"):
        raise typer.BadParameter("--suffix is a part of a name and holds no slashes; see -o")
    _check_format(format)
    _check_pipes(inputs, out)
    devices = [options.device_name(one) for one in device.split(",")]
    sources = find_sources(inputs, recursive=recursive, as_json=as_json)
    place = output_path(out)
    if place and is_one_file(place, sources, folder=folder):
        _check_ending(place, format)
    piped = place == STANDARD or (place is None and any(source.data for source in sources))
    if piped:
        _check_standard_output(sources, place, as_json=as_json)
    from sr_cli.cli.report import Report
    from sr_cli.opening import open_model

    page = Report(model) if report else None
    opened = [
        open_model(model, one, precision.value, backend.value, console.note) for one in devices
    ]
    factor = outscale or opened[0].scale
    jobs = [
        Job(
            model=one,
            tile=side,
            orientations=8 if tta else 1,
            outscale=factor,
            format=format,
            quality=quality,
            color=color,
            max_pixels=max_pixels,
            skip_existing=skip_existing,
            overwrite=overwrite,
            as_json=as_json,
            report=page,
            alone=len(opened) == 1,
            piped=piped,
            brief=brief,
        )
        for one in opened
    ]
    name = f"_x{factor:g}" if suffix is None else suffix
    pairs = _pairs(jobs[0], sources, place, name, folder=folder)
    if report:
        pictures = [path for source, target in pairs for path in (source.path, target)]
        # A report of what is made now does not hold what is skipped, so it takes no other's place.
        way = "name another file" if skip_existing else "--overwrite replaces it"
        side_outputs.check(report, overwrite=overwrite, pictures=pictures, way=way)
    tally = batch.Tally(len(pairs), as_json)
    told = partial(_write_report, page, report, tally, overwrite=overwrite)
    try:
        batch.run(pairs, [work_of(job, tally) for job in jobs], tally)
    except BaseException:
        # Also where the work was interrupted: what is done then is skipped next time.
        try:
            told()
        except OSError as error:  # which must not hide what has ended the work
            console.complain(f"sr-cli: {console.system_error(error)}")
        raise
    told()
    if tally.failures:
        raise typer.Exit(1)


def _write_report(
    page: Report | None, path: Path | None, tally: batch.Tally, *, overwrite: bool
) -> None:
    """The report, if one is wanted and there is anything to report."""
    if page and path and (page.shown or tally.failures or tally.skipped):
        failures = [(str(name), why) for name, why in tally.failures]
        page.write(path, tally.counts, failures, overwrite=overwrite)


def _between(model: str, sharpness: float) -> str:
    """The model of a sharpness."""
    if model not in (DEFAULT_MODEL, SHARP_MODEL):
        raise typer.BadParameter(
            f"--sharpness lies between {DEFAULT_MODEL} and {SHARP_MODEL}, so it goes without "
            "another --model; two others are mixed as --model FIRST+SECOND:SHARE"
        )
    share = f"{sharpness:.6f}".rstrip("0").rstrip(".")
    if share in ("0", "1"):
        return SHARP_MODEL if share == "1" else DEFAULT_MODEL
    return f"{DEFAULT_MODEL}+{SHARP_MODEL}:{share}"


def _check_format(format: str | None) -> None:
    from sr_cli.images import known_formats

    if format is not None and format.lower() not in known_formats():
        raise typer.BadParameter(f"'{format}' is not one of {', '.join(known_formats())}")


def _check_pipes(inputs: list[str], out: str | None) -> None:
    """Beside the shell's pipes, such as those of ``<(...)``, is no place for a result."""
    for name in inputs:
        if out is None and Path(name).parent in PIPES:
            raise typer.BadParameter(f"{name} is a pipe or a device: name its result with -o")


def _check_ending(out: Path, format: str | None) -> None:
    from sr_cli.images import PictureError, ending, has_ending_of_another, suffix_format

    if format is not None:
        if has_ending_of_another(out, format):
            own = out.with_suffix(ending(format))
            raise typer.BadParameter(
                f"{out} is no name for --format {format}; name it {own}, or leave --format out"
            )
        return
    try:
        if out != STANDARD and out.suffix:
            suffix_format(out.suffix)
    except PictureError as error:
        raise typer.BadParameter(f"{out}: {error}") from None


def _check_standard_output(sources: list[Source], out: Path | None, *, as_json: bool) -> None:
    """Standard output has room for one picture, and then for nothing else."""
    if out == STANDARD and len(sources) > 1:
        raise typer.BadParameter(f"-o - takes one picture, and there are {len(sources)}")
    if as_json:
        raise typer.BadParameter(
            "standard output cannot hold both a picture and --json; name a file with -o"
        )
    if "stdout" in console.closed:
        raise typer.BadParameter("standard output is closed; name a file with -o")
    if sys.stdout.isatty():
        raise typer.BadParameter(
            "the picture would go to the terminal; name a file with -o, or redirect the output"
        )


def _pairs(
    job: Job, sources: list[Source], out: Path | None, suffix: str, *, folder: bool
) -> list[tuple[Source, Path]]:
    """Pictures and where their results go, with the way there cleared of what killed runs left."""
    from sr_cli.temporary import sweep

    kept, results = leave_out_results(sources, out, suffix)
    if results:
        console.note(
            f"{len(results)} left out as results of other pictures here, "
            f"such as {console.shown_path(results[0].path)}"
        )
    targets = plan_outputs(kept, out, suffix, lambda source: ending_of(job, source), folder=folder)
    for place in {target.parent for target in targets}:
        sweep(place)
    return list(zip(kept, targets, strict=True))
