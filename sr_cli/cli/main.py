"""The `sr-cli` program."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from sr_cli import __version__
from sr_cli.cli import (
    bench,
    console,
    convert,
    degrade,
    estimate,
    evaluate,
    export,
    models,
    train,
    upscale,
)

MISUSED = 2
"""Exit status of a command line that makes no sense."""

app = typer.Typer(
    name="sr-cli",
    help="Blind image super-resolution: makes small, blurred, noisy, over-compressed pictures "
    "large and clean, and says what was wrong with them.",
    epilog="Example: sr-cli upscale photo.jpg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("upscale")(upscale.upscale)
app.command("estimate-degradation")(estimate.estimate_degradation)
app.add_typer(models.app, name="models")
app.command("convert")(convert.convert)
app.command("export-onnx")(export.export_onnx)
app.command("degrade")(degrade.degrade)
app.command("evaluate")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.command("train")(train.train)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sr-cli {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Options of the program itself."""


def _settle_output() -> None:
    """Writes what has been told; what cannot be written is dropped, or it would fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain_dashes() -> None:
    """Says of files that were taken for options how to name them."""
    for name in sys.argv[1:]:
        if name.startswith("-") and os.path.isfile(name):  # noqa: PTH113 - see find_sources
            console.note(f"There is a file {name}: name it ./{name}, or it is taken for an option.")


def run() -> None:
    """Run the program and leave with its exit status: 0, 1 or 2."""
    console.ready()
    try:
        app()
        sys.stdout.flush()
    except SystemExit as leaving:
        if leaving.code == MISUSED:
            _explain_dashes()
        raise
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing is left to be told to anybody.
        _settle_output()
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        from sr_cli.inference.errors import out_of_memory

        if isinstance(error, console.known_errors()):
            console.complain(f"sr-cli: {error}")
        elif isinstance(error, OSError):
            console.complain(f"sr-cli: {console.system_error(error)}")
            _settle_output()
        elif isinstance(error, ModuleNotFoundError) and error.name == "torch":
            console.complain(
                "sr-cli: torch, which this needs, is not installed: pip install torch. Without it, "
                "upscale and estimate-degradation run files that export-onnx made."
            )
        elif out_of_memory(error):
            console.complain("sr-cli: there is not enough memory for this.")
        else:
            console.complain(
                f"sr-cli: internal error: {error!r}. This is a bug; `sr-cli --debug ...` shows "
                "where."
            )
        sys.exit(1)
