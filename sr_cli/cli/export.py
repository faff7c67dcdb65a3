"""`sr-cli export-onnx`: a model as one file that runs elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sr_cli.cli import console, options, side_outputs
from sr_cli.zoo.manifest import DEFAULT_MODEL
from sr_cli.zoo.mixture import short


class ExportPrecision(StrEnum):
    """What an ONNX file can compute in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


def export_onnx(
    model: options.Model = DEFAULT_MODEL,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="An .onnx file; without it MODEL.onnx is written here."),
    ] = None,
    precision: Annotated[
        ExportPrecision,
        typer.Option(help="fp16 for GPUs, int8 for CPUs; inputs and outputs stay float32."),
    ] = ExportPrecision.FP32,
    opset: Annotated[
        int, typer.Option(min=18, max=23, help="Version of the standard operators.")
    ] = 18,
    verify: Annotated[
        bool, typer.Option(help="Compare with torch at several sizes before the file is written.")
    ] = True,
    calibration: Annotated[
        Path | None,
        typer.Option(help="For int8: a folder of photographs instead of the bundled ones."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a model as one ONNX file with its whole loop unrolled.

    It goes from lr (N,3,H,W, float in [0,1], every size free) to sr and
    degradation; its metadata say what it is and what the numbers mean.
    --model FILE.onnx runs it without torch.

    Example: sr-cli export-onnx --model dan-real-x4 -o dan.onnx
    """
    suffix = "" if precision is ExportPrecision.FP32 else f"-{precision.value}"
    target = out or Path(f"{_stem(model)}{suffix}.onnx")
    _check(model, target, overwrite=overwrite)
    if calibration is not None and precision is not ExportPrecision.INT8:
        raise typer.BadParameter("--calibration is for --precision int8")
    if calibration is not None and not calibration.is_dir():
        raise console.CommandError(f"There is no folder {calibration} to calibrate with.")
    from sr_cli.export import calibration as pictures
    from sr_cli.export import making
    from sr_cli.export.verify import verify as compare

    origin = making.source(model)
    scale = origin.loaded.scale
    crops = pictures.crops(calibration, scale) if calibration else pictures.bundled(scale)
    with console.progress("Exporting"):
        file = making.made(origin, precision.value, opset, crops)
    with console.progress("Comparing with torch"):
        found = compare(file, origin.loaded.network) if verify else None
    making.write(file, target, keep=not overwrite)
    if as_json:
        differences = asdict(found) if found else None
        console.print_json(
            {
                "output": str(target),
                "model": model,
                "precision": precision.value,
                "opset": opset,
                "bytes": target.stat().st_size,
                "differences": differences,
            }
        )
        return
    size = f"{precision.value}, opset {opset}, {target.stat().st_size / 1e6:.1f} MB"
    console.out.print(f"{console.shown_path(target)}  {size}")
    if found:
        console.out.print(
            f"Largest difference from torch: {found.picture:.1e} (picture in [0, 1]), "
            f"{found.estimate:.1e} (estimate), {found.tiled:.1e} (in tiles)."
        )


def _stem(model: str) -> str:
    """What a file is called after a model."""
    hub = model.startswith("hf:")  # only there does an @ name a revision
    name = short(model.removeprefix("hf:").partition("@")[0] if hub else model)
    known = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx")
    stem = next((name.removesuffix(one) for one in known if name.endswith(one)), name)
    return stem.replace(":", "-")  # a mixture's share: no file of Windows may be called so


def _check(model: str, target: Path, *, overwrite: bool) -> None:
    from sr_cli.opening import names_onnx_file

    if names_onnx_file(model):
        raise console.CommandError(f"{model} is an ONNX file already; name the weights.")
    if target.suffix.lower() != ".onnx":
        raise console.CommandError(f"{target} must end in .onnx, the only kind of file written.")
    side_outputs.check(target, overwrite=overwrite)
    if not target.parent.is_dir():
        raise console.CommandError(f"There is no folder {target.parent}. Make it first.")
