"""`sr-cli convert`: published checkpoints to safetensors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sr_cli.cli import console, options


def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help=".pth, .pt, .ckpt, .safetensors or hf:owner/repo/file."),
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="A .safetensors file.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    as_json: options.Json = False,
) -> None:
    """Convert a checkpoint of any network of the zoo to safetensors, losing nothing.

    The network is recognised by the names of its tensors. Files that want to run code are refused.
    OUT names its network and the hash of IN in its header, and works as --model OUT.

    Example: sr-cli convert net_g_latest.pth realdan.safetensors
    """
    from sr_cli.zoo import conversion, weights
    from sr_cli.zoo.loading import weights_file

    weights.writable(target, overwrite=overwrite)  # before anything is fetched
    file = weights_file(source)
    if file is None:
        raise console.CommandError(
            f"{source} is no weights file. Name a .pth, .pt, .ckpt or .safetensors file, or "
            "hf:owner/repo/file."
        )
    done = conversion.convert(file, target, overwrite=overwrite)
    if as_json:
        console.print_json(asdict(done) | {"path": str(done.path), "source": source})
    else:
        settings = ", ".join(f"{key} {value}" for key, value in done.options.items())
        console.out.print(
            f"{console.shown_path(done.path)}  {done.network} ({settings}), "
            f"{done.parameters:,} numbers",
        )
