"""`sr-cli estimate-degradation`: what is wrong with a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sr_cli.cli import batch, console, options, side_outputs
from sr_cli.cli.inputs import find_sources
from sr_cli.cli.rendering import print_degradation
from sr_cli.zoo.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from sr_cli.degradation.explain import Step


def estimate_degradation(
    images: Annotated[list[str], typer.Argument(help=options.INPUTS)],
    model: options.Model = DEFAULT_MODEL,
    recursive: Annotated[bool, typer.Option(help="Go into folders within folders.")] = False,
    device: options.Device = "auto",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the known numbers with their errors."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing FILE.png.")
    ] = False,
    brief: options.Brief = False,
    as_json: options.Json = False,
) -> None:
    """Say in words and units how a picture was degraded, with the usual error of every number.

    Numbers that the model cannot tell from pictures are called "not known".

    Example: sr-cli estimate-degradation img.png
    """
    sources = find_sources(images, recursive=recursive, as_json=as_json)
    from sr_cli.cli.plotting import check_plot, plot_estimates
    from sr_cli.degradation.answer import to_json
    from sr_cli.degradation.explain import explain
    from sr_cli.degradation.summary import summary
    from sr_cli.images import PictureError, read, visible_rgb
    from sr_cli.opening import names_onnx_file, open_model

    if plot:
        check_plot(plot)
        side_outputs.check(plot, overwrite=overwrite, pictures=[s.path for s in sources])

    # Half precision would blur the traces that estimates are made from, and saves little here.
    # What a file computes in is settled.
    opened = open_model(model, device, "auto" if names_onnx_file(model) else "fp32")
    if opened.layout is None:
        raise console.CommandError(
            f"{opened.name} does not estimate how a picture was degraded. "
            "Choose another model; `sr-cli models list` has them all."
        )
    failed = 0
    drawn: list[tuple[str, Sequence[Step]]] = []
    for number, source in enumerate(sources, 1):
        try:
            if source.problem:
                raise PictureError(source.problem)
            picture = read(source.content)
            rgb = visible_rgb(picture)
            for note in picture.metadata.notes:
                console.note(f"{source.path}: {note}")
            name = console.numbered(source.path.name, number, len(sources))
            with console.progress(name) as bar:
                vector = opened.engine.estimate(rgb, progress=bar)
        except Exception as error:
            failed += 1
            why = batch.reason(error)
            console.complain(f"{source.path}: {why}")
            if as_json:
                console.print_json({"input": str(source.path), "error": why})
            continue
        assert vector is not None
        steps = explain(opened.layout, vector.tolist(), opened.estimate)
        drawn.append((str(source.path), steps))
        if as_json:
            found = to_json(opened.layout, vector.tolist(), opened.estimate)
            answer = {"input": str(source.path), "model": opened.name, "degradation": found}
            console.print_json(answer)
        elif brief:
            said = summary(steps) or "nothing that could be said in short"
            console.out.print(f"{console.harmless(str(source.path))}  {said}")
        else:
            print_degradation(console.out, str(source.path), steps)
            console.out.print()
    if plot and drawn:
        plot_estimates(drawn, plot, overwrite=overwrite)
    if failed:
        raise typer.Exit(1)
