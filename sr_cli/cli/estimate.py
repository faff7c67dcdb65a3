"""`sr-cli estimate-degradation`: what is wrong with a picture."""

from __future__ import annotations

from typing import Annotated

import typer

from sr_cli.cli import console, options
from sr_cli.cli.inputs import find_sources
from sr_cli.cli.rendering import degradation_table
from sr_cli.zoo.manifest import DEFAULT_MODEL


def estimate_degradation(
    images: Annotated[list[str], typer.Argument(help="Pictures, folders or patterns.")],
    model: options.Model = DEFAULT_MODEL,
    recursive: Annotated[bool, typer.Option(help="Go into folders within folders.")] = False,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Say in words and units how a picture was degraded, with the usual error of every number.

    Numbers that the model cannot tell from pictures are called "not known".

    Example: sr-cli estimate-degradation img.png
    """
    sources = find_sources(images, recursive=recursive)
    from sr_cli.degradation.explain import explain, to_json
    from sr_cli.images import PictureError, read
    from sr_cli.inference.engine import Engine
    from sr_cli.zoo.loading import load

    loaded = load(model)
    engine = Engine(loaded.network, options.choose_device(device))
    failed = 0
    for source in sources:
        try:
            if source.problem:
                raise PictureError(source.problem)
            picture = read(source.content)
        except PictureError as error:
            failed += 1
            console.complain(f"{source.path}: {error}")
            if as_json:
                console.print_json({"input": str(source.path), "error": str(error)})
            continue
        with console.progress(source.path.name) as bar:
            vector = engine.estimate(picture.rgb, progress=bar)
        if as_json:
            found = to_json(loaded.layout, vector.tolist(), loaded.estimate)
            answer = {"input": str(source.path), "model": loaded.name, "degradation": found}
            console.print_json(answer)
        else:
            steps = explain(loaded.layout, vector.tolist(), loaded.estimate)
            console.out.print(degradation_table(str(source.path), steps))
            console.out.print()
    if failed:
        raise typer.Exit(1)
